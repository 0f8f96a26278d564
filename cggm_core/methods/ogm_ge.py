"""OGM-GE: OGM, and noise of the gradients' own size in every encoder (generalisation enhancement)."""

from __future__ import annotations

import torch
from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._strengths import damped
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="ogm_ge",
    title="OGM-GE",
    summary="OGM, with Gaussian noise of each gradient's own spread added to every encoder.",
    params=(
        Param("alpha", 0.3, 0.0, 100.0, "strength: 0 damps nothing, 0.1 to 0.8 are the published settings, from "
              "about 3 on a stronger modality stands still", live=True),
        Param("noise", 1.0, 0.0, 10.0, "noise in spreads of the gradient: 0 is none (OGM), 1 as published, 10 "
              "drowns the gradient", live=True),
        Param("start", 0, 0, 100_000, "first epoch in which it acts, from 0; the run's epochs or more is joint "
              "training"),
        Param("end", 50, 0, 100_000, "last epoch in which it acts; 0 is the first epoch only, the run's epochs or "
              "more never lets go"),
    ),
    lever="gradient",
    paper="Peng et al., CVPR 2022",
    requires=("subset_forward", "encoder_gradients"),
    reports=("strength_ratio",),
    neutral={"alpha": 0.0, "noise": 0.0},
    cost="the fusion once more for every modality, without gradient; a normal draw for every encoder weight",
    departs="as OGM; noise is the released code's, one spread a tensor and isotropic, not the paper's covariance",
)  # fmt: skip


class OgmGe(BalanceMethod):
    """g_m <- k_m g_m + noise * N(0, std(g_m)^2), the spread of each tensor's elements taken before scaling.

    Reference: Peng et al., CVPR 2022, Eq. 7-12; methods reference 1.
    """

    def on_loss(self, step: Step) -> None:
        """Ratios, while predictions are there."""
        self._coefficients = damped(step, self.knobs)

    def on_gradients(self, step: Step) -> None:
        """Slow down who is ahead, then shake everyone; in the order of names, so that no other order matters."""
        if self._coefficients is None:
            return
        noise = float(self.knobs["noise"])
        drawn = {m: [shaking(g, noise) for g in step.encoder_gradients(m)] if noise else []
                 for m in sorted(step.modalities)}  # fmt: skip
        step.scale_gradients(dict(zip(step.modalities, self._coefficients, strict=True)))
        for modality, added in drawn.items():
            if added:
                torch._foreach_add_(step.encoder_gradients(modality), added)


def shaking(gradient: Tensor, noise: float) -> Tensor:
    """Noise * (std + 1e-8) * N(0, 1) in the gradient's shape.

    std is taken over the tensor's elements with n - 1 in the denominator, as the released code does; of a single
    element, where that is not defined and the released code has no such tensor, it is 0.
    """
    spread = gradient.std(correction=min(1, gradient.numel() - 1)) + 1e-8
    return torch.randn_like(gradient) * (spread * noise)
