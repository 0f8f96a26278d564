"""One encoder a kind of input; all end in normalised tokens `[batch, tokens, width]`.

No batch statistics anywhere: a measuring pass must leave nothing behind, and a sample's features must not
depend on its neighbours.
"""

from __future__ import annotations

import math
from functools import cache

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


@cache
def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Fixed positions `[length, width]`: sines in the first half, cosines in the second, of 1 to 10,000 steps' wave.

    Made once a length and device; no parameter, and no buffer, for they follow from the shape.

    Reference: Vaswani et al., NeurIPS 2017, section 3.5.
    """
    half = -(-width // 2)
    rate = torch.exp(torch.arange(half) * (-math.log(10_000.0) / max(1, half - 1)))
    angle = torch.arange(length)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width].to(device)


class TokenEncoder(nn.Module):
    """Projection to tokens, fixed positions, transformer layers, normalised: any kind of input.

    A vector is one token; a sequence is projected step by step, which is a temporal convolution of kernel 1; an
    image is cut into at most 7x7 patches, a token each. Padding as in `SequenceEncoder`.

    Args:
        spec: of the modality.
        width, layers, heads, dropout: as on the model's card.
    """

    def __init__(self, spec: ModalitySpec, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._padded = spec.padded
        self.projection: nn.Linear | nn.Conv2d
        if spec.kind == "image":
            side = -(-max(spec.shape[1:]) // _MAP_SIDE)
            self.projection = nn.Conv2d(spec.shape[0], width, side, side)
            self._missing = tuple(-length % side for length in spec.shape[1:])
        else:
            self.projection = nn.Linear(spec.shape[-1], width)
        self.dropout = nn.Dropout(dropout)
        self.layers = TransformerLayers(width, layers, heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, *shape]` to `[batch, tokens, width]`."""
        projected = self._tokens(x)
        length, width = projected.shape[1:]
        # As large as the positions: they are of order 1, and a fresh projection's numbers are not.
        tokens = projected * math.sqrt(width)
        if not self._padded:
            placed = tokens + sinusoids(length, width, x.device)
            encoded: Tensor = self.norm(self.layers(self.dropout(placed)))
            return encoded
        real = real_tokens(x)
        placed = tokens + sinusoids(length, width, x.device)[counted(real)]
        encoded = self.norm(self.layers(self.dropout(placed), keys_of(real)))
        return encoded * real[:, :, None]

    def _tokens(self, x: Tensor) -> Tensor:
        if isinstance(self.projection, nn.Conv2d):
            down, right = self._missing
            patches: Tensor = self.projection(F.pad(x, (0, right, 0, down))).flatten(2)
            return patches.transpose(1, 2)
        steps: Tensor = self.projection(x if x.dim() == 3 else x[:, None])
        return steps


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
