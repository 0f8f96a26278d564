"""Last-layer gradients of one batch: each classifier's, each modality's alone, and the fused one."""

from __future__ import annotations

import torch

from cggm_core.cards import DiagnosticCard
from cggm_core.measures.directions import head_gradient
from cggm_core.protocols.diagnostic import Diagnostic, Observation, Picture
from cggm_core.protocols.model import absent
from cggm_core.protocols.step import Step

CARD = DiagnosticCard(
    name="gradient_snapshot",
    title="Gradient snapshot",
    summary="Keeps the last-layer gradients that CGGM compares, and the true unimodal ones they stand for.",
    cost="full",
    requires=("head_gradients",),
)


class GradientSnapshot(Diagnostic):
    """Classifier, unimodal and fused gradients of the batch at hand, shape of the head's weight.

    The unimodal gradient feeds the fusion with one modality and zeros for the others, in evaluation mode.

    Reference: Guo et al., NeurIPS 2024, section 3.3.2 and Fig. 4.
    """

    def observe(self, step: Step) -> Observation:
        """One picture a kind and modality."""
        readers = step.classifier_head_gradients
        return Observation(
            pictures=(
                Picture("fused", "", step.head_gradient().detach()),
                *(Picture("classifier", m, readers[m]) for m in step.modalities),
                *(Picture("unimodal", m, self._alone(step, m)) for m in step.modalities),
            )
        )

    @staticmethod
    def _alone(step: Step, modality: str) -> torch.Tensor:
        """Gradient of the task loss by the head's weight with every other modality absent."""
        model, target = step.model, step.batch.target
        training = model.training
        model.eval()
        try:
            features = {name: value.detach().float() for name, value in step.features.items()}
            fused = model.fuse(absent(features, (modality,)))
            logits = model.head(fused)
            closed = step.task.logit_gradient(logits, target)
            return head_gradient(model.head, fused, closed, step.task.loss(logits, target)).detach()
        finally:
            model.train(training)
