"""Shapley values over modalities: the only definition of a modality's fair share of a set function.

phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! (f(S + m) - f(S)), linear in the values f(S), so that f may
be a number, a batch of logits, or anything that adds.

Reference: Shapley 1953; Li et al., ICCV 2023 (AGM) for logits.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import torch
from torch import Tensor


def subsets(modalities: int) -> tuple[tuple[int, ...], ...]:
    """All 2^M subsets of 0 .. M-1, small ones first: the empty one first, the whole one last."""
    return tuple(s for size in range(modalities + 1) for s in combinations(range(modalities), size))


def shapley_weights(modalities: int) -> Tensor:
    """Weights A with phi_m = sum_S A[S, m] f(S), `[2^M, M]` float64, rows in the order of `subsets`.

    Columns sum to 0; summed over m only the whole set (1) and the empty one (-1) are left.
    """
    m = modalities
    weights = torch.zeros(2**m, m, dtype=torch.float64)
    for row, chosen in enumerate(subsets(m)):
        size = len(chosen)
        for member in range(m):
            if member in chosen:
                weights[row, member] = factorial(size - 1) * factorial(m - size) / factorial(m)
            else:
                weights[row, member] = -factorial(size) * factorial(m - size - 1) / factorial(m)
    return weights
