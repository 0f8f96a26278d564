"""One encoder a kind of input; all end in normalised tokens `[batch, tokens, width]`.

No batch statistics anywhere: a measuring pass must leave nothing behind, and a sample's features must not
depend on its neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cggm_core.errors import CapabilityError
from cggm_core.models._attention import FeedForward, TransformerLayers, keys_of, real_tokens
from cggm_core.protocols.data import ModalitySpec

_MAP_SIDE = 7
_FINE_SIDE = 16


def make_encoder(
    modality: str, spec: ModalitySpec, *, width: int, layers: int, heads: int, dropout: float
) -> nn.Module:
    """The encoder for one modality, input projection included.

    Raises:
        CapabilityError: for a kind without an encoder.
    """
    if spec.kind == "vector":
        return VectorEncoder(spec.shape[0], width, layers, dropout)
    if spec.kind == "sequence":
        return SequenceEncoder(spec.shape, width, layers, heads, dropout, padded=spec.padded)
    if spec.kind == "image":
        return ImageEncoder(spec.shape, width, layers, dropout)
    raise CapabilityError(
        f"modality {modality!r} is of kind {spec.kind!r}; there are encoders for vector, sequence and image"
    )


class VectorEncoder(nn.Module):
    """Projection and `layers` residual feed-forward blocks: `[batch, d]` to one token."""

    def __init__(self, features: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(features, width)
        self.blocks = nn.Sequential(*(FeedForward(width, 2, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, d]` to `[batch, 1, width]`."""
        token: Tensor = self.norm(self.blocks(self.projection(x)))
        return token.unsqueeze(1)


class SequenceEncoder(nn.Module):
    """Projection, learnt positions and `layers` transformer layers: `[batch, T, d]` to T tokens.

    In a padded sequence positions count from the first real step, nothing looks at padding, and its tokens are 0.
    """

    def __init__(
        self, shape: tuple[int, ...], width: int, layers: int, heads: int, dropout: float, *, padded: bool = False
    ) -> None:
        super().__init__()
        length, features = shape
        self._padded = padded
        self.projection = nn.Linear(features, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = TransformerLayers(width, layers, heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, T, d]` to `[batch, T, width]`."""
        if not self._padded:
            tokens: Tensor = self.norm(self.layers(self.projection(x) + self.positions))
            return tokens
        real = real_tokens(x)
        placed = self.projection(x) + self.positions[counted(real)]
        tokens = self.norm(self.layers(placed, keys_of(real)))
        return tokens * real[:, :, None]


def counted(real: Tensor) -> Tensor:
    """Place of each step, from 0 at the first real one, `[batch, T]` int64; what padding gets means nothing."""
    return (real.cumsum(1) - 1).clamp_min(0)


class ConvBlock(nn.Module):
    """Residual 3x3 convolution, normalised over each sample before."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, width, h, w]` to the same shape."""
        added: Tensor = x + self.dropout(self.convolution(F.relu(self.norm(x))))
        return added


class ImageEncoder(nn.Module):
    """Convolutions down to a map of at most 7x7, then `layers` residual blocks; each place is a token."""

    def __init__(self, shape: tuple[int, ...], width: int, layers: int, dropout: float) -> None:
        super().__init__()
        channels, *side = shape
        stride = 1 if max(side) <= _FINE_SIDE else 2
        stem = max(4, width // 2)
        self.projection = nn.Conv2d(channels, stem, 3, stride, 1)
        parts: list[nn.Module] = []
        longest = -(-max(side) // stride)
        wide = stem
        while longest > _MAP_SIDE or wide != width:
            step = 2 if longest > _MAP_SIDE else 1
            parts += [nn.GroupNorm(1, wide), nn.ReLU(), nn.Conv2d(wide, width, 3, step, 1)]
            wide, longest = width, -(-longest // step)
        self.stem = nn.Sequential(*parts)
        self.blocks = nn.Sequential(*(ConvBlock(width, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, height, width_px]` to `[batch, places, width]`."""
        tokens: Tensor = self.norm(self.blocks(self.stem(self.projection(x))).flatten(2).transpose(1, 2))
        return tokens
