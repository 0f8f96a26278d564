"""AGM: each modality's fair share of the prediction, and a gradient through it that answers to its own past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.measures.shapley import shapley_weights, subsets
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="agm",
    title="AGM",
    summary="Splits the prediction into Shapley shares of the modalities and slows the gradient through a share that "
    "is stronger than it used to be.",
    params=(
        Param("alpha", 1.0, 0.0, 10.0, "strength: 0 is joint training, 1 to 2.5 are the published settings, far above "
              "coefficients fall to 0 or shoot up to the cap", live=True),
        Param("cap", 10.0, 0.1, 10.0, "largest rise of the exponent; 0.1 never quickens a modality much, 10 lets a "
              "coefficient grow to exp(10 alpha)"),
        Param("start", 0, 0, 100_000, "first epoch in which it acts, from 0; its running means start at once; the "
              "run's epochs or more is joint training"),
        Param("end", 19, 0, 100_000, "last epoch in which it acts; 0 is the first epoch only, the run's epochs or "
              "more never lets go"),
    ),
    lever="gradient",
    paper="Li et al., ICCV 2023",
    modalities=(2, 6),
    requires=("subset_forward",),
    reports=("strength_ratio", "contribution_coefficient"),
    neutral={"alpha": 0.0},
    cost="the fusion once for every subset of the modalities (2^M), forward and backward; encoders once",
    departs="absent modalities are zero features, not zero inputs; the prediction is the plain one, only its gradient "
    "is put together from the shares; no clipping of its own; regression and segmentation by their loss",
    limits="2^M predictions a step are too many beyond six modalities",
)  # fmt: skip


class Agm(BalanceMethod):
    """phi_m = Shapley share of the logits, f(nothing) = 0; s_m = loss of phi_m; r_m = exp(M/(M-1) (mean s - s_m)).

    c_m = exp(alpha min(tau_m - r_m, cap)) multiplies the gradient through phi_m, with tau_m the same exponential
    of the running means of s. As the loss is taken on sum phi_m = f(all), that is a gradient through every f(S)
    with weight w_S = sum_m A[S, m] c_m, A the Shapley weights.

    Reference: Li et al., ICCV 2023; methods reference 2.
    """

    def setup(self, context: MethodContext) -> None:
        """No past yet: running means are 0, so that tau is 1 in the first step."""
        count = len(context.model.modalities)
        self._subsets = subsets(count)[1:]
        self._weights = shapley_weights(count)[1:].to(context.device, torch.float32)
        self._running = torch.zeros(count, device=context.device)
        self._steps = 0

    def on_logits(self, step: Step) -> None:
        """Shares, coefficients, and a prediction of the same value whose gradient flows by them."""
        if self.knobs["alpha"] == 0:
            return
        acting = int(self.knobs["start"]) <= step.epoch <= int(self.knobs["end"])
        with torch.set_grad_enabled(acting):
            chosen = ([step.modalities[i] for i in members] for members in self._subsets[:-1])
            predictions = torch.stack([*(step.forward(c, evaluating=True) for c in chosen), step.logits]).float()
        factors = self._factors(step, predictions.detach())
        if acting:
            routed = combined((self._weights * factors).sum(1), predictions)
            step.set_logits(step.logits.detach() + (routed - routed.detach()).to(step.logits.dtype))
            step.report("contribution_coefficient", dict(zip(step.modalities, factors, strict=True)))

    def _factors(self, step: Step, predictions: Tensor) -> Tensor:
        """Coefficients of this batch; the running means take it in, also outside the epochs in which they act."""
        shares = (combined(column, predictions) for column in self._weights.T)
        losses = torch.stack([step.task.loss(share, step.batch.target) for share in shares])
        now, usual = strength(losses), strength(self._running)
        self._steps += 1
        self._running = self._running + (losses - self._running) / self._steps
        step.report("strength_ratio", dict(zip(step.modalities, now, strict=True)))
        return coefficients(now, usual, float(self.knobs["alpha"]), float(self.knobs["cap"]))

    def state_dict(self) -> dict[str, Any]:
        """Running means and how many steps they hold."""
        return {"running": self._running, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._running, self._steps = state["running"], int(state["steps"])


def combined(weights: Tensor, predictions: Tensor) -> Tensor:
    """sum_S weights_S predictions_S; by plain products, which keep float32 where matrix products would not.

    Args:
        weights: `[sets]`.
        predictions: `[sets, batch, ...]`.
    """
    return (weights.reshape(-1, *(1,) * (predictions.ndim - 1)) * predictions).sum(0)


def strength(losses: Tensor) -> Tensor:
    """r_m = exp(M/(M-1) (mean s - s_m)): above 1 where modality m's loss is below the mean.

    Args:
        losses: `[m]`, lower is better.
    """
    count = len(losses)
    return ((losses.mean() - losses) * (count / (count - 1))).exp()


def coefficients(now: Tensor, usual: Tensor, alpha: float, cap: float) -> Tensor:
    """c_m = exp(alpha min(tau_m - r_m, cap)): below 1 for a modality stronger than it used to be.

    Args:
        now: r of this batch, `[m]`.
        usual: tau of the running means before this batch, `[m]`.
        alpha: strength, 0 or more; 0 gives 1.
        cap: largest exponent before alpha.
    """
    return (alpha * (usual - now).clamp_max(cap)).exp()
