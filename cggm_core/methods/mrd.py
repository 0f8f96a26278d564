"""MRD, modality random dropout: samples lose whole modalities while training."""

from __future__ import annotations

import torch
from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="mrd",
    title="Modality random dropout",
    summary="Takes each modality away from some samples of every batch, so that none can be relied on alone.",
    params=(
        Param("p", 0.3, 0.0, 0.95, "chance that a sample loses a modality: 0 is joint training, near 1 most samples "
              "keep one modality only", live=True),
        Param("rescale", False, text="divide what is kept by 1 - p, as ordinary dropout does", live=True),
    ),
    lever="features",
    paper="baseline of Guo et al., NeurIPS 2024, Tables 2-4, given there without a formula",
    reports=("kept_share",),
    neutral={"p": 0.0, "rescale": False},
    cost="1",
    departs="no paper gives the rule: here each sample loses each modality independently and always keeps one; "
    "features are masked and not inputs; nothing is dropped in evaluation",
)  # fmt: skip


class Mrd(BalanceMethod):
    """Features of a sample's dropped modalities are zero, which is what absent means everywhere here."""

    def on_features(self, step: Step) -> None:
        """Draw who loses what; columns in the order of names, so that the modalities' order does not matter."""
        p = float(self.knobs["p"])
        if p == 0:
            step.report("kept_share", dict.fromkeys(step.modalities, 1.0))
            return
        names = sorted(step.modalities)
        keep = kept(torch.rand(len(step.batch), len(names), device=step.batch.target.device), p)
        factor = keep / (1 - p) if self.knobs["rescale"] else keep.float()
        masked = {}
        for name, value in step.features.items():
            column = factor[:, names.index(name)].to(value.dtype)
            masked[name] = value * column.reshape(-1, *(1,) * (value.ndim - 1))
        step.set_features(masked)
        step.report("kept_share", dict(zip(names, keep.float().mean(0), strict=True)))


def kept(draws: Tensor, p: float) -> Tensor:
    """Which sample keeps which modality: where the draw is p or more, and where it is the sample's largest.

    Args:
        draws: uniform in [0, 1), `[batch, modalities]`.
        p: chance to be dropped.

    Returns:
        bool `[batch, modalities]`, at least one a row; of equal largest draws the first column's is kept.
    """
    largest = torch.zeros_like(draws, dtype=torch.bool).scatter_(1, draws.argmax(1, keepdim=True), value=True)
    return (draws >= p) | largest
