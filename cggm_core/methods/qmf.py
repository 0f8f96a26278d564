"""QMF: every modality's logits weighed, sample by sample, by how sure they are."""

from __future__ import annotations

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
    name="qmf",
    title="QMF",
    summary="Fuses unimodal logits by their energy, and teaches the energy to follow each sample's past losses.",
    params=(
        Param("lam", 1.0, 0.0, 1_000.0, "weight of the ranking loss: 0 leaves the confidence untaught, very large "
              "orders samples and forgets the task"),
        Param("margin", "released", text="released: differences in past loss are a tolerance, as the authors' code "
              "computes; intended: they are a margin, as the text says", choices=("released", "intended")),
        Param("start_epoch", 0, 0, 100_000, "first epoch fused this way; 0 is from the start, the run's epochs or "
              "more is joint training"),
    ),
    tasks=("classification", "segmentation"),
    lever="fusion",
    paper="Zhang et al., ICML 2023",
    requires=("own_modules", "own_prediction", "training_data"),
    reports=("head_loss", "fusion_weight", "ranking_loss"),
    neutral={"start_epoch": 100_000},
    cost="a head a modality, forward and backward",
    departs="paper: two modalities; released code: the ranking is undefined until losses differ, and one of two "
    "scripts lets the gradient through the weights; ours: 0 until then, weights without gradient, any number; "
    "segmentation: weights by pixel, ranking by image",
    limits="a regression has no energy: its outputs say nothing of how sure they are",
)  # fmt: skip


def confidence(logits: Tensor) -> Tensor:
    """C = logsumexp(z) / 10: minus a tenth of the energy; may be negative.

    Args:
        logits: `[batch, classes, ...]`.

    Returns:
        `[batch, ...]`.
    """
    return logits.float().logsumexp(1) / 10


def fuse(logits: Mapping[str, Tensor]) -> Tensor:
    """sum_m c_m z_m with c without gradient; shapes as in `confidence`."""
    weighed = [confidence(z).detach().unsqueeze(1) * z for z in logits.values()]
    return torch.stack(weighed).sum(0)


def ranking_loss(sure: Tensor, past: Tensor, *, intended: bool) -> Tensor:
    """Mean over neighbours (i, i + 1, the last with the first) of max(0, t (c_i - c_j) -+ D).

    t is the sign and D the size of the difference in past loss: who lost more must be less sure.

    Args:
        sure: confidence, `[batch]`, with gradient.
        past: past losses brought to [0, 1], `[batch]`.
        intended: add D (a margin) in place of subtracting it (a tolerance, the released code).

    Returns:
        Scalar, at least 0; 0 for a batch of 1.
    """
    apart = past - past.roll(-1)
    wrong = apart.sign() * (sure - sure.roll(-1))
    # Without a difference there is no order to teach: both forms are 0 then.
    return (wrong + apart.abs() if intended else wrong - apart.abs()).clamp_min(0).mean()


def in_unit_range(history: Tensor) -> Tensor:
    """(k - min) / (max - min) over each column of `[samples, m]`; 0 where a column is constant."""
    low, high = history.amin(0), history.amax(0)
    return (history - low) / torch.where(high > low, high - low, torch.ones_like(high))


class Qmf(BalanceMethod):
    """z = sum_m c_m z_m; L = CE(z) + sum_m CE(z_m) + lam sum_m ranking_m.

    Reference: Zhang et al., ICML 2023 (arXiv 2306.02050), section 3 and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Heads, and the losses of every training sample so far: none."""
        self.heads, self.active = UnimodalHeads(context), False
        ids = context.data.splits["train"].ids
        self.sorted_ids, self.rows = ids.sort()
        shape = (len(ids), len(context.model.modalities))
        self.history = torch.zeros(shape, device=context.device)

    def on_epoch_start(self, epoch: int) -> None:
        """Whether this epoch is fused by confidence."""
        self.active = epoch >= int(self.knobs["start_epoch"])

    def on_logits(self, step: Step) -> None:
        """The fused prediction by confidence."""
        if self.active:
            self.logits = self.heads(step.encoded)
            step.set_logits(fuse(self.logits), elsewhere=True)

    def on_loss(self, step: Step) -> None:
        """Unimodal losses and the ranking of confidences."""
        if not self.active:
            return
        losses = {m: step.task.per_sample_loss(z, step.batch.target) for m, z in self.logits.items()}
        places = self.rows[torch.searchsorted(self.sorted_ids, step.batch.ids)]
        places = places.to(self.history.device, non_blocking=True)
        self.history = self.history.index_add(0, places, torch.stack(list(losses.values()), 1).detach())
        past = in_unit_range(self.history)[places]
        weights = {m: confidence(z).reshape(len(z), -1).mean(1) for m, z in self.logits.items()}
        intended = self.knobs["margin"] == "intended"
        ranking = {m: ranking_loss(weights[m], past[:, i], intended=intended) for i, m in enumerate(weights)}
        step.add_loss("unimodal", torch.stack([loss.mean() for loss in losses.values()]).sum())
        step.add_loss("ranking", float(self.knobs["lam"]) * torch.stack(list(ranking.values())).sum())
        step.report("head_loss", {m: loss.mean() for m, loss in losses.items()})
        step.report("fusion_weight", {m: weight.mean() for m, weight in weights.items()})
        step.report("ranking_loss", ranking)

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """The heads' logits, fused by confidence."""
        return fuse(self.heads(features)) if self.active else super().predict(model, features)

    def modules(self) -> Mapping[str, nn.Module]:
        """The heads."""
        return {"heads": self.heads}

    def state_dict(self) -> dict[str, Any]:
        """Losses of every training sample so far, summed over epochs."""
        return {"history": self.history, "active": self.active}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.history, self.active = state["history"].to(self.history), bool(state["active"])
