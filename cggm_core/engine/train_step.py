"""The loop body, all of it: phases of a step, and the moments at which a method and the measuring look in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from cggm_core.engine.devices import Precision
from cggm_core.engine.measuring import Measuring
from cggm_core.engine.readers import UnimodalReaders
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


def train_step(step: Step, parts: Parts, look: Callable[[Step], None] | None = None) -> None:
    """One optimiser step; the order is documented in `protocols.method`.

    Args:
        step: fresh, holding its batch.
        parts: what it works with.
        look: called once losses and gradients are there and the graph is not gone.
    """
    method, measuring = parts.method, parts.measuring
    parts.optimiser.zero_grad(set_to_none=True)
    with parts.precision.forward():
        encoded = step.model.encode(step.batch.inputs)
        step._fill(Phase.FEATURES, encoded=encoded, features=encoded, autocast=parts.precision.forward)
        method.on_features(step)
        fused = step.model.fuse(step.features)
        step._fill(Phase.LOGITS, fused=fused, logits=step.model.head(fused))
        method.on_logits(step)
    if parts.readers:
        step._fill(Phase.LOGITS, **parts.readers.read(step.encoded, step.batch))
    step._fill(Phase.LOSS, task_loss=step.task.loss(step.logits, step.batch.target))
    method.on_loss(step)
    if look:
        look(step)
    if measuring and parts.readers:
        with torch.no_grad():
            step.head_gradient()  # kept by the step; without a closed form it needs the graph that backward frees
    method.backward(step, lambda loss: parts.precision.scaler.scale(loss).backward())
    parts.precision.scaler.unscale_(parts.optimiser)
    step._fill(Phase.GRADIENTS)
    if measuring:
        measuring.before(step)
    method.on_gradients(step)
    if measuring:
        measuring.after(step)
    method.update(step, lambda: _update(parts))
    if parts.readers:
        parts.readers.update()
    step._fill(Phase.UPDATED)
    method.on_step_end(step)
    if measuring:
        measuring.finish(step)


def _update(parts: Parts) -> None:
    """Clip the whole model's gradient, step the optimiser."""
    if parts.clip > 0:
        nn.utils.clip_grad_norm_(parts.parameters, parts.clip)
    parts.precision.scaler.step(parts.optimiser)
    parts.precision.scaler.update()
