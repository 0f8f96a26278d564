"""One optimiser step, filled phase by phase, and what a method may do in each.

Phases: inputs -> features -> logits -> loss -> gradients -> updated. Reading a field before its phase raises
an error that names the field and the hook to use instead. Every number a method reads here is a tensor on the
training device: nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.errors import CapabilityError, PhaseError
from cggm_core.measures.directions import cosines, head_gradient
from cggm_core.measures.gradients import gradients_of, scale_, scale_change_
from cggm_core.names import MetricKey
from cggm_core.protocols.data import Batch
from cggm_core.protocols.model import MultimodalModel, absent
from cggm_core.protocols.task import Task

CAPABILITIES = {
    "unimodal_scores": "classifiers on each modality's features, scored on the training batch and in validation",
    "head_gradients": "last-layer gradients of fusion head and classifiers",
    "encoder_gradients": "gradients of each modality's own parameters, and the right to change them",
    "subset_forward": "the fused prediction with some modalities absent, with or without gradient",
    "learning_rates": "a learning rate of its own for each modality's parameters",
    "own_modules": "learnable parts of the method's own, trained with the model",
    "own_prediction": "a prediction in evaluation that is not the model's own",
    "second_pass": "another forward of the same batch at other weights, with the same dropout",
    "pretraining": "parts of the method's own trained before the first step",
    "inputs": "what the encoders are given, and the right to change it",
    "missing_rates": "validation and test once more with parts of every input missing, at ten rates",
    "training_data": "the training split itself, between two epochs",
    "trials": "short trainings of a copy of the model beside the run",
}


class Phase(IntEnum):
    """How far a step has come."""

    INPUTS = 0
    FEATURES = 1
    LOGITS = 2
    LOSS = 3
    GRADIENTS = 4
    UPDATED = 5


_HOOK = {
    Phase.FEATURES: "on_features", Phase.LOGITS: "on_logits", Phase.LOSS: "on_loss",
    Phase.GRADIENTS: "on_gradients", Phase.UPDATED: "on_step_end",
}  # fmt: skip


class Step:
    """State of one step; made by the trainer, read and changed by the method in its hooks.

    Attributes:
        index: optimiser step, from 0, never reset.
        epoch: pass over the data, from 0.
        batch: inputs, target and ids.
        modalities: names in model order.
        scaled: coefficient applied by `scale_gradients` or `scale_updates`, by modality; empty while none was.
        changed: whether the method has had its hands on encoder gradients.
        readings: what the method reported, for the recorder.

    Args:
        granted: capabilities that may be read; tests narrow it to what a method's card declares.
    """

    def __init__(
        self, index: int, epoch: int, batch: Batch, model: MultimodalModel, task: Task,
        parameters: Mapping[str, list[nn.Parameter]], granted: frozenset[str] = frozenset(CAPABILITIES),
    ) -> None:  # fmt: skip
        self.index, self.epoch, self.batch = index, epoch, batch
        self.model, self.task = model, task
        self.modalities = model.modalities
        self.parameters = parameters
        self.phase = Phase.INPUTS
        self.loss_terms: dict[str, Tensor] = {}
        self.scaled: dict[str, Tensor] = {}
        self.changed = False
        self.readings: dict[MetricKey, Tensor | float] = {}
        self._granted = granted
        self._before: dict[str, list[Tensor]] = {}
        self._held: dict[str, Any] = {}
        self._elsewhere = False

    def _fill(self, phase: Phase, **fields: Any) -> None:
        """For the trainer: store what a phase yields and move on."""
        self._held.update(fields)
        self.phase = max(self.phase, phase)

    def _get(self, name: str, phase: Phase) -> Any:
        if self.phase < phase or name not in self._held:
            raise PhaseError(f"step.{name} is not there before {phase.name.lower()}; read it in {_HOOK[phase]}")
        return self._held[name]

    def _need(self, capability: str) -> None:
        if capability not in self._granted:
            raise CapabilityError(f"the method reads {capability!r} without declaring it in its card's requires")

    @property
    def features(self) -> dict[str, Tensor]:
        """What is fused, by modality: the encoders' outputs, or what `set_features` put in their place."""
        held: dict[str, Tensor] = self._get("features", Phase.FEATURES)
        return held

    @property
    def encoded(self) -> dict[str, Tensor]:
        """Encoder outputs by modality, whatever `set_features` did; the unimodal classifiers read these."""
        held: dict[str, Tensor] = self._get("encoded", Phase.FEATURES)
        return held

    @property
    def fused(self) -> Tensor:
        """Input of the fusion head."""
        held: Tensor = self._get("fused", Phase.LOGITS)
        return held

    @property
    def logits(self) -> Tensor:
        """Fused prediction."""
        held: Tensor = self._get("logits", Phase.LOGITS)
        return held

    @property
    def task_loss(self) -> Tensor:
        """The task's loss on the fused prediction, scalar, with its graph until backward."""
        held: Tensor = self._get("task_loss", Phase.LOSS)
        return held

    @property
    def loss(self) -> Tensor:
        """Task loss plus every added term."""
        return torch.stack([self.task_loss, *self.loss_terms.values()]).sum() if self.loss_terms else self.task_loss

    @property
    def unimodal_scores(self) -> dict[str, Tensor]:
        """Score of each classifier on this batch, scalars in the measuring dtype; higher is better."""
        self._need("unimodal_scores")
        held: dict[str, Tensor] = self._get("unimodal_scores", Phase.LOSS)
        return held

    @property
    def unimodal_losses(self) -> dict[str, Tensor]:
        """Loss of each classifier on this batch, detached scalars; lower is better."""
        self._need("unimodal_scores")
        held: dict[str, Tensor] = self._get("unimodal_losses", Phase.LOSS)
        return held

    @property
    def unimodal_logits(self) -> dict[str, Tensor]:
        """Prediction of each classifier, detached."""
        self._need("unimodal_scores")
        held: dict[str, Tensor] = self._get("unimodal_logits", Phase.LOSS)
        return held

    @property
    def classifier_heads(self) -> dict[str, nn.Linear | nn.Conv2d]:
        """Last layer of each classifier."""
        self._need("head_gradients")
        held: dict[str, nn.Linear | nn.Conv2d] = self._get("classifier_heads", Phase.LOSS)
        return held

    @property
    def classifier_head_gradients(self) -> dict[str, Tensor]:
        """Gradient of each classifier's loss by its last weight, detached, shape of the weight."""
        self._need("head_gradients")
        held: dict[str, Tensor] = self._get("classifier_head_gradients", Phase.LOSS)
        return held

    def forward(self, keep: Iterable[str], *, evaluating: bool = False) -> Tensor:
        """Fused prediction with only some modalities there; the others are absent (`protocols.model.absent`).

        From the features of this step, so encoders are not run again. Differentiable where gradients are enabled:
        `forward([m])` is the per-modality prediction that ratio methods need, for any fusion. With a linear head
        on joined features it is the head's block of that modality plus the whole bias.

        Args:
            keep: modalities that stay; all of them give `logits` before any replacement, bit for bit without dropout.
            evaluating: run the fusion in evaluation mode (no dropout), as AGM's masked passes do.

        Raises:
            CapabilityError: for a modality the model has not.
        """
        self._need("subset_forward")
        kept = tuple(keep)
        if unknown := set(kept) - set(self.modalities):
            raise CapabilityError(
                f"there is no modality {sorted(unknown)[0]!r}; there are: {', '.join(self.modalities)}"
            )
        features = absent(self.features, kept)
        switch = evaluating and self.model.training
        if switch:
            self.model.eval()
        try:
            with self._get("autocast", Phase.FEATURES)():
                logits: Tensor = self.model.head(self.model.fuse(features))
        finally:
            if switch:
                self.model.train()
        return logits

    def again(self) -> Tensor:
        """Task loss of a new forward of this batch at the weights as they are now, with its graph.

        Dropout falls as it did in the step's own forward, and the random state is put back. What the method did in
        `on_features` and `on_logits` is not repeated.
        """
        self._need("second_pass")
        loss: Tensor = self._get("again", Phase.LOSS)()
        return loss

    def head_gradient(self) -> Tensor:
        """Gradient of the task loss by the fusion head's last weight (G_F of Eq. 10), computed once a step.

        Differentiable where gradients are enabled when it is first asked for.
        """
        self._need("head_gradients")
        if "head_gradient" not in self._held:
            if self._elsewhere:
                self._held["head_gradient"] = self._gradient_found()
            else:
                closed = self.task.logit_gradient(self.logits, self.batch.target)
                self._held["head_gradient"] = head_gradient(self.model.head, self.fused, closed, self.task_loss)
        held: Tensor = self._held["head_gradient"]
        return held

    def _gradient_found(self) -> Tensor:
        """Where the prediction is not the head's of `fused`: what reaches its weight, 0 if nothing does."""
        weight, found = self.model.head.weight, None
        if self.task_loss.requires_grad:
            differentiable = torch.is_grad_enabled()
            (found,) = torch.autograd.grad(
                self.task_loss, weight, retain_graph=True, create_graph=differentiable, allow_unused=True
            )
        return torch.zeros_like(weight) if found is None else found

    def direction_cosines(self) -> Tensor:
        """Cosine of the fused with each classifier's last-layer gradient (Eq. 12), `[modalities]`, once a step.

        Differentiable by the fused side where gradients are enabled when it is first asked for.
        """
        if "direction_cosines" not in self._held:
            self._held["direction_cosines"] = cosines(self.head_gradient().flatten(), self.classifier_directions())
        held: Tensor = self._held["direction_cosines"]
        return held

    def classifier_directions(self) -> Tensor:
        """The classifiers' last-layer gradients, flattened and stacked: `[modalities, weights]`, detached."""
        if "classifier_directions" not in self._held:
            gradients = self.classifier_head_gradients
            stacked = torch.stack([gradients[m].flatten().float() for m in self.modalities])
            self._held["classifier_directions"] = stacked
        held: Tensor = self._held["classifier_directions"]
        return held

    def set_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the batch's inputs before they are encoded (missing parts, say); shapes stay."""
        self._need("inputs")
        if self.phase != Phase.INPUTS:
            raise PhaseError("inputs can be replaced in on_inputs only")
        self.batch = replace(self.batch, inputs=dict(inputs))

    def set_features(self, features: Mapping[str, Tensor]) -> None:
        """Replace features before fusion (dropout of a modality, say)."""
        if self.phase != Phase.FEATURES:
            raise PhaseError("features can be replaced in on_features only")
        self._held["features"] = dict(features)

    def set_logits(self, logits: Tensor, *, elsewhere: bool = False) -> None:
        """Replace the fused prediction before the loss (reweighted fusion, say).

        Args:
            logits: of the same shape.
            elsewhere: whether they are no longer the model's head on `fused`; the head's gradient is then what
                backward would bring it, and not that of the closed form.
        """
        if self.phase != Phase.LOGITS:
            raise PhaseError("logits can be replaced in on_logits only")
        self._held["logits"], self._elsewhere = logits, elsewhere

    def add_loss(self, name: str, value: Tensor) -> None:
        """Add a weighted term to the loss, recorded apart from the task's.

        Args:
            name: word for the term.
            value: scalar, already weighted.
        """
        if self.phase != Phase.LOSS:
            raise PhaseError("a loss term can be added in on_loss only")
        self.loss_terms[name] = value

    def scale_gradients(self, coefficients: Mapping[str, Tensor], *, projections: bool = True) -> None:
        """Multiply the gradients of each modality's own parameters, and record the factor as applied.

        Args:
            coefficients: modality -> scalar; a modality left out keeps its gradient (factor 1).
            projections: whether input projections are scaled too; the released code of CGGM leaves them.
        """
        self._need("encoder_gradients")
        if self.phase != Phase.GRADIENTS:
            raise PhaseError("gradients can be scaled in on_gradients only")
        for modality, coefficient in coefficients.items():
            spared = set() if projections else {id(p) for p in self.model.projection_of(modality)}
            scale_(gradients_of([p for p in self.parameters[modality] if id(p) not in spared]), coefficient)
            self.scaled[modality] = coefficient

    def scale_updates(self, coefficients: Mapping[str, Tensor]) -> None:
        """Multiply the change that the coming update makes to each modality's own parameters, and record the factor.

        theta <- theta_before + B (theta_after - theta_before), after clipping and the optimiser's step: what
        neither an optimiser that divides by the gradient's size nor clipping can undo. With plain gradient descent
        and no clipping it is the same as scaling the gradient. Weight decay that the optimiser applies is part of
        the change; its moments are those of the unscaled gradient.

        Args:
            coefficients: modality -> scalar; a modality left out keeps its update (factor 1).
        """
        self._need("encoder_gradients")
        if self.phase != Phase.GRADIENTS:
            raise PhaseError("updates can be scaled in on_gradients only")
        for modality, coefficient in coefficients.items():
            self._before[modality] = [p.detach().clone() for p in self.parameters[modality]]
            self.scaled[modality] = coefficient

    def _settle_updates(self, updated: Collection[int] | None = None) -> None:
        """For the trainer: the update is done, scale what `scale_updates` asked for.

        Args:
            updated: ids of the parameters that have changed by now, each to be named once; None for all.
        """
        for modality, before in self._before.items():
            pairs = zip(self.parameters[modality], before, strict=True)
            found = [(p, b) for p, b in pairs if updated is None or id(p) in updated]
            scale_change_([p for p, _ in found], [b for _, b in found], self.scaled[modality])

    def encoder_gradients(self, modality: str) -> list[Tensor]:
        """Gradients of a modality's own parameters, to be changed in place; those that are not there are left out."""
        self._need("encoder_gradients")
        if self.phase != Phase.GRADIENTS:
            raise PhaseError("gradients can be changed in on_gradients only")
        self.changed = True
        return gradients_of(self.parameters[modality])

    def report(self, metric: str, value: Tensor | float | Mapping[str, Tensor | float]) -> None:
        """Record a number of the method's own: one, or one a modality."""
        for modality, one in (value if isinstance(value, Mapping) else {"": value}).items():
            self.readings[MetricKey(metric, modality)] = one.detach() if isinstance(one, Tensor) else one
