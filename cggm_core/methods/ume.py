"""UME: unimodal networks trained apart, their predictions averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._unimodal_heads import UnimodalHeads
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="ume",
    title="UME",
    summary="Each encoder learns with a head of its own as if it were alone; the prediction is the average.",
    params=(
        Param("average", "probabilities", text="what is averaged; for regression both are the plain mean",
              choices=("probabilities", "logits")),
        Param("start_epoch", 0, 0, 100_000, "first epoch of unimodal training; 0 is from the start, the run's epochs "
              "or more is joint training"),
    ),
    lever="fusion",
    paper="Du et al., ICML 2023",
    requires=("own_modules", "own_prediction"),
    reports=("head_loss",),
    neutral={"start_epoch": 100_000},
    cost="a head a modality in place of the fusion's backward",
    departs="paper: weights of the average may be tuned on validation data; ours: all alike, and the networks share "
    "their steps, which for separate parameters is the same as separate runs unless gradients are clipped",
)  # fmt: skip


def average(logits: Mapping[str, Tensor], *, probabilities: bool) -> Tensor:
    """Mean of predictions as logits.

    Args:
        logits: modality -> `[batch, outputs, ...]`.
        probabilities: mean of the softmax (over dimension 1), given back as its logarithm; else of the logits.

    Returns:
        Shape of one.
    """
    stacked = torch.stack(list(logits.values()))
    if not probabilities:
        return stacked.mean(0)
    mean: Tensor = stacked.log_softmax(2).logsumexp(0) - math.log(len(stacked))
    return mean


class Ume(BalanceMethod):
    """Unimodal ensemble: encoder m sees the loss of its own head alone, the fusion none.

    The recorded task loss is the ensemble's; it trains nothing.

    Reference: Du et al., ICML 2023 (arXiv 2305.01233), section 4.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Heads of the method's own."""
        self.heads, self.active = UnimodalHeads(context), False
        self.probabilities = self.knobs["average"] == "probabilities" and context.task.spec.name != "regression"

    def on_epoch_start(self, epoch: int) -> None:
        """Whether this epoch is unimodal."""
        self.active = epoch >= int(self.knobs["start_epoch"])

    def on_logits(self, step: Step) -> None:
        """The ensemble's prediction, cut off from the graph: its loss must not train."""
        if self.active:
            self.logits = self.heads(step.encoded)
            ensemble = average(self.logits, probabilities=self.probabilities)
            step.set_logits(ensemble.detach(), elsewhere=True)

    def on_loss(self, step: Step) -> None:
        """The unimodal losses, which do."""
        if self.active:
            losses = {m: step.task.loss(z, step.batch.target) for m, z in self.logits.items()}
            step.add_loss("unimodal", torch.stack(list(losses.values())).sum())
            step.report("head_loss", losses)

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """The average of the heads' predictions."""
        if not self.active:
            return super().predict(model, features)
        return average(self.heads(features), probabilities=self.probabilities)

    def modules(self) -> Mapping[str, nn.Module]:
        """The heads."""
        return {"heads": self.heads}

    def state_dict(self) -> dict[str, Any]:
        """Whether the epoch in progress is unimodal."""
        return {"active": self.active}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.active = bool(state["active"])
