"""Unimodal heads on the graph: what a method reads from each modality's features, and trains with the model.

Of the same build as the classifiers that every run has beside its model, but of their own weights, and their
gradients reach the encoders. They learn with the run's optimiser at the run's rate, as all of a method's modules.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cggm_core.protocols.method import MethodContext
from cggm_core.protocols.model import MultimodalModel, UnimodalClassifier

_SEED_SHIFT = 32_452_843  # neither the model's draws nor the classifiers' are repeated


class UnimodalHeads(nn.Module):
    """One head a modality, features to logits of the task's shape.

    Args:
        context: gives model, seed and device.
        shared: whether the model's own last layer takes the place of each head's last layer.
    """

    def __init__(self, context: MethodContext, *, shared: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(context.seed + _SEED_SHIFT)
            built = context.model.build_classifiers()
        self.readers = built.to(context.device)
        if shared:
            for modality in context.model.modalities:
                self.of(modality).head.requires_grad_(False)

    def of(self, modality: str) -> UnimodalClassifier:
        """The head of one modality."""
        found = self.readers[modality]
        assert isinstance(found, UnimodalClassifier)
        return found

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits by modality, float32 whatever the model's precision."""
        with _float32(features):
            return {m: self.of(m)(value.float()) for m, value in features.items()}

    def represent(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The last layer's input by modality, float32, shape of the fusion head's input."""
        with _float32(features):
            return {m: self.of(m).represent(value.float()) for m, value in features.items()}


def through(model: MultimodalModel, represented: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Logits by modality from `UnimodalHeads.represent` and the model's own last layer, float32."""
    with _float32(represented):
        return {m: model.head(value) for m, value in represented.items()}


def _float32(tensors: Mapping[str, Tensor]) -> torch.autocast:
    return torch.autocast(next(iter(tensors.values())).device.type, enabled=False)
