"""Missing data: which parts of an input are left out at a rate, and a curve of scores over rates in a number.

A part is what is measured at once: a number of a vector, a step of a sequence, a pixel of an image with all its
channels. What is missing is 0, the mean of the training data. Parts missing at a rate are missing at every higher one
too where the same numbers are drawn.

Reference: Zhang et al., NeurIPS 2024 (LNLN), section 4 and the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RATES = tuple(i / 10 for i in range(10))


def parts_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of one sample's parts, which spreads over the sample.

    Args:
        shape: of a sample: vector `(d,)`, sequence `(T, d)` or image `(channels, h, w)`.
    """
    return {1: (shape[0],), 2: (shape[0], 1)}.get(len(shape)) or (1, *shape[1:])


def without(inputs: Tensor, rates: Tensor, drawn: Tensor) -> Tensor:
    """Inputs with every part left out whose number is at most the sample's rate; at rate 0 nothing is.

    Args:
        inputs: `[batch, *shape]`.
        rates: `[batch]` in [0, 1].
        drawn: uniform in [0, 1), `[batch, *parts_of(shape)]`.
    """
    rate = rates.reshape(-1, *[1] * (drawn.dim() - 1))
    return torch.where((drawn > rate) | (rate == 0), inputs, torch.zeros((), dtype=inputs.dtype, device=inputs.device))


def area(scores: Sequence[float], rates: Sequence[float] = RATES) -> float:
    """Area under scores over rates, by trapezoids, in units of score times rate."""
    steps = zip(rates, rates[1:], scores, scores[1:], strict=False)
    return sum((right - left) * (one + other) / 2 for left, right, one, other in steps)
