"""Attention over tokens: self-attention, feed-forward, and one prediction token that reads all others.

Padding is handed on as `keys`, `[batch, tokens]`, true where a token may be looked at; None where all may.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def real_tokens(tokens: Tensor) -> Tensor:
    """`[batch, tokens]`: false where a token is exactly 0 throughout, which is how padding is carried."""
    return (tokens != 0).any(-1)


def keys_of(real: Tensor) -> Tensor:
    """Which tokens may be looked at: the real ones; all where a sample has none, for a softmax over nothing is NaN."""
    return real | ~real.any(1, keepdim=True)


def mean_of_real(tokens: Tensor, real: Tensor | None) -> Tensor:
    """Mean over the real tokens, `[batch, width]`; 0 where a sample has none. Padding must be 0 already."""
    if real is None:
        return tokens.mean(1)
    return tokens.sum(1) / real.sum(1, keepdim=True).clamp_min(1).to(tokens.dtype)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, keys: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, `softmax(Q K^T / sqrt(d)) V` in each head, by PyTorch's fused kernels.

    Those cannot be differentiated twice; `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` around the forward pass
    takes one that can. Nothing here needs it: a last layer's gradient has a closed form in features and logits.

    Args:
        query: `[batch, queries, width]`.
        key: `[batch, tokens, width]`.
        value: `[batch, tokens, width]`.
        heads: divides width; d = width / heads.
        keys: `[batch, tokens]` which may be looked at, at least one a sample; None is all.

    Returns:
        `[batch, queries, width]`, heads joined.
    """
    if key.shape[1] == 1:
        return value.expand(-1, query.shape[1], -1)  # the softmax over one token is 1
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    read = F.scaled_dot_product_attention(q, k, v, None if keys is None else keys[:, None, None])
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

    def forward(self, tokens: Tensor, keys: Tensor | None = None) -> Tensor:
        """`[batch, tokens, width]` to the same shape."""
        query, key, value = self.projections(self.norm(tokens)).chunk(3, -1)
        read = attend(query, key, value, self.heads, keys)
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


class TransformerLayers(nn.Module):
    """Transformer layers one after the other, normalised before each part and not at the end.

    Args:
        width: of a token, divisible by `heads`.
        layers: 0 or more.
        heads: 1 to width.
        dropout: on every branch, 0 (none) to below 1.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.ModuleList([SelfAttention(width, heads, dropout) for _ in range(layers)])
        self.forwards = nn.ModuleList([FeedForward(width, 4, dropout) for _ in range(layers)])

    def forward(self, tokens: Tensor, keys: Tensor | None = None) -> Tensor:
        """`[batch, tokens, width]` to the same shape."""
        for attention, forward in zip(self.attention, self.forwards, strict=True):
            tokens = forward(attention(tokens, keys))
        return tokens


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

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """Normalised tokens `[batch, tokens, width]` to `[batch, width]`; of none but the `real` ones, if given."""
        scores = self.score(tokens).transpose(1, 2)
        if real is not None:
            tokens = tokens * real[:, :, None]
            scores = scores.masked_fill(~keys_of(real)[:, None], -torch.inf)
        weights = scores.softmax(-1)
        read = torch.bmm(weights, tokens).transpose(0, 1)
        by_head = self.value.weight.unflatten(0, (self.heads, -1)).transpose(1, 2)
        values = torch.bmm(read, by_head).transpose(0, 1).flatten(1) + self.value.bias
        joined: Tensor = self.out(values) + mean_of_real(tokens, real)
        return joined
