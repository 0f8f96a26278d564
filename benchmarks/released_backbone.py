"""The backbone that the authors' code of CGGM trains, re-created from its description, to time ours against.

A benchmark's reference and no part of the lab. What it re-creates: a 1x1 temporal convolution a modality to width 40;
an encoder a modality of 5 layers and a fusion of 3 over the sequences joined in time, all of the kind of MulT (Tsai
et al., ACL 2019): inputs scaled by the root of the width, sinusoidal positions, dropout, layer norm before each part
and at the end, attention out of plain batched products with query, key and value projected one by one from a packed
weight, dropout on its weights and their mean over heads returned as well, a ReLU network four times as wide; the first
token of the first modality, a residual block of two linear layers, a linear head. Tensors lie time first.

Reference: Guo et al., NeurIPS 2024, section 4.2; methods reference 8.2, C5; depths and dropouts of the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Dropouts:
    """Share set to zero at each place; the defaults are the authors'."""

    attention: float = 0.25
    relu: float = 0.1
    embedding: float = 0.3
    residual: float = 0.1
    out: float = 0.1


NO_DROPOUT = Dropouts(0.0, 0.0, 0.0, 0.0, 0.0)


class PlainAttention(nn.Module):
    """Multi-head attention by two batched products a layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads, self.dropout = width, heads, dropout
        self.packed = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.bias = nn.Parameter(torch.zeros(3 * width))
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, batch, width]` each; the read tokens, and the weights' mean over heads `[batch, T, T]`."""
        weights, biases = self.packed.chunk(3), self.bias.chunk(3)
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        length, batch, narrow = q.shape[0], q.shape[1], self.width // self.heads
        q = q * narrow**-0.5
        q, k, v = (x.contiguous().view(-1, batch * self.heads, narrow).transpose(0, 1) for x in (q, k, v))
        shares = F.softmax(torch.bmm(q, k.transpose(1, 2)).float(), dim=-1)
        shares = F.dropout(shares, self.dropout, self.training)
        read = torch.bmm(shares, v).transpose(0, 1).contiguous().view(length, batch, self.width)
        mean = shares.view(batch, self.heads, length, -1).sum(1) / self.heads
        return self.out(read), mean


class Layer(nn.Module):
    """Attention and a ReLU network, each on what a layer norm makes of its input, each around a shortcut."""

    def __init__(self, width: int, heads: int, dropouts: Dropouts) -> None:
        super().__init__()
        self.attention = PlainAttention(width, heads, dropouts.attention)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropouts = dropouts

    def forward(self, x: Tensor) -> Tensor:
        """`[T, batch, width]` to the same shape."""
        normal = self.norms[0](x)
        read, _ = self.attention(normal, normal, normal)
        x = x + F.dropout(read, self.dropouts.residual, self.training)
        inner = F.dropout(F.relu(self.inner(self.norms[1](x))), self.dropouts.relu, self.training)
        return x + F.dropout(self.outer(inner), self.dropouts.residual, self.training)


class Encoder(nn.Module):
    """Layers over tokens with sinusoidal positions."""

    def __init__(self, width: int, heads: int, layers: int, dropouts: Dropouts) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(width, heads, dropouts) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.dropout = dropouts.embedding

    def forward(self, x: Tensor) -> Tensor:
        """`[T, batch, width]` to the same shape."""
        length, _, width = x.shape
        rate = torch.exp(torch.arange(width // 2) * (-math.log(10_000.0) / (width // 2 - 1)))
        angle = torch.arange(1, length + 1)[:, None] * rate
        places = torch.cat([angle.sin(), angle.cos()], 1)[:, None]
        x = F.dropout(math.sqrt(width) * x + places, self.dropout, self.training)
        for layer in self.layers:
            x = layer(x)
        normal: Tensor = self.norm(x)
        return normal


class ReleasedBackbone(nn.Module):
    """Modalities `[batch, T, d]` to `[batch, outputs]`.

    Args:
        features: d of each modality.
        outputs: of the head.
        dropouts: at each place.
    """

    def __init__(
        self, features: list[int], outputs: int, dropouts: Dropouts, width: int = 40, heads: int = 5, layers: int = 5
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList([nn.Conv1d(d, width, 1) for d in features])
        self.encoders = nn.ModuleList([Encoder(width, heads, layers, dropouts) for _ in features])
        self.fusion = Encoder(width, heads, layers - 2, dropouts)
        self.first, self.second, self.head = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, outputs)
        self.out_dropout = dropouts.out

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """The fused prediction."""
        encoded = []
        for x, projection, encoder in zip(inputs, self.projections, self.encoders, strict=True):
            encoded.append(encoder(projection(x.transpose(1, 2)).permute(2, 0, 1)))
        token = self.fusion(torch.cat(encoded))[0]
        block = F.dropout(F.relu(self.first(token)), self.out_dropout, self.training)
        logits: Tensor = self.head(token + self.second(block))
        return logits
