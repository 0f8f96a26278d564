"""The loop body, all of it: phases of a step, and the moments at which a method and the measuring look in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cggm_core.engine.costs import Clock
from cggm_core.engine.devices import Precision
from cggm_core.engine.measuring import Measuring
from cggm_core.engine.readers import UnimodalReaders
from cggm_core.engine.seeding import random_state, restore_random_state
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Phase, Step


@dataclass
class Parts:
    """What a step works with, the same for the whole run."""

    method: BalanceMethod
    optimiser: torch.optim.Optimizer
    precision: Precision
    parameters: list[nn.Parameter]
    clip: float
    readers: UnimodalReaders | None
    measuring: Measuring | None = field(default=None)
    second_pass: bool = False
    clock: Clock = field(default_factory=Clock)


def train_step(step: Step, parts: Parts, look: Callable[[Step], None] | None = None) -> None:
    """One optimiser step; the order is documented in `protocols.method`.

    Args:
        step: fresh, holding its batch.
        parts: what it works with.
        look: called once losses and gradients are there and the graph is not gone.
    """
    method, measuring, clock = parts.method, parts.measuring, parts.clock
    parts.optimiser.zero_grad(set_to_none=True)
    if parts.second_pass:
        step._fill(Phase.INPUTS, again=_again(step, parts))
    with clock.method:
        method.on_inputs(step)
    with parts.precision.forward():
        encoded = step.model.encode(step.batch.inputs)
        step._fill(Phase.FEATURES, encoded=encoded, features=encoded, autocast=parts.precision.forward)
        with clock.method:
            method.on_features(step)
        fused = step.model.fuse(step.features)
        step._fill(Phase.LOGITS, fused=fused, logits=step.model.head(fused))
        with clock.method:
            method.on_logits(step)
    if parts.readers:
        with clock.classifiers:
            step._fill(Phase.LOGITS, **parts.readers.read(step.encoded, step.batch))
    step._fill(Phase.LOSS, task_loss=step.task.loss(step.logits, step.batch.target))
    with clock.method:
        method.on_loss(step)
    if look:
        with clock.measuring:
            look(step)
    if measuring and parts.readers:
        with clock.measuring, torch.no_grad():
            step.head_gradient()  # kept by the step; without a closed form it needs the graph that backward frees
    method.backward(step, _Backward(parts.precision.scaler))
    parts.precision.scaler.unscale_(parts.optimiser)
    step._fill(Phase.GRADIENTS)
    if measuring:
        with clock.measuring:
            measuring.before(step)
    with clock.method:
        method.on_gradients(step)
    if measuring:
        with clock.measuring:
            measuring.after(step)
    method.update(step, _Update(parts))
    step._settle_updates()
    if parts.readers:
        with clock.classifiers:
            parts.readers.update()
    step._fill(Phase.UPDATED)
    with clock.method:
        method.on_step_end(step)
    if measuring:
        with clock.measuring:
            measuring.finish(step)


class _Backward:
    """See `protocols.method.Backward`."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self._scaler = scaler

    def __call__(self, loss: Tensor, *, retain: bool = False) -> None:
        self._scaler.scale(loss).backward(retain_graph=retain)

    def unscaled(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        if not self._scaler.is_enabled():
            return [g.clone() for g in gradients]
        return [g / self._scaler.scale(torch.ones((), device=g.device)) for g in gradients]


class _Update:
    """Clip the whole model's gradient, step the optimiser; once, or after each of several backwards."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._unscaled = parts, True

    def __call__(self) -> None:
        parts, scaler = self._parts, self._parts.precision.scaler
        if not self._unscaled:
            scaler.unscale_(parts.optimiser)
        self._unscaled = False
        if parts.clip > 0:
            nn.utils.clip_grad_norm_(parts.parameters, parts.clip)
        scaler.step(parts.optimiser)
        scaler.update()


def _again(step: Step, parts: Parts) -> Callable[[], Tensor]:
    """A forward of the step's batch that draws what the forward to come draws, and leaves no trace of it."""
    device = step.batch.target.device
    drawn = random_state(device)

    def run() -> Tensor:
        now = random_state(device)
        restore_random_state(drawn, device)
        try:
            with parts.precision.forward():
                logits = step.model(step.batch.inputs)
        finally:
            restore_random_state(now, device)
        return step.task.loss(logits, step.batch.target)

    return run
