"""Last-layer gradients of one batch: each classifier's, each modality's alone, and the fused one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cggm_core.cards import DiagnosticCard
from cggm_core.measures.directions import head_gradient
from cggm_core.measures.sketches import SEED, SIZE, sketch
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
    """Classifier, unimodal and fused gradients of the batch at hand.

    The unimodal gradient feeds the fusion with one modality and zeros for the others, in evaluation mode. A gradient
    of at most 1,024 numbers is kept as it is, in the shape of the head's weight; a larger one as a sketch of 1,024
    numbers (`measures.sketches`), with its own size, shape and the seed said beside it.

    Reference: Guo et al., NeurIPS 2024, section 3.3.2 and Fig. 4.
    """

    def observe(self, step: Step) -> Observation:
        """One picture a kind and modality."""
        readers = step.classifier_head_gradients
        with _evaluating(step.model):
            alone = {m: self._alone(step, m) for m in step.modalities}
        return Observation(
            pictures=(
                _picture("fused", "", step.head_gradient().detach()),
                *(_picture("classifier", m, readers[m]) for m in step.modalities),
                *(_picture("unimodal", m, alone[m]) for m in step.modalities),
            )
        )

    @staticmethod
    def _alone(step: Step, modality: str) -> torch.Tensor:
        """Gradient of the task loss by the head's weight with every other modality absent."""
        model, target = step.model, step.batch.target
        # Nothing before the head is differentiated, so its graph is not built.
        with torch.no_grad():
            features = {name: value.detach().float() for name, value in step.features.items()}
            fused = model.fuse(absent(features, (modality,)))
        logits = model.head(fused)
        closed = step.task.logit_gradient(logits, target)
        return head_gradient(model.head, fused, closed, step.task.loss(logits, target)).detach()


def _picture(kind: str, modality: str, gradient: torch.Tensor) -> Picture:
    if gradient.numel() <= SIZE:
        return Picture(kind, modality, gradient)
    said = {"size": gradient.numel(), "shape": list(gradient.shape), "seed": SEED}
    return Picture(kind, modality, sketch(gradient.flatten()), said)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, then every part as it was: a part somebody froze in evaluation mode stays so."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
