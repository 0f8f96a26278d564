"""Segmentation fusion: a DeepLab-like encoder a modality, maps joined by convolutions, a 1x1 convolution last."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cggm_core.cards import ModelCard, Param
from cggm_core.errors import CapabilityError
from cggm_core.models._by_modality import ByModality
from cggm_core.models._own_encoders import OwnEncoders
from cggm_core.models._pyramid import SIZES, ConvNorm, PyramidEncoder, Size, enlarged
from cggm_core.protocols.data import DataBundle, ModalitySpec
from cggm_core.protocols.model import ModelBuilder, MultimodalModel, UnimodalClassifier

CARD = ModelCard(
    name="segmentation_fusion",
    title="Segmentation fusion",
    summary="A residual network with an atrous pyramid and a fine skip for each image, fused by convolutions, a "
            "class for every pixel.",
    params=(
        Param("size", "laptop", text="depth and rates: laptop is three short stages, paper four stages as deep as "
              "ResNet-34, with the pyramid of DeepLab v3+; some hundred times slower",
              choices=("laptop", "paper")),
        Param("width", 0, 0, 512, "maps before the last layer; 0 takes the size's own (laptop 16, paper 256), few are "
              "fast and coarse, many are slow at full resolution"),
        Param("dropout", 0.0, 0.0, 0.9, "share of the maps of each residual block set to zero while training; 0 is "
              "none, 0.9 leaves little to learn from. Classifiers have none"),
    ),
    kinds=("image",),
    tasks=("segmentation",),
    default_for=("segmentation",),
)  # fmt: skip


class MapClassifier(UnimodalClassifier):
    """A light decoder: one 3x3 convolution, maps brought to the images' size, a 1x1 convolution.

    Args:
        width: of features and of the head's input.
        outputs: classes.
        shape: height and width of the images.
    """

    def __init__(self, width: int, outputs: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self._shape = shape
        self.decode = ConvNorm(width, width)
        self._head = nn.Conv2d(width, outputs, 1)

    @property
    def head(self) -> nn.Conv2d:
        """Last layer, `width` to `outputs` at every pixel."""
        return self._head

    def represent(self, features: Tensor) -> Tensor:
        """`[batch, width, h, w]` maps to the head's input `[batch, width, height, width_px]`."""
        return enlarged(self.decode(features), self._shape)


class SegmentationFusion(OwnEncoders):
    """Encoders by modality; their maps joined and refined by convolutions; a 1x1 convolution at full resolution.

    Maps are brought to the images' size before the head and not its logits after it, so that the head's output
    is the prediction and its gradient has a closed form; the two orders give the same logits, both are linear.

    Args:
        specs: images of one height and width, at least two, in the order they are joined.
        outputs: classes, background included.
        size: depth and rates.
        width: maps of features and of the head's input.
        dropout: as on the card.

    Reference: Chen et al., ECCV 2018 (DeepLab v3+); Guo et al., NeurIPS 2024, section 4.2.

    Departs from both: GroupNorm in place of batch statistics, which a measuring pass would change.
    """

    def __init__(
        self, specs: Mapping[str, ModalitySpec], outputs: int, *, size: Size, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.modalities = tuple(specs)
        height, across = next(iter(specs.values())).shape[1:]
        self._shape = (height, across)
        self._classifier = {"width": width, "outputs": outputs, "shape": self._shape}
        self._encoders = ByModality(
            {m: PyramidEncoder(spec.shape[0], width, size, dropout) for m, spec in specs.items()}
        )
        self._join = nn.Sequential(ConvNorm(len(specs) * width, width, kernel=1), ConvNorm(width, width))
        self._head = nn.Conv2d(width, outputs, 1)

    @property
    def head(self) -> nn.Conv2d:
        """Last layer, fused maps `[batch, width, height, width_px]` to logits of the same height and width."""
        return self._head

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """Maps by modality to the head's input `[batch, width, height, width_px]`."""
        return enlarged(self._join(torch.cat([features[m] for m in self.modalities], 1)), self._shape)

    def build_classifiers(self) -> nn.ModuleDict:
        """One fresh light decoder a modality, head of the fusion head's shape."""
        return ByModality({m: MapClassifier(**self._classifier) for m in self.modalities})  # type: ignore[arg-type]


class SegmentationFusionBuilder(ModelBuilder):
    """Builds a `SegmentationFusion` for images of one height and width with a mask."""

    def __init__(self, *, size: str = "laptop", width: int = 0, dropout: float = 0.0) -> None:
        self.size, self.dropout = SIZES[size], dropout
        self.width = width or self.size.width

    def build(self, data: DataBundle) -> MultimodalModel:
        """See `ModelBuilder`.

        Raises:
            CapabilityError: for another task, an input that is no image, or images of several sizes.
        """
        if data.task.name not in CARD.tasks:
            raise CapabilityError(
                f"model segmentation_fusion cannot do {data.task.name} ({data.name}): it predicts a class for every "
                f"pixel; leave the model at auto, or take one that does {data.task.name}"
            )
        for modality, spec in data.modalities.items():
            if spec.kind != "image":
                raise CapabilityError(
                    f"modality {modality!r} is of kind {spec.kind!r}; segmentation_fusion has an encoder for image only"
                )
        if len({spec.shape[1:] for spec in data.modalities.values()}) > 1:
            found = ", ".join(f"{m} {spec.shape[1]}x{spec.shape[2]}" for m, spec in data.modalities.items())
            raise CapabilityError(f"images differ in size ({found}); segmentation_fusion needs one size, the masks'")
        return SegmentationFusion(
            data.modalities, data.task.outputs, size=self.size, width=self.width, dropout=self.dropout
        )
