"""What a multimodal model offers: encoders by modality, fusion, a last layer, unimodal classifiers.

Parameters are found through these methods, never by name patterns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from cggm_core.errors import CapabilityError
from cggm_core.protocols.data import DataBundle


class MultimodalModel(nn.Module, ABC):
    """Late fusion: features by modality, fused to logits by a last linear (or 1x1 convolution) layer."""

    modalities: tuple[str, ...]

    @abstractmethod
    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features by modality.

        Args:
            inputs: modality -> `[batch, *shape]`.

        Returns:
            modality -> `[batch, tokens, width]` (or `[batch, width, height, width_px]` maps for segmentation). Tokens
            of a padded modality's padding (`ModalitySpec.padded`) are exactly 0, by which fusion and classifiers
            know them; a sample that is padding from end to end lacks the modality.
        """

    @abstractmethod
    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """The head's input: `[batch, width]`, or `[batch, width, h, w]` for a 1x1 convolution head."""

    @property
    @abstractmethod
    def head(self) -> nn.Linear | nn.Conv2d:
        """Last layer, fused features to logits; its weight is where gradient directions are compared."""

    @abstractmethod
    def parameters_of(self, modality: str) -> Iterable[nn.Parameter]:
        """Every parameter that feeds this modality alone: input projection and encoder."""

    def projection_of(self, modality: str) -> Iterable[nn.Parameter]:
        """Those of `parameters_of` that only project the input to the model's width.

        The released code of CGGM leaves them unscaled (methods reference G3); a model without such a part
        returns nothing.
        """
        return ()

    @abstractmethod
    def build_classifiers(self) -> nn.ModuleDict:
        """One `UnimodalClassifier` a modality, freshly initialised; called once, after construction."""

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits of the fused prediction."""
        logits: Tensor = self.head(self.fuse(self.encode(inputs)))
        return logits


class UnimodalClassifier(nn.Module, ABC):
    """A light reader of one modality's detached features; its last layer has the shape of the fusion head.

    No dropout and no batch statistics: reading scores must not draw from the random state of training nor be
    noisier than the features (the released code scores under dropout; methods reference G8).
    """

    @abstractmethod
    def represent(self, features: Tensor) -> Tensor:
        """The last layer's input, same shape as the fusion head's input."""

    @property
    @abstractmethod
    def head(self) -> nn.Linear | nn.Conv2d:
        """Last layer."""

    def forward(self, features: Tensor) -> Tensor:
        """Logits, same shape as the fused logits."""
        logits: Tensor = self.head(self.represent(features))
        return logits


class ModelBuilder(ABC):
    """What a model plug-in defines: a way from data to a model."""

    @abstractmethod
    def build(self, data: DataBundle) -> MultimodalModel:
        """A freshly initialised model for this data; draws its weights from torch's global generator.

        Raises:
            CapabilityError: for a kind of input or a task the model has no part for.
        """


def absent(features: Mapping[str, Tensor], keep: Iterable[str]) -> dict[str, Tensor]:
    """Features with every modality outside `keep` replaced by zeros (paper, section 3.3.2)."""
    kept = set(keep)
    return {name: value if name in kept else torch.zeros_like(value) for name, value in features.items()}


def pooled(features: Tensor) -> Tensor:
    """One vector a sample: the mean over tokens that are not padding (all zeros), or over the pixels of a map.

    Args:
        features: of one modality, `[batch, tokens, width]` or `[batch, width, h, w]`.

    Returns:
        `[batch, width]`; zeros for a sample that lacks the modality.
    """
    if features.ndim == 4:
        return features.mean((2, 3))
    there = (features != 0).any(-1, keepdim=True)
    return features.sum(1) / there.sum(1).clamp_min(1)


def encoder_parameters(model: MultimodalModel) -> dict[str, list[nn.Parameter]]:
    """Parameters by modality, checked before the first step.

    Raises:
        CapabilityError: if a coefficient would scale no tensor, or one tensor twice.
    """
    found = {m: [p for p in model.parameters_of(m) if p.requires_grad] for m in model.modalities}
    owner: dict[int, str] = {}
    for modality, parameters in found.items():
        if not parameters:
            raise CapabilityError(
                f"modality {modality!r} has no trainable parameter of its own: a coefficient would scale nothing"
            )
        for parameter in parameters:
            if (other := owner.setdefault(id(parameter), modality)) != modality:
                raise CapabilityError(
                    f"modalities {other!r} and {modality!r} share a parameter: it would be scaled twice"
                )
    return found
