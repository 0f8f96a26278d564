"""Transformer late fusion, the paper's: an encoder a modality, a transformer over all their tokens, a residual head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cggm_core.cards import ModelCard, Param
from cggm_core.errors import CapabilityError
from cggm_core.models._attention import FeedForward, PredictionToken, TransformerLayers, keys_of, real_tokens
from cggm_core.models._by_modality import ByModality
from cggm_core.models._classifier import TransformerClassifier
from cggm_core.models._encoders import TokenEncoder
from cggm_core.models._own_encoders import OwnEncoders, check_heads
from cggm_core.protocols.data import DataBundle, ModalitySpec
from cggm_core.protocols.model import ModelBuilder, MultimodalModel

CARD = ModelCard(
    name="transformer_fusion",
    title="Transformer fusion",
    summary="The paper's backbone: a transformer encoder for each modality and a transformer over their joined "
            "tokens; sequences of any true length.",
    params=(
        Param("width", 40, 8, 1024, "numbers in a token; 8 is fast and coarse, 1024 needs much data"),
        Param("layers", 5, 1, 24, "transformer layers of each encoder; 1 is shallow, 24 is slow and hard to train"),
        Param("fusion_layers", 3, 1, 24, "transformer layers over the joined tokens, the one in which the prediction "
              "token reads them included; their cost grows with the square of all tokens together"),
        Param("heads", 5, 1, 64, "attention heads, must divide width; 1 attends to one thing at a time, many "
              "heads are narrow"),
        Param("classifier_layers", 2, 1, 4, "attention layers of each unimodal classifier; the paper takes 1 "
              "or 2, more read the features more finely and cost time"),
        Param("dropout", 0.0, 0.0, 0.9, "share of each branch's output set to zero while training; 0 is none, "
              "and fastest; 0.9 leaves little to learn from. Classifiers have none"),
    ),
    kinds=("vector", "sequence", "image"),
    tasks=("classification", "regression"),
)  # fmt: skip


class TransformerFusion(OwnEncoders):
    """Encoders by modality; a transformer over their joined tokens; a token that reads them; a residual head.

    Reference: Guo et al., NeurIPS 2024, section 4.2; widths and depths of the authors' code (encoders of 5 layers,
    fusion of 3, 5 heads, width 40, residual block of two linear layers before the last).

    Departs from the released code: the prediction is read by a token of its own and not by the first modality's
    first step, which favours that modality (methods reference C5), and the last fusion layer is computed for that
    token alone; positions are not added again before fusion; one dropout in place of five (of 0.1 to 0.3), none
    on attention weights.

    Args:
        specs: specification by modality, at least two, in the order they are joined.
        outputs: classes or regression outputs.
        width, layers, fusion_layers, heads, classifier_layers, dropout: as on the card.
    """

    def __init__(
        self, specs: Mapping[str, ModalitySpec], outputs: int, *, width: int, layers: int, fusion_layers: int,
        heads: int, classifier_layers: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modalities = tuple(specs)
        self._padded = {m: spec.padded for m, spec in specs.items()}
        self._classifier = {"width": width, "outputs": outputs, "layers": classifier_layers, "heads": heads}
        self._encoders = ByModality({m: TokenEncoder(spec, width, layers, heads, dropout) for m, spec in specs.items()})
        self._layers = TransformerLayers(width, fusion_layers - 1, heads, dropout)
        self._norm = nn.LayerNorm(width)
        self._token = PredictionToken(width, heads)
        self._forward = FeedForward(width, 4, dropout)
        self._block = FeedForward(width, 1, dropout)
        self._head = nn.Linear(width, outputs)

    @property
    def head(self) -> nn.Linear:
        """Last layer, fused features `[batch, width]` to logits `[batch, outputs]`."""
        return self._head

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by modality to the head's input `[batch, width]`."""
        joined = torch.cat([features[m] for m in self.modalities], 1)
        real = real_tokens(joined) if any(self._padded.values()) else None
        joined = self._layers(joined, None if real is None else keys_of(real))
        fused: Tensor = self._block(self._forward(self._token(self._norm(joined), real)))
        return fused

    def build_classifiers(self) -> nn.ModuleDict:
        """One fresh transformer classifier a modality, head of the fusion head's shape."""
        return ByModality(
            {m: TransformerClassifier(**self._classifier, padded=self._padded[m]) for m in self.modalities}
        )


class TransformerFusionBuilder(ModelBuilder):
    """Builds a `TransformerFusion` for any data whose modalities are vectors, sequences or images."""

    def __init__(
        self, *, width: int = 40, layers: int = 5, fusion_layers: int = 3, heads: int = 5, classifier_layers: int = 2,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        check_heads(heads, width)
        self.width, self.layers, self.fusion_layers, self.heads = width, layers, fusion_layers, heads
        self.classifier_layers, self.dropout = classifier_layers, dropout

    def build(self, data: DataBundle) -> MultimodalModel:
        """See `ModelBuilder`.

        Raises:
            CapabilityError: for segmentation, or a kind of input without an encoder.
        """
        if data.task.name not in CARD.tasks:
            raise CapabilityError(
                f"model transformer_fusion cannot do {data.task.name} ({data.name}): it has a head for "
                f"{' and '.join(CARD.tasks)}; leave the model at auto, or take one that does {data.task.name}"
            )
        for modality, spec in data.modalities.items():
            if spec.kind not in CARD.kinds:
                raise CapabilityError(
                    f"modality {modality!r} is of kind {spec.kind!r}; there are encoders for vector, sequence and image"
                )
        return TransformerFusion(
            data.modalities, data.task.outputs, width=self.width, layers=self.layers, heads=self.heads,
            fusion_layers=self.fusion_layers, classifier_layers=self.classifier_layers, dropout=self.dropout,
        )  # fmt: skip
