"""What a balancing method is: ten moments of training, each with a default that does nothing.

Order inside one step (each hook once; under gradient accumulation the hooks up to `backward` run once a
micro-batch, the later ones once a step):

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cggm_core.cards import Value
from cggm_core.protocols.data import DataBundle
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step
from cggm_core.protocols.task import Task


@dataclass(frozen=True)
class MethodContext:
    """What `setup` is given: the parts of the run, before the first step."""

    data: DataBundle
    model: MultimodalModel
    task: Task
    device: torch.device
    measure_dtype: torch.dtype
    epochs: int
    steps_per_epoch: int


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

    def on_features(self, step: Step) -> None:
        """Features are there; `step.set_features` may replace them."""

    def on_logits(self, step: Step) -> None:
        """The fused prediction is there; `step.set_logits` may replace it."""

    def on_loss(self, step: Step) -> None:
        """Task loss, unimodal scores and classifier gradients are there; `step.add_loss` may add terms."""

    def backward(self, step: Step, run: Callable[[torch.Tensor], None]) -> None:
        """Fill the gradients; `run(loss)` is backward with the precision's loss scale."""
        run(step.loss)

    def on_gradients(self, step: Step) -> None:
        """Gradients are there, unscaled; `step.scale_gradients` may change them."""

    def update(self, step: Step, run: Callable[[], None]) -> None:
        """Change the parameters; `run()` is clipping and the optimiser's step."""
        run()

    def on_step_end(self, step: Step) -> None:
        """Parameters are new."""

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """After an epoch's validation; `report` holds its values by metric name."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Learnable parts of the method's own, made in `setup` on the context's device; checkpointed with the model."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs beyond the knobs: tensors, numbers, text, lists, dictionaries."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
