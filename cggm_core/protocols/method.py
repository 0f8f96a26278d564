"""What a balancing method is: eleven moments of training, each with a default that does nothing.

Order inside one step (each hook once; under gradient accumulation the hooks up to `backward` run once a
micro-batch, the later ones once a step):

                                             -> on_inputs
    features = model.encode(inputs)          -> on_features
    logits = head(fuse(features))            -> on_logits
    classifiers score detached features; task loss
                                             -> on_loss
    backward of the loss                     -> backward
    (gradients unscaled and reduced, not clipped yet)
                                             -> on_gradients
    clipping, optimiser step                 -> update
                                             -> on_step_end

Abstract or final: no method subclasses a method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cggm_core.cards import Value
from cggm_core.errors import CapabilityError
from cggm_core.protocols.data import Batch, DataBundle
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step
from cggm_core.protocols.task import Task

Objective = Callable[[MultimodalModel, Mapping[str, nn.Module], Batch], Tensor]
"""A loss of a copy of the model and of the method's modules on a batch: a mean over the samples, a scalar."""


@dataclass(frozen=True)
class TrialLosses:
    """What a trial training did to its objective: means over the samples, in evaluation mode.

    Attributes:
        train_before, train_after: on the training split.
        held_before, held_after: on the validation split.
    """

    train_before: float
    train_after: float
    held_before: float
    held_after: float


Trial = Callable[[Objective, int], TrialLosses]
"""Train a copy of everything on an objective for so many epochs; the run itself keeps every bit."""


Pretrain = Callable[[nn.Module, Callable[[Batch], Tensor], int], None]
"""Train a module of the method's own on an objective for so many epochs; the run itself keeps every bit."""


def _no_pretraining(_module: nn.Module, _objective: Callable[[Batch], Tensor], _epochs: int) -> None:
    raise CapabilityError("the method trains a part before the run without declaring 'pretraining' in its requires")


class Backward(Protocol):
    """Backward with the precision's loss scale, as `BalanceMethod.backward` is given it."""

    def __call__(self, loss: Tensor, *, retain: bool = False) -> None:
        """Add the gradients of `loss` to those there are; `retain` keeps the graph for another call."""

    def unscaled(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Copies of gradients that backward has filled, without the loss scale; nothing is read by the host."""


def _no_trial(_objective: Objective, _epochs: int) -> TrialLosses:
    raise CapabilityError("the method asks for a trial training without declaring 'trials' in its card's requires")


@dataclass(frozen=True)
class MethodContext:
    """What `setup` is given: the parts of the run, before the first step.

    `trial` is for `on_epoch_start` and `on_epoch_end`, where no graph is alive; it takes the time of the training
    it does, and draws nothing from the run's random state. It needs the capability `trials`.

    `pretrain` is for `on_epoch_start` of epoch 0 (a resumed run finds its result in `modules`); it needs the
    capability `pretraining`. `seed` is the run's, for generators of the method's own.

    Both may be stopped between two of their steps: an exception of the engine's then leaves the hook, which is called
    anew after a resume. So a hook keeps what they found only once the last of them is over.
    """

    data: DataBundle
    model: MultimodalModel
    task: Task
    device: torch.device
    measure_dtype: torch.dtype
    epochs: int
    steps_per_epoch: int
    seed: int
    trial: Trial = _no_trial
    pretrain: Pretrain = _no_pretraining


class BalanceMethod:
    """Base of every method; constructed with its card's knobs as keywords, all of them."""

    knobs: dict[str, Value]

    def __init__(self, **knobs: Value) -> None:
        self.knobs = dict(knobs)

    def set_knob(self, name: str, value: Value) -> None:
        """Change a live knob between two steps; `value` was checked against the card."""
        self.knobs[name] = value

    def setup(self, context: MethodContext) -> None:
        """Before the first step, and again after a resume before the state is loaded."""

    def on_epoch_start(self, epoch: int) -> None:
        """Before an epoch's first batch."""

    def on_inputs(self, step: Step) -> None:
        """The batch is there, nothing is encoded; `step.set_inputs` may replace the inputs."""

    def on_features(self, step: Step) -> None:
        """Features are there; `step.set_features` may replace them."""

    def on_logits(self, step: Step) -> None:
        """The fused prediction is there; `step.set_logits` may replace it."""

    def on_loss(self, step: Step) -> None:
        """Task loss, unimodal scores and classifier gradients are there; `step.add_loss` may add terms."""

    def backward(self, step: Step, run: Backward) -> None:
        """Fill the gradients; `run(loss)` is backward with the precision's loss scale."""
        run(step.loss)

    def on_gradients(self, step: Step) -> None:
        """Gradients are there, unscaled; `step.scale_gradients` may change them."""

    def update(self, step: Step, run: Callable[[], None]) -> None:
        """Change the parameters; `run()` is clipping and the optimiser's step.

        It may be called again after another backward through the `run` that `backward` was given.
        """
        run()

    def on_step_end(self, step: Step) -> None:
        """Parameters are new."""

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """After an epoch's validation; `report` holds its values by metric name, `val_unimodal_score[audio]` say."""

    def rate_factors(self) -> Mapping[str, float]:
        """Factors on the learning rate of each modality's own parameters, asked before every epoch.

        On the rate and not on the gradient, because Adam cancels a factor on the gradient. A modality left out keeps
        the run's rate. Needs the capability `learning_rates`.
        """
        return {}

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """The prediction in evaluation, from the encoders' outputs: no gradient, model in evaluation mode.

        A method that fuses otherwise than the model overrides it and declares the capability `own_prediction`.
        """
        logits: Tensor = model.head(model.fuse(features))
        return logits

    def modules(self) -> Mapping[str, nn.Module]:
        """Learnable parts of the method's own, made in `setup` on the context's device.

        What of them requires a gradient learns with the run's optimiser at the run's rate (capability
        `own_modules`); all of it is checkpointed with the model. Initial weights must be drawn from a generator of
        their own (`torch.random.fork_rng`), or the neutral setting is not joint training any more.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs beyond the knobs: tensors, numbers, text, lists, dictionaries."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
