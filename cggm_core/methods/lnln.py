"""LNLN: trained with parts of the inputs missing; what the dominant modality lacks is supplied from the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cggm_core.cards import MethodCard, Param
from cggm_core.errors import ConfigError
from cggm_core.measures.missing import parts_of, without
from cggm_core.methods._dominant_correction import Correction, corrected, reversed_gradient
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel, pooled
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="lnln",
    title="LNLN",
    summary="Trains under missing data; the dominant modality's features are filled up by a proxy from the others.",
    params=(
        Param("missing", 0.5, 0.0, 1.0, "share of samples that lack something in training, a modality each on its own: "
              "0 all whole, 1 all thinned at a random rate", live=True),
        Param("correction", True, text="correct the dominant modality; without it only the missing data are left, and "
              "with missing 0 joint training"),
        Param("dominant", "", text="name of the dominant modality; empty takes the one whose classifier scores best at "
              "the first validation, and corrects from then on"),
        Param("completeness", 0.9, 0.0, 100.0, "weight of the loss of the estimated completeness: 0 teaches "
              "nothing, far above 1 the task waits for it"),
        Param("adversary", 0.8, 0.0, 100.0, "weight of the loss that makes corrected features look whole: 0 is "
              "none, far above 1 they look whole and say little"),
        Param("reconstruction", 0.1, 0.0, 100.0, "weight of the loss of reconstructing complete features: 0 is "
              "none, far above 1 the task waits for it"),
    ),
    tasks=("classification", "regression"),
    lever="features",
    paper="Zhang et al., NeurIPS 2024",
    requires=("unimodal_scores", "inputs", "own_modules", "own_prediction", "training_data", "missing_rates"),
    reports=("missing_share", "completeness_error"),
    neutral={"missing": 0.0, "correction": False},
    cost="the classifiers, whose scores name the dominant modality; the encoders once more without gradient, small "
    "networks on pooled features; a validation ten times over",
    departs="paper: an architecture of its own with language dominant, time steps, its gradient reversal before the "
    "mixing; ours: correction and missing data around any fusion, pooled features, any dominant modality, the "
    "reversal before the discriminator alone",
    limits="a mask has no pooled features to correct",
)  # fmt: skip


class Lnln(BalanceMethod):
    """Language-dominated noise-resistant learning, as far as a general model allows.

    Not taken over: the paper's hyper-modality transformer and its token encoders, which are a model of their own.

    Reference: Zhang et al., NeurIPS 2024 (arXiv 2409.20012), section 3 and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Networks of the correction, shaped by the features of one sample.

        Raises:
            ConfigError: for a dominant modality that is not there.
        """
        self.names, self.dominant = sorted(context.model.modalities), str(self.knobs["dominant"])
        if self.dominant and self.dominant not in self.names:
            raise ConfigError(
                f"dominant is {self.dominant!r:.80}, but the modalities are {', '.join(self.names)}; take one, or "
                "leave it empty"
            )
        self.parts = {m: parts_of(spec.shape) for m, spec in context.data.modalities.items()}
        self.corrections = Correction.built(context, self.names) if self.knobs["correction"] else None

    def on_inputs(self, step: Step) -> None:
        """Thin the inputs; a modality's rate is uniform in [0, 1] for the samples that lack something."""
        share, whole = float(self.knobs["missing"]), step.batch.inputs
        self.complete = whole
        device, size = step.batch.target.device, len(step.batch)
        self.rates = {m: torch.zeros(size, device=device) for m in self.names}
        if share:
            thinned = {}
            for m in self.names:
                lacking = torch.rand(size, device=device) < share
                self.rates[m] = torch.rand(size, device=device) * lacking
                drawn = torch.rand((size, *self.parts[m]), device=device)
                thinned[m] = without(whole[m], self.rates[m], drawn)
            step.set_inputs({m: thinned[m] for m in whole})
        step.report("missing_share", {m: rate.mean() for m, rate in self.rates.items()})

    def on_features(self, step: Step) -> None:
        """Correct the dominant modality's features."""
        self.found = None
        if part := self._part():
            self.found = corrected(part, step.features, self.dominant, self.names)
            step.set_features({**step.features, self.dominant: self.found.features})

    def on_loss(self, step: Step) -> None:
        """Completeness, adversary and reconstruction."""
        part, found, knobs = self._part(), self.found, self.knobs
        if part is None or found is None:
            return
        with torch.no_grad():
            complete = {m: pooled(f.float()) for m, f in step.model.encode(self.complete).items()}
        truth = 1 - self.rates[self.dominant]
        mixed = reversed_gradient(pooled(found.features.float()))
        judged = part.judge(torch.cat([mixed, complete[self.dominant]]))
        sides = torch.arange(2, device=judged.device).repeat_interleave(len(truth))
        rebuilt = [F.mse_loss(part.rebuild(m, pooled(step.encoded[m].float())), complete[m]) for m in self.names]
        step.add_loss("completeness", float(knobs["completeness"]) * F.mse_loss(found.completeness, truth))
        step.add_loss("adversary", float(knobs["adversary"]) * F.cross_entropy(judged, 1 - sides))
        step.add_loss("reconstruction", float(knobs["reconstruction"]) * torch.stack(rebuilt).mean())
        step.report("completeness_error", (found.completeness - truth).abs().mean())

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Settle which modality dominates, at the first validation."""
        keys = {m: f"val_unimodal_score[{m}]" for m in self.names}
        if not self.dominant and all(key in report for key in keys.values()):
            self.dominant = max(self.names, key=lambda m: report[keys[m]])

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """The model's prediction from corrected features."""
        if (part := self._part()) is None:
            return super().predict(model, features)
        found = corrected(part, features, self.dominant, self.names)
        return super().predict(model, {**features, self.dominant: found.features})

    def _part(self) -> Correction | None:
        """The correction of the dominant modality, once there is one."""
        return self.corrections[self.dominant] if self.corrections and self.dominant else None

    def modules(self) -> Mapping[str, nn.Module]:
        """A correction for each modality; only the dominant one's learns."""
        return {f"correction of {m}": part for m, part in (self.corrections or {}).items()}

    def state_dict(self) -> dict[str, Any]:
        """The dominant modality."""
        return {"dominant": self.dominant}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.dominant = str(state["dominant"])
