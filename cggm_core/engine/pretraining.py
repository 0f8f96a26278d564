"""Training of a method's own part before the run: teachers, say. The run keeps every bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.config import Training
from cggm_core.engine.beside import Beside, Stage, Stopped
from cggm_core.engine.devices import Precision
from cggm_core.engine.optimisers import SHARED, build_optimiser, rate_factor, set_rate
from cggm_core.engine.seeding import order, random_state, restore_random_state
from cggm_core.protocols.data import Batch, DataBundle, take

_SEED_SHIFT = 15_485_863  # neither the order of samples nor the dropout of the run is repeated


@dataclass
class _Course:
    """A pretraining at work: everything but the weights, which are the method's own."""

    number: int
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    batch: int = 0


class Pretraining:
    """Trains modules as the run will be trained: optimiser, rate and its schedule, batch size, precision.

    Gradients are not clipped: the norm of all of them would tie parts together that have nothing to do with each
    other. The same seed gives the same bits, whenever it is run. Stopped or killed on the way, it goes on from the
    run's checkpoint, which holds its state here and its weights among the method's modules.

    Args:
        data: training split to learn from.
        settings: of the run.
        device: where the run trains.
        precision: number format of forward passes.
        beside: who listens meanwhile.
    """

    def __init__(
        self, data: DataBundle, settings: Training, device: torch.device, precision: Precision, beside: Beside
    ) -> None:
        self._data, self._settings, self._device, self._precision = data, settings, device, precision
        self._beside = beside
        self._calls = 0
        self._course: _Course | None = None
        self._kept: dict[str, Any] = {}  # of a pretraining that was left on the way, until it goes on

    def run(self, module: nn.Module, objective: Callable[[Batch], Tensor], epochs: int) -> None:
        """Train `module` in place, or go on where a checkpoint left it.

        Args:
            module: whose parameters learn; one of the method's own, in evaluation mode at the end.
            objective: mean loss of a batch, computed with the module.
            epochs: passes over the training split; the schedule is stretched over them.

        Raises:
            Stopped: if the run is told to stop meanwhile.
        """
        number, self._calls = self._calls, self._calls + 1
        if number < self._kept.get("number", 0):
            module.eval()  # was done before the checkpoint
            return
        with self._beside.apart():
            torch.manual_seed(self._settings.seed + _SEED_SHIFT)
            try:
                self._train(self._begun(number, module), module, objective, epochs)
            except Stopped:
                self._kept, self._calls = self.state_dict(), 0
                raise
            finally:
                self._course = None
        module.eval()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beyond the module's weights; empty where nothing is on its way."""
        course = self._course
        if course is None:
            return self._kept
        return {
            "number": course.number, "epoch": course.epoch, "batch": course.batch,
            "optimiser": course.optimiser.state_dict(), "scaler": course.scaler.state_dict(),
            "random": random_state(self._device),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`, before `run` is called."""
        self._kept, self._calls = dict(state), 0

    def _begun(self, number: int, module: nn.Module) -> _Course:
        settings, kept = self._settings, self._kept
        learning = [p for p in module.parameters() if p.requires_grad]
        optimiser = build_optimiser({SHARED: learning}, settings, settings.lr)
        scaler = torch.amp.GradScaler(self._device.type, enabled=settings.precision == "fp16")
        course = _Course(number, optimiser, scaler)
        if kept:
            course.epoch, course.batch = kept["epoch"], kept["batch"]
            optimiser.load_state_dict(kept["optimiser"])
            scaler.load_state_dict(kept["scaler"])
            restore_random_state(kept["random"], self._device)
            self._kept = {}
        self._course = course
        return course

    def _train(self, course: _Course, module: nn.Module, objective: Callable[[Batch], Tensor], epochs: int) -> None:
        settings, split = replace(self._settings, epochs=epochs), self._data.splits["train"]
        module.train()
        while course.epoch < epochs:
            set_rate(course.optimiser, settings.lr * rate_factor(settings, course.epoch))
            batches = order(settings.seed + _SEED_SHIFT, course.epoch, len(split)).split(settings.batch_size)
            while course.batch < len(batches):
                done = course.epoch * len(batches) + course.batch
                self._beside.ask(Stage("training before the first step", done, epochs * len(batches)))
                course.optimiser.zero_grad(set_to_none=True)
                with self._precision.forward():
                    loss = objective(take(split, batches[course.batch], self._device))
                course.scaler.scale(loss).backward()
                course.scaler.step(course.optimiser)
                course.scaler.update()
                course.batch += 1
            course.epoch, course.batch = course.epoch + 1, 0
