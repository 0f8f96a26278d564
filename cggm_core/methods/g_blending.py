"""G-Blending: losses of all heads, weighted by how much each generalises for what it overfits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.data import Batch
from cggm_core.protocols.method import BalanceMethod, MethodContext, Objective, TrialLosses
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="g_blending",
    title="G-Blending",
    summary="Gives every modality a head of its own, tries from time to time how each learns alone, and weighs the "
    "losses by generalisation over overfitting squared.",
    params=(
        Param("super_epoch", 5, 0, 100_000, "epochs between two estimates of the weights; 0 never estimates, which "
              "is joint training"),
        Param("trial_epochs", 2, 1, 1000, "epochs each head is tried for: 1 is cheap and noisy, super_epoch is the "
              "published rule, more looks further ahead than the weights are used"),
    ),
    lever="loss",
    paper="Wang et al., CVPR 2020",
    requires=("own_modules", "trials"),
    reports=("loss_weight",),
    neutral={"super_epoch": 0},
    cost="a head a modality; and trial_epochs / super_epoch times M + 1 trainings beside it",
    departs="released code: weights given by hand, no estimate; ours: the paper's online estimate, with shorter trials "
    "than the super-epoch; gains below 0 count as 0, overfitting has a floor of a tenth of the largest; the validation "
    "split is the held-out one, so it is no unseen data here",
)  # fmt: skip

_SEED_SHIFT = 15_485_863  # heads must not repeat the draws of the model or of the unimodal classifiers
_FLOOR = 0.1


class GBlending(BalanceMethod):
    """L = sum_k w_k L_k over the heads of the modalities and the fused one, w_k ~ G_k / dO_k^2, sum w = 1.

    G = fall of the held-out loss, dO = growth of its distance from the training loss, both over a trial training
    of a copy on that head's loss alone.

    Reference: Wang et al., CVPR 2020; methods reference 4.
    """

    def setup(self, context: MethodContext) -> None:
        """Heads from a generator of their own; all weight on the fused loss until the first estimate."""
        self._context = context
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(torch.initial_seed() + _SEED_SHIFT)
            self._heads = context.model.build_classifiers().to(context.device)
        weights = [0.0] * len(context.model.modalities) + [1.0]
        self._weights = torch.tensor(weights, device=context.device)

    def modules(self) -> Mapping[str, nn.Module]:
        """The modalities' heads."""
        return {"heads": self._heads}

    def on_epoch_start(self, epoch: int) -> None:
        """Estimate the weights anew, at every super-epoch's start."""
        every, context = int(self.knobs["super_epoch"]), self._context
        if not every or epoch % every:
            return
        objectives = [*(self._alone(m) for m in context.model.modalities), self._fused]
        found = [context.trial(objective, int(self.knobs["trial_epochs"])) for objective in objectives]
        self._weights = torch.tensor(blend(found), device=context.device)

    def on_loss(self, step: Step) -> None:
        """Put the weighted sum in place of the fused loss."""
        if not self.knobs["super_epoch"]:
            return
        weights, target = self._weights, step.batch.target
        heads = {m: self._heads[m](step.encoded[m].float()) for m in step.modalities}
        losses = torch.stack([step.task.loss(logits, target) for logits in heads.values()])
        step.add_loss("blending", (weights[:-1] * losses).sum() + (weights[-1] - 1) * step.task_loss)
        step.report("loss_weight", dict(zip((*step.modalities, ""), weights, strict=True)))

    def _alone(self, modality: str) -> Objective:
        def objective(model: MultimodalModel, modules: Mapping[str, nn.Module], batch: Batch) -> Tensor:
            heads: nn.ModuleDict = modules["heads"]  # type: ignore[assignment]
            return self._context.task.loss(heads[modality](model.encode(batch.inputs)[modality]), batch.target)

        return objective

    def _fused(self, model: MultimodalModel, _modules: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        return self._context.task.loss(model(batch.inputs), batch.target)

    def state_dict(self) -> dict[str, Any]:
        """The weights in force."""
        return {"weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._weights = state["weights"]


def blend(trials: Sequence[TrialLosses]) -> list[float]:
    """Weights by generalisation over overfitting squared.

    G = max(0, fall of the held-out loss); dO = growth of (held-out - training loss), at least a tenth of the
    largest in size.

    Args:
        trials: one a head.

    Returns:
        One a head, each in [0, 1], sum 1; all on the last, the fused head, where no head generalises.
    """
    gains = [max(0.0, t.held_before - t.held_after) for t in trials]
    grown = [abs((t.held_after - t.train_after) - (t.held_before - t.train_before)) for t in trials]
    floor = max(_FLOOR * max(grown), 1e-6)
    raw = [gain / max(over, floor) ** 2 for gain, over in zip(gains, grown, strict=True)]
    total = sum(raw)
    return [value / total for value in raw] if 0 < total < float("inf") else [0.0] * (len(raw) - 1) + [1.0]
