"""The balancing coefficient B_m: the only definition, in the paper's form and the released code's.

Reference: Guo et al., NeurIPS 2024, Eq. 6-8.
"""

from __future__ import annotations

import torch
from torch import Tensor


def share_of_others(gain: Tensor, previous: Tensor, scores: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """c_m = (S - gain_m) / S with S the sum of gains: Eq. 7 without rho.

    Args:
        gain: change of each modality's score, `[m]`.
        previous: c of the step before, kept where the quotient is undefined, `[m]`.
        scores: of this step, `[m]`; with those before they say how large rounding can be.
        before: scores of the step before, `[m]`.

    Returns:
        c, `[m]`, summing to M - 1 where defined, each of any sign and size; and a boolean scalar: undefined,
        that is |S| no larger than the rounding of the subtractions that made it.
    """
    total = gain.sum()
    rounding = 4 * torch.finfo(gain.dtype).eps * (scores.abs().sum() + before.abs().sum())
    undefined = ~(total.abs() > rounding)
    quotient = (total - gain) / torch.where(undefined, torch.ones_like(total), total)
    return torch.where(undefined, previous, quotient), undefined


def share_of_others_released(gain: Tensor) -> Tensor:
    """c_m as the authors' code computes it: S = sum of gains + 1e-8, signed, so nothing is bounded.

    Returns:
        `[m]`; all zero gains give 1 each.
    """
    total = gain.sum() + 1e-8
    return (total - gain) / total


def share_of_others_stable(gain: Tensor, noise: Tensor) -> Tensor:
    """Ours: non-negative, bounded, mean exactly 1 over modalities.

    p_m = max(gain_m, 0) + noise; c_m = M/(M-1) (1 - p_m / sum p). A fast improver is damped, a slow one lifted;
    where every gain drowns in the noise all c_m go to 1.

    Args:
        gain: smoothed change of each modality's score, `[m]`.
        noise: how much of a gain is chance, a positive scalar in the score's unit.

    Returns:
        `[m]`, each in [0, M/(M-1)].
    """
    m = len(gain)
    positive = gain.clamp_min(0) + noise
    return (1 - positive / positive.sum()) * (m / (m - 1))
