"""Encoder of one image for segmentation: residual stages, an atrous spatial pyramid, a fine skip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """How large an encoder is.

    Attributes:
        stem: stride of the first convolution.
        stages: width, residual blocks, stride and dilation of each stage.
        fine: stage after which the skip is taken, from 0.
        skip: maps of the skip.
        rates: dilations of the pyramid, in pixels of its maps.
        width: maps before the last layer where nobody says otherwise.
    """

    stem: int
    stages: tuple[tuple[int, int, int, int], ...]
    fine: int
    skip: int
    rates: tuple[int, ...]
    width: int


SIZES = {
    "laptop": Size(2, ((12, 1, 1, 1), (24, 1, 2, 1), (32, 2, 2, 1)), 0, 8, (1, 2, 4), 16),
    "paper": Size(2, ((64, 3, 2, 1), (128, 4, 2, 1), (256, 6, 2, 1), (512, 3, 1, 2)), 0, 48, (6, 12, 18), 256),
}


def enlarged(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """`[batch, width, h, w]` to `[batch, width, *shape]`, bilinear."""
    if maps.shape[2:] == shape:
        return maps
    return F.interpolate(maps, shape, mode="bilinear", align_corners=False)


def normalised(width: int) -> nn.GroupNorm:
    """Normalisation over each sample's groups of about eight maps: no batch statistics."""
    groups = max(1, width // 8)
    return nn.GroupNorm(groups if width % groups == 0 else 1, width)


class ConvNorm(nn.Sequential):
    """Convolution that keeps the size (stride apart), normalisation, ReLU."""

    def __init__(self, inputs: int, width: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(inputs, width, kernel, stride, padding, dilation, bias=False), normalised(width), nn.ReLU()
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, width, stride=stride, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = normalised(width)
        self.dropout = nn.Dropout2d(dropout)
        same = inputs == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, inputs, h, w]` to `[batch, width, h / stride, w / stride]`."""
        added = self.dropout(self.norm(self.second(self.first(x))))
        return F.relu(self.shortcut(x) + added)


class AtrousPyramid(nn.Module):
    """One view at each rate, one of each place alone and one of the whole image, joined by a 1x1 convolution."""

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.views = nn.ModuleList(
            [ConvNorm(inputs, width, kernel=1), *(ConvNorm(inputs, width, dilation=rate) for rate in rates)]
        )
        self.whole = nn.Conv2d(inputs, width, 1)
        self.join = ConvNorm((len(rates) + 2) * width, width, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, inputs, h, w]` to `[batch, width, h, w]`."""
        whole = F.relu(self.whole(x.mean((2, 3), keepdim=True))).expand(-1, -1, *x.shape[2:])
        joined: Tensor = self.join(torch.cat([*(view(x) for view in self.views), whole], 1))
        return joined


class PyramidEncoder(nn.Module):
    """Projection, residual stages, pyramid, and its maps refined beside those of an early stage.

    Reference: Chen et al., ECCV 2018 (DeepLab v3+).
    """

    def __init__(self, channels: int, width: int, size: Size, dropout: float) -> None:
        super().__init__()
        self._fine = size.fine
        inputs = size.stages[0][0]
        self.projection = nn.Conv2d(channels, inputs, 3, size.stem, 1)
        self.stages = nn.ModuleList()
        for wide, blocks, stride, dilation in size.stages:
            made = [
                ResidualBlock(wide if i else inputs, wide, 1 if i else stride, dilation, dropout) for i in range(blocks)
            ]
            self.stages.append(nn.Sequential(*made))
            inputs = wide
        self.pyramid = AtrousPyramid(inputs, max(width, size.width), size.rates)
        self.skip = ConvNorm(size.stages[size.fine][0], size.skip, kernel=1)
        self.refine = ConvNorm(max(width, size.width) + size.skip, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, height, width_px]` to `[batch, width, h, w]`, the size of the skip's stage."""
        maps = self.projection(x)
        fine = maps
        for index, stage in enumerate(self.stages):
            maps = stage(maps)
            if index == self._fine:
                fine = maps
        deep = enlarged(self.pyramid(maps), (fine.shape[2], fine.shape[3]))
        refined: Tensor = self.refine(torch.cat([deep, self.skip(fine)], 1))
        return refined
