"""Self-attention over a modality's tokens: one light layer, and one prediction token that reads them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SHORT = 128


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention, `softmax(Q K^T / sqrt(d)) V` in each head.

    Args:
        query: `[batch, queries, width]`.
        key: `[batch, tokens, width]`.
        value: `[batch, tokens, width]`.
        heads: divides width; d = width / heads.

    Returns:
        `[batch, queries, width]`, heads joined.
    """
    parts = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value)]
    if query.is_cuda or key.shape[1] > _SHORT:
        read = F.scaled_dot_product_attention(*parts)
    else:
        # The fused kernel of a processor is slower than three plain products while all scores fit its cache.
        q, k, v = (x.flatten(0, 1) for x in parts)
        scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
        read = torch.bmm(scores.softmax(-1), v).unflatten(0, (-1, heads))
    return read.transpose(1, 2).flatten(-2)


class SelfAttention(nn.Module):
    """Residual multi-head self-attention, normalised before: `x + W attention(norm(x))`.

    Args:
        width: of a token, divisible by `heads`.
        heads: 1 to width.
        dropout: on the branch, 0 (none) to below 1.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[batch, tokens, width]` to the same shape."""
        query, key, value = self.projections(self.norm(tokens)).chunk(3, -1)
        read = attend(query, key, value, self.heads)
        added: Tensor = tokens + self.dropout(self.out(read))
        return added


class FeedForward(nn.Module):
    """Residual two-layer network, normalised before: `x + W2 relu(W1 norm(x))`.

    Args:
        width: of the input.
        expansion: hidden width over width, 1 or more.
        dropout: on the branch, 0 (none) to below 1.
    """

    def __init__(self, width: int, expansion: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, expansion * width)
        self.out = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., width]` to the same shape."""
        added: Tensor = x + self.dropout(self.out(F.relu(self.inner(self.norm(x)))))
        return added


class PredictionToken(nn.Module):
    """A learnt token that reads all others by multi-head attention and is all that leaves.

    The last attention layer of a classifier needs one query only; what it would compute for the other tokens
    is thrown away. It is a token of its own, not the first of the sequence, so that no time step is preferred
    (methods reference C5).

    With one query q that no input changes, `q (W_k h_t)` is a linear map of h_t, and `sum_t a_t W_v h_t` is
    `W_v sum_t a_t h_t`: keys are never formed, and values are projected after the sum, not at every token.

    Args:
        width: of a token, divisible by `heads`.
        heads: 1 to width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.score = nn.Linear(width, heads, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalised tokens `[batch, tokens, width]` to `[batch, width]`."""
        weights = self.score(tokens).transpose(1, 2).softmax(-1)
        read = torch.bmm(weights, tokens).transpose(0, 1)
        by_head = self.value.weight.unflatten(0, (self.heads, -1)).transpose(1, 2)
        values = torch.bmm(read, by_head).transpose(0, 1).flatten(1) + self.value.bias
        joined: Tensor = self.out(values) + tokens.mean(1)
        return joined
