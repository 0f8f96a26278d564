"""How much stronger one modality is than the others, and what the ratio does to it: OGM's two formulas.

Reference: Peng et al., CVPR 2022, Eq. 7-9; for more than two modalities the mean of the one-against-other ratios, as
the authors advise.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8


def strength_ratios(strengths: Tensor) -> Tensor:
    """rho_m = mean over j != m of s_m / s_j: above 1 where m is stronger than the others are.

    Args:
        strengths: positive, higher is stronger, `[m]`.

    Returns:
        `[m]`, positive; all 1 where all are alike. Two modalities have reciprocal ratios.
    """
    wide = strengths.clamp_min(_TINY)
    quotients = wide[:, None] / wide[None, :]
    return (quotients.sum(1) - quotients.diagonal()) / (len(wide) - 1)


def damping(ratios: Tensor, alpha: float) -> Tensor:
    """k_m = 1 - tanh(alpha rho_m) where rho_m > 1, else 1.

    Args:
        ratios: `[m]`.
        alpha: 0 damps nothing; large alpha stops a stronger modality altogether. k jumps at rho = 1 from 1 to
            1 - tanh(alpha).

    Returns:
        `[m]` in [0, 1].
    """
    return torch.where(ratios > 1, 1 - torch.tanh(alpha * ratios), torch.ones_like(ratios))
