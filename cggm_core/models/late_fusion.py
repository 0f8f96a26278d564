"""Late fusion: an encoder a modality, pooled features joined, one last linear layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cggm_core import catalog
from cggm_core.cards import ModelCard, Param
from cggm_core.errors import CapabilityError
from cggm_core.models._attention import FeedForward, mean_of_real, real_tokens
from cggm_core.models._by_modality import ByModality
from cggm_core.models._classifier import TransformerClassifier
from cggm_core.models._encoders import make_encoder
from cggm_core.models._own_encoders import OwnEncoders, check_heads
from cggm_core.protocols.data import DataBundle, ModalitySpec
from cggm_core.protocols.model import ModelBuilder, MultimodalModel

CARD = ModelCard(
    name="late_fusion",
    title="Late fusion",
    summary="A network a modality (residual for vectors, transformer for sequences, convolutions for images) "
            "fused by a residual network.",
    params=(
        Param("width", 64, 8, 1024, "numbers in a token; 8 is fast and coarse, 1024 needs much data"),
        Param("layers", 2, 1, 24, "blocks of each encoder; 1 is shallow, 24 is slow and hard to train"),
        Param("heads", 4, 1, 64, "attention heads, must divide width; 1 attends to one thing at a time, many "
              "heads are narrow"),
        Param("classifier_layers", 1, 1, 4, "attention layers of each unimodal classifier; the paper takes 1 "
              "or 2, more read the features more finely and cost time"),
        Param("dropout", 0.0, 0.0, 0.9, "share of each block's output set to zero while training; 0 is none, "
              "and fastest; 0.9 leaves little to learn from. Classifiers have none"),
    ),
    kinds=("vector", "sequence", "image"),
    tasks=("classification", "regression"),
    default_for=("classification", "regression"),
)  # fmt: skip


class LateFusion(OwnEncoders):
    """Encoders by modality; their mean-pooled tokens joined, projected and refined; a linear head.

    Pooling by the mean, and not by a token of the first modality as in the released code, gives no modality a
    path of its own to the head (methods reference C5).

    Args:
        specs: specification by modality, at least two, in the order they are joined.
        outputs: classes or regression outputs.
        width, layers, heads, classifier_layers, dropout: as on the card.
    """

    def __init__(
        self, specs: Mapping[str, ModalitySpec], outputs: int, *, width: int, layers: int, heads: int,
        classifier_layers: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modalities = tuple(specs)
        self._classifier = {"width": width, "outputs": outputs, "layers": classifier_layers, "heads": heads}
        self._padded = {m: spec.padded for m, spec in specs.items()}
        self._encoders = ByModality(
            {m: make_encoder(m, specs[m], width=width, layers=layers, heads=heads, dropout=dropout) for m in specs}
        )
        self._join = nn.Linear(len(specs) * width, width)
        self._refine = FeedForward(width, 2, dropout)
        self._head = nn.Linear(width, outputs)

    @property
    def head(self) -> nn.Linear:
        """Last layer, fused features `[batch, width]` to logits `[batch, outputs]`."""
        return self._head

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by modality to the head's input `[batch, width]`."""
        real = {m: real_tokens(features[m]) if self._padded[m] else None for m in self.modalities}
        joined = torch.cat([mean_of_real(features[m], real[m]) for m in self.modalities], -1)
        fused: Tensor = self._refine(self._join(joined))
        return fused

    def build_classifiers(self) -> nn.ModuleDict:
        """One fresh transformer classifier a modality, head of the fusion head's shape."""
        return ByModality(
            {m: TransformerClassifier(**self._classifier, padded=self._padded[m]) for m in self.modalities}
        )


class LateFusionBuilder(ModelBuilder):
    """Builds a `LateFusion` for any data whose modalities are vectors, sequences or images."""

    def __init__(
        self, *, width: int = 64, layers: int = 2, heads: int = 4, classifier_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        check_heads(heads, width)
        self.width, self.layers, self.heads = width, layers, heads
        self.classifier_layers, self.dropout = classifier_layers, dropout

    def build(self, data: DataBundle) -> MultimodalModel:
        """See `ModelBuilder`.

        Raises:
            CapabilityError: for segmentation, or a kind of input without an encoder.
        """
        if data.task.name not in CARD.tasks:
            fitting = [name for name, card in catalog.all_cards("model").items() if data.task.name in card.tasks]
            raise CapabilityError(
                f"model late_fusion cannot do {data.task.name} ({data.name}): it has a head for "
                f"{' and '.join(CARD.tasks)}; models that can: {', '.join(fitting) or 'none yet'} "
                "(--model NAME, or leave it at auto)"
            )
        return LateFusion(
            data.modalities, data.task.outputs, width=self.width, layers=self.layers, heads=self.heads,
            classifier_layers=self.classifier_layers, dropout=self.dropout,
        )  # fmt: skip
