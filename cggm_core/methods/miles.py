"""MILES: the encoder that is used too much learns at a lower rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._unimodal_heads import UnimodalHeads
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="miles",
    title="MILES",
    summary="After every validation the modality that adds most to the others' score gets a lower learning rate.",
    params=(
        Param("threshold", 0.2, 0.0, 10.0, "gap between the largest and the smallest utilisation above which it acts: "
              "0 always, above 1 hardly ever"),
        Param("factor", 0.5, 0.0, 1.0, "on the learning rate of the modality used most: 0 stops it, 1 changes nothing",
              live=True),
        Param("gamma", 1.0, 0.0, 1_000.0, "weight of the unimodal losses: 0 leaves them out, very large forgets the "
              "fusion"),
    ),
    lever="schedule",
    paper="Guerra-Manzanares and Shamout, IJCNN 2025",
    requires=("unimodal_scores", "learning_rates", "own_modules"),
    reports=("head_loss", "utilisation", "rate_coefficient"),
    neutral={"factor": 1.0, "gamma": 0.0},
    cost="a head a modality, forward and backward",
    departs="paper: two modalities, unimodal scores of the trained heads; ours: validation scores of the classifiers "
    "beside every run; for more modalities the mean of the others; regression by 1 - MAE / MAE of the median",
)  # fmt: skip

_WORST = 1e-3  # of a score that must be positive


def positive(score: float, chance: float) -> float:
    """A score as a number above 0, 1 best: itself, or 1 - MAE / MAE of the best constant where scores are -MAE."""
    return max(1 - score / chance if chance < 0 else score, _WORST)


def utilisation(fused: float, alone: Sequence[float]) -> list[float]:
    """u_m = (P - mean of the others alone) / P: what m adds to what there is without it.

    Args:
        fused: P, above 0.
        alone: score of each modality alone, `[m]`.
    """
    others = [(sum(alone) - own) / (len(alone) - 1) for own in alone]
    return [(fused - other) / fused for other in others]


def rates(used: Sequence[float], threshold: float, factor: float) -> list[float]:
    """Factor on each modality's learning rate: `factor` for the largest utilisation, else 1.

    All 1 where the gap is at most the threshold, or every utilisation is negative (the fusion is still worse than
    its parts), or one is not a number.
    """
    unclear = not all(map(math.isfinite, used)) or max(used) - min(used) <= threshold or max(used) < 0
    most = used.index(max(used))
    return [factor if i == most and not unclear else 1.0 for i in range(len(used))]


class Miles(BalanceMethod):
    """Rates of the coming epoch from the scores of the last validation, always from the run's rate.

    Reference: Guerra-Manzanares and Shamout, IJCNN 2025, as re-implemented by others; no code of the authors was at
    hand.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Heads of the method's own; every rate at 1."""
        self.heads, self.names = UnimodalHeads(context), context.model.modalities
        self.chance = context.task.chance
        self.used = dict.fromkeys(self.names, 0.0)
        self._applied = dict.fromkeys(self.names, 1.0)

    def on_epoch_start(self, epoch: int) -> None:
        """The rates of this epoch, as applied: a change of `factor` waits for the next."""
        self._applied = dict(self.rate_factors())

    def on_loss(self, step: Step) -> None:
        """Add the unimodal losses."""
        if gamma := float(self.knobs["gamma"]):
            logits = self.heads(step.encoded)
            losses = {m: step.task.loss(z, step.batch.target) for m, z in logits.items()}
            step.add_loss("unimodal", gamma * torch.stack(list(losses.values())).sum())
            step.report("head_loss", losses)
        device = step.batch.target.device
        for metric, values in (("utilisation", self.used), ("rate_coefficient", self._applied)):
            step.report(metric, {m: torch.full((), values[m], device=device) for m in self.names})

    def rate_factors(self) -> Mapping[str, float]:
        """From the last validation's utilisation."""
        found = rates(list(self.used.values()), float(self.knobs["threshold"]), float(self.knobs["factor"]))
        return dict(zip(self.names, found, strict=True))

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Read the validation's scores."""
        keys = [f"val_unimodal_score[{m}]" for m in self.names]
        if all(key in report for key in keys):
            fused = positive(float(report["val_score"]), self.chance)
            used = utilisation(fused, [positive(float(report[key]), self.chance) for key in keys])
            self.used = dict(zip(self.names, used, strict=True))

    def modules(self) -> Mapping[str, nn.Module]:
        """The heads."""
        return {"heads": self.heads}

    def state_dict(self) -> dict[str, Any]:
        """Utilisation at the last validation, and the factors in force."""
        return {"used": dict(self.used), "applied": dict(self._applied)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.used, self._applied = dict(state["used"]), dict(state["applied"])
