"""LFM: predictions from single modalities are drawn together before the labels tell them apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.data import take
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import absent
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="lfm",
    title="LFM",
    summary="Blends the task's loss with the divergence between modalities; the blend is learnt on held-out data.",
    params=(
        Param("alpha", 0.95, 0.05, 0.95, "weight of the alignment at the start, 1 - alpha that of the task: 0.05 "
              "hardly aligns, 0.95 hardly learns the labels at first"),
        Param("eta", 1e-4, 0.0, 1e6, "step of alpha an epoch, halved every 20: 0 keeps it where it starts, large ones "
              "throw it from end to end"),
        Param("start_epoch", 0, 0, 100_000, "first epoch with alignment; 0 is from the start, the run's epochs or more "
              "is joint training"),
    ),
    tasks=("classification", "segmentation"),
    lever="loss",
    paper="Yang et al., NeurIPS 2024",
    requires=("subset_forward", "training_data"),
    reports=("alignment_loss", "loss_weight"),
    neutral={"start_epoch": 100_000},
    cost="the fusion M times more, and two more backwards of one held-out batch an epoch",
    departs="released code: logits of a split linear head, a Hessian product averaged over the first weight alone, a "
    "divergence with its arguments swapped; ours: the prediction from one modality (any fusion), the average over all "
    "weights, the divergence as released",
    limits="without classes there are no distributions to compare",
)  # fmt: skip

_HELD_OUT = 64


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """A = (KL(m||p) + KL(m||q)) / 2 with m = (p + q) / 2, mean over samples or pixels; 0 where p = q.

    Args:
        first: logits of p, `[batch, classes, ...]`.
        second: of q, same shape.
    """
    p, q = first.float().log_softmax(1), second.float().log_softmax(1)
    m = torch.logaddexp(p, q) - math.log(2)
    return (m.exp() * (m - (p + q) / 2)).sum(1).mean()


def alignment(logits: Sequence[Tensor]) -> Tensor:
    """Mean of `divergence` over all pairs."""
    return torch.stack([divergence(a, b) for a, b in combinations(logits, 2)]).mean()


def blend(task: Tensor, aligned: Tensor, alpha: float) -> Tensor:
    """2 ((1 - alpha) task + alpha aligned): at alpha 1/2 the plain sum."""
    return 2 * ((1 - alpha) * task + alpha * aligned)


class Lfm(BalanceMethod):
    """Alpha moves once an epoch by -eta times the mean of H g, H the blend's Hessian, g the task loss's gradient.

    Reference: Yang et al., NeurIPS 2024 (facilitating multimodal classification), and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Alpha as the knob says."""
        self.context, self.alpha = context, float(self.knobs["alpha"])

    def on_loss(self, step: Step) -> None:
        """Turn the task's loss into the blend."""
        if step.epoch < int(self.knobs["start_epoch"]):
            return
        aligned = alignment([step.forward([m]) for m in step.modalities])
        step.add_loss("blend", blend(step.task_loss, aligned, self.alpha) - step.task_loss)
        step.report("alignment_loss", aligned)
        step.report("loss_weight", 2 * self.alpha)

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Move alpha."""
        since = epoch - int(self.knobs["start_epoch"])
        if since >= 0 and self.knobs["eta"]:
            moved = self.alpha - float(self.knobs["eta"]) * 0.5 ** (since // 20) * self._product()
            self.alpha = min(max(moved, 0.05), 0.95) if math.isfinite(moved) else self.alpha

    def _product(self) -> float:
        """Mean over all weights of H g on a held-out batch; model in evaluation mode, which draws nothing."""
        context, model = self.context, self.context.model
        split = context.data.splits["val"]
        batch = take(split, torch.arange(min(_HELD_OUT, len(split))), context.device)
        training = model.training
        model.eval()
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            features = model.encode(batch.inputs)
            task = context.task.loss(model.head(model.fuse(features)), batch.target)
            alone = [model.head(model.fuse(absent(features, [m]))) for m in model.modalities]
            weights = [p for p in model.parameters() if p.requires_grad]
            whole = blend(task, alignment(alone), self.alpha)
            along = torch.autograd.grad(task, weights, retain_graph=True, materialize_grads=True)
            slope = torch.autograd.grad(whole, weights, create_graph=True, materialize_grads=True)
            dot = torch.stack([(s * a).sum() for s, a in zip(slope, along, strict=True)]).sum()
            product = torch.autograd.grad(dot, weights, materialize_grads=True)
        model.train(training)
        return float(torch.cat([part.flatten() for part in product]).mean())

    def state_dict(self) -> dict[str, Any]:
        """Alpha."""
        return {"alpha": self.alpha}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.alpha = float(state["alpha"])
