"""M-SAM: the dominant modality's part of the loss is made flat, the others' is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.measures.gradients import gradients_of, l2_norm
from cggm_core.measures.shapley import shapley_weights, subsets
from cggm_core.protocols.method import Backward, BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="m_sam",
    title="M-SAM",
    summary="Sharpness-aware steps for the modality that Shapley values call dominant, plain ones for the rest.",
    params=(
        Param("radius", 0.05, 0.0, 10.0, "length of the perturbation of the weights: 0 is joint training, large ones "
              "leave the neighbourhood that matters"),
        Param("perturbed", "everything", text="which weights are perturbed: everything is the published form, in which "
              "only the size of the largest share counts; encoder perturbs the dominant encoder alone",
              choices=("everything", "encoder")),
        Param("memory", 0.0, 0.0, 0.999, "share of the old Shapley values kept each step: 0 takes the batch's own, "
              "0.999 averages over about a thousand steps"),
    ),
    modalities=(2, 6),
    lever="update",
    paper="Nowdeh et al., NeurIPS 2025",
    requires=("subset_forward", "second_pass", "encoder_gradients"),
    reports=("contribution_share", "sharpness"),
    neutral={"radius": 0.0},
    cost="forward and backward twice, and the fusion 2^M - 2 times more without gradient",
    departs="paper: contribution to the batch's accuracy, no code and no radius at hand; ours: mean agreement with the "
    "truth, which has no ties and exists for every task; absent features as zeros; negative values as 0",
    limits="exact Shapley values need 2^M predictions a step",
)  # fmt: skip


def shares(values: Tensor) -> Tensor:
    """nu_m: Shapley values with negative ones as 0, divided by their sum; 1/M where all are 0.

    Args:
        values: Shapley values `[m]`.
    """
    kept = values.clamp_min(0)
    total = kept.sum()
    return torch.where(total > 0, kept / torch.where(total > 0, total, 1.0), torch.full_like(kept, 1 / len(kept)))


def perturbation(gradients: list[Tensor], radius: float, norm: Tensor, part: Tensor) -> list[Tensor]:
    """Rho g / |g| times `part`; 0 for a zero gradient.

    Args:
        gradients: g.
        radius: length of the step (the paper writes rho), 0 or more.
        norm: |g| over everything that is perturbed.
        part: 1 to perturb these, 0 to leave them; a scalar on the device.
    """
    return list(torch._foreach_mul(gradients, part * radius / (norm + 1e-12)))


def mixed(gradients: list[Tensor], perturbed: list[Tensor], share: Tensor) -> list[Tensor]:
    """Nu g(theta + eps) + (1 - nu) g(theta), nu the dominant share."""
    return [share * there + (1 - share) * here for here, there in zip(gradients, perturbed, strict=True)]


class MSam(BalanceMethod):
    """g = nu_d grad L(theta + eps) + (1 - nu_d) grad L(theta), eps = radius grad L / |grad L|, d the largest share.

    The recorded raw gradient norm is that of this mixture: it is what backward yields.

    Reference: Nowdeh et al., NeurIPS 2025 (arXiv 2510.24919), as summarised by others; Foret et al., ICLR 2021.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Weights of the Shapley sum; no value seen yet."""
        count = len(context.model.modalities)
        self.subsets = subsets(count)
        self.weights = shapley_weights(count).to(context.measure_dtype).to(context.device)
        self.values = torch.zeros(count, dtype=context.measure_dtype, device=context.device)
        self.steps = 0

    def on_loss(self, step: Step) -> None:
        """Shapley values of the batch; the empty set is worth 0."""
        if not self.knobs["radius"]:
            return
        with torch.no_grad():
            worth = [torch.zeros_like(self.values[0])]
            for chosen in self.subsets[1:]:
                keep = [step.modalities[i] for i in chosen]
                logits = step.logits if len(keep) == len(step.modalities) else step.forward(keep, evaluating=True)
                worth.append(step.task.agreement(logits.float(), step.batch.target).mean().to(self.values.dtype))
            found = torch.stack(worth) @ self.weights
        old = float(self.knobs["memory"]) if self.steps else 0.0
        self.values, self.steps = old * self.values + (1 - old) * found, self.steps + 1
        self.shares = shares(self.values)
        step.report("contribution_share", dict(zip(step.modalities, self.shares, strict=True)))

    def backward(self, step: Step, run: Backward) -> None:
        """Gradients at the weights, then at the perturbed weights, then their mixture; the weights come back whole."""
        run(step.loss)
        if not self.knobs["radius"]:
            return
        learning: list[Tensor] = [p for p in step.model.parameters() if p.grad is not None]
        here = gradients_of(learning)
        kept = [p.detach().clone() for p in learning]
        with torch.no_grad():
            self._perturb(step)
        for parameter in learning:
            parameter.grad = None
        there = step.again()
        run(there)
        share = self.shares.max().float()
        with torch.no_grad():
            torch._foreach_copy_(learning, kept)
            for parameter, gradient in zip(learning, mixed(here, gradients_of(learning), share), strict=True):
                parameter.grad = gradient
        step.report("sharpness", there.detach() - step.task_loss.detach())

    def _perturb(self, step: Step) -> None:
        """Move the weights by eps."""
        radius, one = float(self.knobs["radius"]), torch.ones((), device=self.shares.device)
        groups: list[list[Tensor]] = [[p for p in step.model.parameters() if p.grad is not None]]
        parts = [one]
        if self.knobs["perturbed"] == "encoder":
            groups = [[p for p in step.parameters[m] if p.grad is not None] for m in step.modalities]
            largest = torch.arange(len(groups), device=one.device) == self.shares.argmax()
            parts = list(largest.float())
        norms = [part * l2_norm(gradients_of(group)) for part, group in zip(parts, groups, strict=True)]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        for part, group in zip(parts, groups, strict=True):
            for parameter, moved in zip(group, perturbation(gradients_of(group), radius, norm, part), strict=True):
                parameter.add_(moved)

    def state_dict(self) -> dict[str, Any]:
        """Shapley values of the last step."""
        return {"values": self.values, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.values, self.steps = state["values"].to(self.values), int(state["steps"])
