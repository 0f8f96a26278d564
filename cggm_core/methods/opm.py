"""OPM: the stronger a modality is, the more of its features are left out before the fusion."""

from __future__ import annotations

import torch
from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.measures.ratios import strength_ratios
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="opm",
    title="OPM",
    summary="Drops the dominant modality's features of random samples, more often the more it dominates.",
    params=(
        Param("base", 0.5, 0.0, 1.0, "share of samples that lose a modality just stronger than the others: 0 is joint "
              "training, 1 always drops it", live=True),
        Param("lam", 0.5, 0.0, 10.0, "how much the share grows with the strength: 0 not at all, above 1 it soon drops "
              "the dominant modality altogether", live=True),
        Param("probability", 0.7, 0.0, 1.0, "share of steps in which anything is dropped; 0 none, 1 all", live=True),
        Param("start_epoch", 0, 0, 100_000, "first epoch in which it acts, from 0; the authors wait for 6, the run's "
              "epochs or more is joint training"),
    ),
    lever="features",
    paper="Wei et al., TPAMI 2024",
    requires=("subset_forward",),
    reports=("strength_ratio", "kept_share"),
    neutral={"base": 0.0},
    cost="the fusion M times more without gradient",
    departs="paper: two modalities, together with OGM; third-party benchmark for three: a ratio that depends on the "
    "order; ours: alone, the mean of the one-against-other ratios, strength by the prediction from one modality",
)  # fmt: skip


def drop_shares(ratios: Tensor, base: float, lam: float) -> Tensor:
    """q_m = base (1 + lam tanh(rho_m - 1)) where rho_m > 1, else 0; in [0, 1].

    Args:
        ratios: `[m]`, above 1 where m is stronger than the others. At least one is 1 or less, so that no sample can
            lose every modality.
        base: share at a ratio just above 1.
        lam: growth of it.
    """
    share = base * (1 + lam * (ratios - 1).clamp_min(0).tanh())
    return torch.where(ratios > 1, share, torch.zeros_like(share)).clamp(0, 1)


def thinned(features: Tensor, kept: Tensor, left_out: Tensor) -> Tensor:
    """Features of the samples that keep the modality, divided by 1 - theta; 0 for the others.

    Args:
        features: `[batch, ...]`.
        kept: `[batch]` of 0 and 1.
        left_out: theta, the mean of q over modalities of one width, so that the fused input keeps its size.
    """
    return features * (kept / (1 - left_out)).to(features.dtype).reshape(-1, *[1] * (features.dim() - 1))


class Opm(BalanceMethod):
    """On-the-fly prediction modulation.

    Reference: Wei, Hu, Du and Wen, TPAMI 2024 (on-the-fly modulation), section 3, and the authors' code.

    Departs from the paper: see the card.
    """

    def on_features(self, step: Step) -> None:
        """Measure the strengths, then drop."""
        base = float(self.knobs["base"])
        if not base or step.epoch < int(self.knobs["start_epoch"]):
            return
        target, names = step.batch.target, step.modalities
        with torch.no_grad():
            alone = [step.task.agreement(step.forward([m], evaluating=True), target).mean() for m in names]
            ratios = strength_ratios(torch.stack(alone))
            shares = dict(zip(names, drop_shares(ratios, base, float(self.knobs["lam"])), strict=True))
            # In alphabetical order: which samples lose what must not hang on the order of modalities in a file.
            drawn = {m: torch.rand(len(step.batch), device=ratios.device) for m in sorted(names)}
            acts = float(torch.rand(()) < float(self.knobs["probability"]))  # a number of the host, no device waits
            kept = {m: (drawn[m] >= shares[m] * acts).float() for m in names}
        if acts:
            left_out = torch.stack(list(shares.values())).mean()
            step.set_features({m: thinned(step.features[m], kept[m], left_out) for m in names})
        step.report("strength_ratio", dict(zip(names, ratios, strict=True)))
        step.report("kept_share", {m: value.mean() for m, value in kept.items()})
