"""Training: step, trainer, recorder, checkpoint, worker."""
