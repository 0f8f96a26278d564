"""CGGM: classifiers guide the magnitude and the direction of each modality's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cggm_core.cards import MethodCard, Param, Preset
from cggm_core.measures.coefficients import (
    share_of_others,
    share_of_others_released,
    share_of_others_stable,
)
from cggm_core.measures.directions import direction_loss
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="cggm",
    title="CGGM",
    summary="Scales each encoder's gradient by how little its classifier gained, and turns the fused gradient "
    "towards the classifiers' gradients.",
    params=(
        Param("variant", "paper", text="which reading of the method is computed",
              choices=("paper", "released", "stable")),
        Param("rho", 1.3, 0.0, 100.0, "scale of the coefficient: towards 0 encoders stand still, above 1 they speed "
              "up; with M modalities the mean coefficient is rho (M-1)/M (stable: rho)", live=True, low_open=True),
        Param("lam", 0.15, 0.0, 100.0, "weight of the direction loss: 0 is none; far above 1 the task is forgotten",
              live=True),
        Param("magnitude", True, text="scale the encoders' gradients by B", live=True),
        Param("direction", True, text="add lam times the direction loss", live=True),
        Param("epsilon", "score", text="what a gain is the change of: the task's score, which moves in steps of one "
              "sample, or its continuous form (probability of the right class, exp(-|error|/spread), soft Dice)",
              choices=("score", "soft")),
        Param("scales", "gradient", text="what B multiplies: an encoder's gradient, of which Adam cancels all that is "
              "constant, or the change the optimiser makes to its weights, which nothing cancels",
              choices=("gradient", "update")),
        Param("span", 20, 2, 100_000, "stable only: steps over which scores are smoothed; 2 is as noisy as a batch, "
              "thousands react late"),
    ),
    presets=(
        Preset("paper", "Eq. 6-13, nothing smoothed; an undefined coefficient keeps its last value",
               {"variant": "paper", "rho": 1.3, "lam": 0.15}),
        Preset("released", "what the authors' code computes, for comparison",
               {"variant": "released", "rho": 1.3, "lam": 0.15}),
        Preset("stable", "ours: gains since the start, smoothed and continuous; B from 0 to rho M/(M-1) with mean rho, "
               "on the update; no direction loss. Seen (benchmarks/README.md): better than joint on one synthetic set "
               "of two (10 seeds), level with it on the other and on digits_views and cmu_mosi (5 seeds)",
               {"variant": "stable", "rho": 1.0, "lam": 0.15, "direction": False, "epsilon": "soft",
                "scales": "update", "span": 20}),
    ),
    lever="gradient",
    paper="Guo et al., NeurIPS 2024",
    requires=("unimodal_scores", "head_gradients", "encoder_gradients"),
    reports=("score_gain", "soft_score", "direction_loss", "direction_weight", "coefficient_undefined",
             "weight_cosine"),
    neutral={"magnitude": False, "direction": False},
    cost="classifiers on each modality's features, forward and backward",
    departs="paper: L_gm of the same step (Eq. 13, not Algorithm 1), last layer's weight only; released: cosine of "
    "weights, L_gm of the step before, no rho inside it, 1e-8 in the denominator, projections unscaled; its score of "
    "regression is the share of right signs (training setting score=binary)",
)  # fmt: skip


class Cggm(BalanceMethod):
    """Classifier-guided gradient modulation.

    Per step: gain_m = change of classifier m's score since the step before (first step: since 0);
    B_m = rho (sum gain - gain_m) / sum gain scales the gradients of modality m's own parameters;
    lam L_gm with L_gm = 1/M sum |B_m| - B_m cos(G_F, G_m) is added to the loss of the same step.

    Variant stable: gain_m = moving average of the score minus the score at the first step;
    B_m = rho M/(M-1) (1 - p_m / sum p), p_m = max(gain_m, 0) + noise; the direction loss, where it is on, is
    multiplied by the size of the task loss, so that it fades with what it competes against (a cosine does not
    shrink with the gradients it compares).

    Reference: Guo et al., NeurIPS 2024, Eq. 6-13, Algorithm 1.

    Departs from the paper: see the card; the variants are described in `measures.coefficients`.
    """

    def setup(self, context: MethodContext) -> None:
        """State before the first step: scores 0 (Eq. 6), B of 1 until it is first defined."""
        zero = torch.zeros(len(context.model.modalities), device=context.device, dtype=context.measure_dtype)
        self.state = {
            "scores": zero, "coefficients": torch.ones_like(zero), "start": zero, "average": zero, "noise": zero.sum(),
        }  # fmt: skip
        self.steps = 0
        self.stale: dict[str, Tensor] = {}

    def on_loss(self, step: Step) -> None:
        """Coefficients from the classifiers' scores, and the direction loss."""
        variant, rho = self.knobs["variant"], float(self.knobs["rho"])
        scores = self._scores(step)
        gain, shares, undefined = self._shares(scores, str(variant))
        # The factor is applied in the gradients' own format; what is recorded and weighs L_gm is that very number.
        self.coefficients = (rho * shares).float().to(shares.dtype)
        self.state["coefficients"] = self.coefficients
        weights = shares if variant == "released" else self.coefficients
        if self.knobs["direction"] and variant != "released":
            size = step.task_loss.detach() if variant == "stable" else 1.0
            step.add_loss("direction", float(self.knobs["lam"]) * size * self._direction(step, weights))
        elif self.knobs["direction"]:
            self._add_stale_direction(step)
        with torch.no_grad():
            if variant == "released":
                cosine = self._weight_cosines(step)
                step.report("weight_cosine", dict(zip(step.modalities, cosine, strict=True)))
                self._keep_direction(step, weights)
            else:
                cosine = step.direction_cosines().detach()
            step.report("direction_loss", direction_loss(weights, cosine))
        step.report("score_gain", dict(zip(step.modalities, gain, strict=True)))
        step.report("direction_weight", dict(zip(step.modalities, weights, strict=True)))
        step.report("coefficient_undefined", undefined.to(shares.dtype))

    def on_gradients(self, step: Step) -> None:
        """Eq. 8: what every parameter that feeds modality m alone learns is scaled by B_m."""
        if not self.knobs["magnitude"]:
            return
        coefficients = dict(zip(step.modalities, self.coefficients, strict=True))
        if self.knobs["scales"] == "update":
            step.scale_updates(coefficients)
        else:
            step.scale_gradients(coefficients, projections=self.knobs["variant"] != "released")

    def _scores(self, step: Step) -> Tensor:
        """Epsilon of Eq. 6, `[modalities]`."""
        if self.knobs["epsilon"] == "score":
            return torch.stack([step.unimodal_scores[m] for m in step.modalities])
        target, logits = step.batch.target, step.unimodal_logits
        soft = {m: step.task.soft_score(logits[m], target) for m in step.modalities}
        step.report("soft_score", soft)
        return torch.stack(list(soft.values()))

    def _shares(self, scores: Tensor, variant: str) -> tuple[Tensor, Tensor, Tensor]:
        """Gains, shares without rho, and whether they are undefined; moves the state on by one step."""
        state = self.state
        if variant == "stable":
            gain, noise = self._learnt(scores)
            return (
                gain,
                share_of_others_stable(gain, noise),
                torch.zeros((), device=scores.device, dtype=torch.bool),
            )
        gain = scores - state["scores"]
        if variant == "released":
            shares = share_of_others_released(gain)
            undefined = torch.zeros((), device=scores.device, dtype=torch.bool)
        else:
            # B is what keeps its value, also where rho was changed meanwhile; rounded to float32 it is the same number.
            previous = state["coefficients"] / float(self.knobs["rho"])
            shares, undefined = share_of_others(gain, previous, scores, state["scores"])
        state["scores"] = scores
        return gain, shares, undefined

    def _learnt(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Gain of each score's moving average over its first value, and the spread that chance alone gives it.

        Untrained classifiers on untrained features score alike, so the first score is the level of chance. The
        average over `span` steps of independent batches has a variance of 1/span of a batch's.
        """
        state, span = self.state, int(self.knobs["span"])
        if self.steps == 0:
            state["start"], state["average"] = scores, scores
        surprise = (scores - state["average"]).square().mean()
        state["noise"] = state["noise"] + (surprise - state["noise"]) / min(self.steps + 1, span)
        state["average"] = state["average"] + 2 / (span + 1) * (scores - state["average"])
        self.steps += 1
        tiny = torch.finfo(scores.dtype).tiny ** 0.5
        return state["average"] - state["start"], (state["noise"] / span).sqrt() + tiny

    @staticmethod
    def _direction(step: Step, weights: Tensor) -> Tensor:
        """L_gm, differentiable by the fused side (Eq. 12)."""
        return direction_loss(weights, step.direction_cosines())

    @staticmethod
    def _weight_cosines(step: Step) -> Tensor:
        """Cosine of the fusion head's weight with each classifier head's (the released code's comparison)."""
        own = step.model.head.weight.flatten()
        heads = torch.stack([step.classifier_heads[m].weight.flatten() for m in step.modalities])
        return F.cosine_similarity(own[None], heads, dim=1)

    def _keep_direction(self, step: Step, weights: Tensor) -> None:
        """Keep L_gm of this step and its derivative by the head's weight, for the next step's loss."""
        with torch.enable_grad():
            value = direction_loss(weights, self._weight_cosines(step))
            (gradient,) = torch.autograd.grad(value, step.model.head.weight)
        self.stale = {"value": value.detach(), "gradient": gradient}

    def _add_stale_direction(self, step: Step) -> None:
        """Add lam times the last step's L_gm: its value, and its derivative at the weights of then."""
        if self.stale:
            weight = step.model.head.weight
            moved = ((weight - weight.detach()) * self.stale["gradient"]).sum()
            step.add_loss("direction", float(self.knobs["lam"]) * (self.stale["value"] + moved))

    def state_dict(self) -> dict[str, Any]:
        """Scores, coefficients and averages of the last step."""
        return {"state": dict(self.state), "steps": self.steps, "stale": dict(self.stale)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.state, self.steps, self.stale = dict(state["state"]), int(state["steps"]), dict(state["stale"])
