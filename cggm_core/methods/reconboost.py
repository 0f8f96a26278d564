"""ReconBoost: modalities are boosted one after the other, each on what the others leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cggm_core.cards import MethodCard, Param
from cggm_core.errors import ConfigError
from cggm_core.methods._unimodal_heads import UnimodalHeads, through
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="reconboost",
    title="ReconBoost",
    summary="Stages: one modality learns where the sum of the others is wrong, then all learn together.",
    params=(
        Param("agree", 5.0, 0.0, 100.0, "weight of the label in a stage, not below residual: equal to it nothing is "
              "left of what the others have right, far above the others hardly count", low_open=True),
        Param("residual", 1.0, 0.0, 100.0, "how much less a sample counts that the others have right: 0 "
              "ignores them, as much as agree leaves nothing to learn there"),
        Param("alone_epochs", 1, 1, 10_000, "epochs of a stage in which one modality learns: 1 changes turns often, "
              "the run's epochs or more never reaches the second modality"),
        Param("together_epochs", 1, 0, 10_000, "epochs of a stage in which all learn afterwards: 0 is none, many leave "
              "little of the alternation"),
        Param("start_epoch", 0, 0, 100_000, "first epoch of the first stage; 0 is from the start, the run's epochs or "
              "more is joint training"),
    ),
    lever="schedule",
    paper="Hua et al., ICML 2024",
    requires=("own_modules", "own_prediction"),
    reports=("head_loss", "boost_rate", "residual_weight"),
    neutral={"start_epoch": 100_000},
    cost="a reader a modality in place of the fusion",
    departs="paper: four and four epochs, a new optimiser each phase, a term of agreement whose gradient is zero in "
    "the released code; ours: one and one as the third-party benchmark, the run's optimiser, no such term, every "
    "modality in the sum from the start, turns in alphabetical order; regression: the task's loss on the "
    "sum, the others held",
)  # fmt: skip


def stage(epoch: int, alone: int, together: int, modalities: int) -> tuple[int, bool]:
    """Which modality's stage an epoch (from the first stage's start) belongs to, and whether it learns alone."""
    number, place = divmod(epoch, alone + together)
    return number % modalities, place < alone


def boosting_loss(
    logits: Tensor, others: Tensor, target: Tensor, agree: float, residual: float
) -> tuple[Tensor, Tensor]:
    """-(1/C) (agree - residual q) log p[y], mean over samples or pixels; q the others' probability of the truth.

    The gradient by z is (agree - residual q) / C (p - onehot(y)).

    Args:
        logits: of the modality that learns, `[batch, classes, ...]`.
        others: the rest of the ensemble, same shape; no gradient reaches it.
        target: `[batch, ...]` int64.
        agree: w1, at least residual, so that no sample is unlearnt.
        residual: w2.

    Returns:
        Loss, and the mean of agree - residual q.
    """
    right = others.detach().softmax(1).gather(1, target[:, None])[:, 0]
    weights = (agree - residual * right).clamp_min(0)
    return (weights * F.cross_entropy(logits, target, reduction="none")).mean() / logits.shape[1], weights.mean()


class ReconBoost(BalanceMethod):
    """Phi = b sum_m z_m, all z through the model's own last layer, b learnt in the epochs together.

    While one modality learns alone the recorded task loss is that of Phi and trains nothing.

    Reference: Hua et al., ICML 2024 (arXiv 2405.09321), Algorithm 1 and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Readers that end in the model's own last layer, and b = 1.

        Raises:
            ConfigError: for a residual above agree, which would unlearn samples.
        """
        if float(self.knobs["residual"]) > float(self.knobs["agree"]):
            raise ConfigError(
                f"residual is {self.knobs['residual']}, but must not be above agree, {self.knobs['agree']}: samples "
                "that the others have right would be unlearnt; lower residual or raise agree"
            )
        self.heads = UnimodalHeads(context, shared=True)
        self.boost = nn.ParameterDict({"rate": torch.ones((), device=context.device)})
        self.names = sorted(context.model.modalities)
        self.regression = context.task.spec.name == "regression"
        self.active, self.learning, self.alone = False, self.names[0], False

    def on_epoch_start(self, epoch: int) -> None:
        """Which stage this epoch belongs to."""
        since = epoch - int(self.knobs["start_epoch"])
        self.active = since >= 0
        lengths = int(self.knobs["alone_epochs"]), int(self.knobs["together_epochs"])
        place, self.alone = stage(max(since, 0), *lengths, len(self.names))
        self.learning = self.names[place]

    def on_logits(self, step: Step) -> None:
        """The ensemble's prediction; in a stage alone cut off from the graph."""
        if self.active:
            self.logits = through(step.model, self.heads.represent(step.encoded))
            whole = self.boost["rate"] * torch.stack(list(self.logits.values())).sum(0)
            step.set_logits(whole.detach() if self.alone else whole, elsewhere=True)

    def on_loss(self, step: Step) -> None:
        """The loss of the modality that learns alone."""
        if not self.active:
            return
        target = step.batch.target
        with torch.no_grad():
            step.report("head_loss", {m: step.task.loss(z, target) for m, z in self.logits.items()})
        step.report("boost_rate", self.boost["rate"])
        if not self.alone:
            return
        rate, own = self.boost["rate"].detach(), self.logits[self.learning]
        others = (step.logits - rate * own).detach()
        if self.regression:
            step.add_loss("boosting", step.task.loss(others + rate * own, target))
            return
        agree, residual = float(self.knobs["agree"]), float(self.knobs["residual"])
        loss, weight = boosting_loss(own, others, target, agree, residual)
        step.add_loss("boosting", loss)
        step.report("residual_weight", weight)

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """The ensemble's prediction."""
        if not self.active:
            return super().predict(model, features)
        logits = through(model, self.heads.represent(features))
        whole: Tensor = self.boost["rate"] * torch.stack(list(logits.values())).sum(0)
        return whole

    def modules(self) -> Mapping[str, nn.Module]:
        """Readers and b."""
        return {"heads": self.heads, "boost": self.boost}

    def state_dict(self) -> dict[str, Any]:
        """The stage of the epoch in progress."""
        return {"active": self.active, "alone": self.alone, "learning": self.learning}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.active, self.alone, self.learning = state["active"], state["alone"], state["learning"]
