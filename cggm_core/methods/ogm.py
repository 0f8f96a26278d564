"""OGM, on-the-fly gradient modulation: encoders of modalities that are ahead are slowed down."""

from __future__ import annotations

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._strengths import damped
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="ogm",
    title="OGM",
    summary="Shrinks the gradients of modalities whose own prediction is better than the others'.",
    params=(
        Param("alpha", 0.3, 0.0, 100.0, "strength: 0 is joint training, 0.1 to 0.8 are the published settings, from "
              "about 3 on a stronger modality stands still", live=True),
        Param("start", 0, 0, 100_000, "first epoch in which it acts, from 0; the run's epochs or more is joint "
              "training"),
        Param("end", 50, 0, 100_000, "last epoch in which it acts; 0 is the first epoch only, the run's epochs or "
              "more never lets go"),
    ),
    lever="gradient",
    paper="Peng et al., CVPR 2022",
    requires=("subset_forward", "encoder_gradients"),
    reports=("strength_ratio",),
    neutral={"alpha": 0.0},
    cost="the fusion once more for every modality, without gradient",
    departs="modality alone = the others absent, not a block of a linear head; every weight of an encoder, not only "
    "4-d kernels; more than two modalities by the mean of pairwise ratios; regression and segmentation by agreement",
)  # fmt: skip


class Ogm(BalanceMethod):
    """g_m <- k_m g_m with k_m = 1 - tanh(alpha rho_m) where rho_m > 1, else 1.

    Reference: Peng et al., CVPR 2022, Eq. 7-9; methods reference 1.
    """

    def on_loss(self, step: Step) -> None:
        """Ratios, while predictions are there."""
        self._coefficients = damped(step, self.knobs)

    def on_gradients(self, step: Step) -> None:
        """Slow down who is ahead."""
        if self._coefficients is not None:
            step.scale_gradients(dict(zip(step.modalities, self._coefficients, strict=True)))
