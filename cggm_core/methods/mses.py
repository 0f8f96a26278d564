"""MSES, modality-specific early stopping: an encoder that overfits goes back to its best epoch and rests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import encoder_parameters
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="mses",
    title="Modality-specific early stopping",
    summary="Stops each encoder by itself once its classifier's validation score has not improved for some epochs, "
    "and takes it back to its best epoch.",
    params=(
        Param("patience", 10, 0, 100_000, "epochs without improvement before an encoder is stopped; 1 stops at the "
              "first bad epoch, 0 never stops one, which is joint training"),
    ),
    lever="schedule",
    paper="Fujimori et al., ACPR 2019; the rule is that of AGM's released baselines",
    requires=("unimodal_scores", "learning_rates"),
    reports=("rate_coefficient",),
    neutral={"patience": 0},
    cost="1, with the classifiers whose validation scores it follows; a copy of every encoder",
    departs="paper: a classifier a modality learns with the model, each stops where it overfits; AGM's released "
    "baseline: the encoder's gradient times 0, and the whole model and its optimiser back to that epoch, patience 80, "
    "30 or 10; ours: the classifier's validation score as loss, only the stopped encoder goes back, its rate is 0",
)  # fmt: skip

_OLD = 0.6


class Mses(BalanceMethod):
    """Smoothed loss = 0.6 of the last raw one + 0.4 of this one; no new minimum for `patience` epochs stops.

    Reference: Fujimori et al., ACPR 2019; methods reference 6.2. The validation split is no unseen data for this
    method; the test split is.
    """

    def setup(self, context: MethodContext) -> None:
        """Nothing seen yet."""
        self._parameters = encoder_parameters(context.model)
        self._watched: dict[str, dict[str, Any]] = {
            m: {"raw": None, "best": None, "since": 0, "stopped": False, "kept": []} for m in self._parameters
        }

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Keep an encoder at its best, or stop it and take it back there."""
        if not self.knobs["patience"]:
            return
        for modality, seen in self._watched.items():
            if seen["stopped"]:
                continue
            raw = -float(report[f"val_unimodal_score[{modality}]"])
            smoothed = raw if seen["raw"] is None else smoothed_loss(seen["raw"], raw)
            seen["raw"], seen["since"] = raw, seen["since"] + 1
            if seen["best"] is None or smoothed < seen["best"]:
                kept = [p.detach().clone() for p in self._parameters[modality]]
                seen.update(best=smoothed, since=0, kept=kept)
            elif seen["since"] >= int(self.knobs["patience"]):
                seen["stopped"] = True
                with torch.no_grad():
                    torch._foreach_copy_(list[torch.Tensor](self._parameters[modality]), seen["kept"])

    def rate_factors(self) -> Mapping[str, float]:
        """0 for an encoder that was stopped, else 1."""
        return {m: 0.0 if seen["stopped"] else 1.0 for m, seen in self._watched.items()}

    def on_gradients(self, step: Step) -> None:
        """Report who still learns."""
        step.report("rate_coefficient", self.rate_factors())

    def state_dict(self) -> dict[str, Any]:
        """What was seen of every modality, its best weights included."""
        return {m: dict(seen) for m, seen in self._watched.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._watched = {m: dict(seen) for m, seen in state.items()}


def smoothed_loss(before: float, now: float) -> float:
    """0.6 of the last raw loss + 0.4 of this one."""
    return _OLD * before + (1 - _OLD) * now
