"""MLA: modalities take turns at one shared head, each in directions the others do not use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._unimodal_heads import UnimodalHeads, through
from cggm_core.protocols.method import Backward, BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="mla",
    title="MLA",
    summary="Every encoder learns alone; one head serves all of them in turns, its gradients made orthogonal.",
    params=(
        Param("start_epoch", 0, 0, 100_000, "first epoch of alternating training; 0 is from the start, the run's "
              "epochs or more is joint training"),
    ),
    tasks=("classification", "segmentation"),
    lever="update",
    paper="Zhang et al., CVPR 2024",
    requires=("own_modules", "own_prediction"),
    reports=("head_loss", "fusion_weight"),
    neutral={"start_epoch": 100_000},
    cost="a reader a modality in place of the fusion, M small steps of the head",
    departs="paper: each encoder steps in its turn; ours: all encoders with the first turn, so that their gradients "
    "are one step's; the projector's denominator is the scalar of recursive least squares (released code: a matrix, by "
    "element); turns in alphabetical order",
    limits="without classes there is no entropy to weigh predictions by",
)  # fmt: skip


def gates(logits: Tensor) -> Tensor:
    """w_m = softmax over modalities of -H(p_m): the surer, the heavier.

    Args:
        logits: `[m, batch, classes, ...]`.

    Returns:
        `[m, batch, 1, ...]`, sums to 1 over m.
    """
    log_p = logits.log_softmax(2)
    return (log_p.exp() * log_p).sum(2, keepdim=True).softmax(0)


def projector(projection: Tensor, feature: Tensor, keep: float) -> Tensor:
    """P - k k^T / (keep + k r) with k = P r, divided by its Frobenius norm: directions that r uses are taken out.

    Args:
        projection: P, `[width, width]`.
        feature: r, mean of the head's input, `[width]`.
        keep: above 0; the smaller, the more of r's direction is taken out.
    """
    k = projection @ feature
    made = projection - torch.outer(k, k) / (keep + k @ feature)
    normed: Tensor = made / torch.linalg.matrix_norm(made)
    return normed


class Mla(BalanceMethod):
    """Multimodal learning with alternating unimodal adaptation; prediction sum_m w_m z_m by `gates`.

    The recorded task loss is that of this prediction; it trains nothing.

    Reference: Zhang et al., CVPR 2024 (arXiv 2311.10707), and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Readers that end in the model's own last layer; a projector that lets everything through."""
        self.heads, self.active = UnimodalHeads(context, shared=True), False
        self.steps = context.steps_per_epoch
        self.projection = torch.eye(context.model.head.weight.shape[1], device=context.device)

    def on_epoch_start(self, epoch: int) -> None:
        """Whether modalities take turns in this epoch."""
        self.active = epoch >= int(self.knobs["start_epoch"])

    def on_logits(self, step: Step) -> None:
        """The gated prediction, cut off from the graph."""
        if self.active:
            self.represented = self.heads.represent(step.encoded)
            self.logits = through(step.model, self.represented)
            stacked = torch.stack(list(self.logits.values())).detach()
            self.weights = gates(stacked)
            step.set_logits((self.weights * stacked).sum(0), elsewhere=True)

    def on_loss(self, step: Step) -> None:
        """Every modality's loss, for its encoder."""
        if self.active:
            losses = {m: step.task.loss(z, step.batch.target) for m, z in self.logits.items()}
            step.add_loss("unimodal", torch.stack(list(losses.values())).sum())
            step.report("head_loss", losses)
            step.report("fusion_weight", dict(zip(self.logits, self.weights.flatten(1).mean(1), strict=True)))

    def backward(self, step: Step, run: Backward) -> None:
        """Gradients of all encoders, and of the head for the modality whose turn is first."""
        run(step.loss)
        if self.active:
            self.run = run
            self._turn(step, sorted(step.modalities)[0])

    def update(self, step: Step, run: Callable[[], None]) -> None:
        """The first turn, then one step of the head for each other modality."""
        run()
        if self.active:
            for modality in sorted(step.modalities)[1:]:
                step.model.zero_grad(set_to_none=True)
                self.heads.zero_grad(set_to_none=True)
                self._turn(step, modality)
                run()

    def _turn(self, step: Step, modality: str) -> None:
        """The head's gradient of one modality's loss, projected; the features stand still."""
        head = step.model.head
        head.zero_grad(set_to_none=True)
        feature = self.represented[modality].detach()
        self.run(step.task.loss(through(step.model, {modality: feature})[modality], step.batch.target))
        if step.index > 0:
            keep = 0.1 ** (1 + step.index % self.steps / self.steps)
            mean = feature.movedim(1, -1).flatten(0, -2).mean(0)
            self.projection = projector(self.projection, mean, keep)
        if head.weight.grad is not None:
            flat = head.weight.grad.flatten(1) @ self.projection.T
            head.weight.grad = flat.reshape(head.weight.shape)

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """The gated prediction."""
        if not self.active:
            return super().predict(model, features)
        stacked = torch.stack(list(through(model, self.heads.represent(features)).values()))
        return (gates(stacked) * stacked).sum(0)

    def modules(self) -> Mapping[str, nn.Module]:
        """The readers."""
        return {"heads": self.heads}

    def state_dict(self) -> dict[str, Any]:
        """The projector."""
        return {"projection": self.projection, "active": self.active}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.projection, self.active = state["projection"].to(self.projection), bool(state["active"])
