"""Trainings beside the run, teachers before its first step and trials between its epochs: heard and stopped like it.

They take as long as a run, so whoever asks for a pause, a stop or a checkpoint is answered between their steps too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from cggm_core.engine.costs import clock_of
from cggm_core.engine.seeding import random_state, restore_random_state


class Stopped(Exception):
    """A training beside the run was told to stop; the run stands where it stood before it."""


@dataclass(frozen=True)
class Stage:
    """Where a training beside the run stands.

    Attributes:
        what: in words: teachers, trial.
        step: the next one to take, from 0.
        steps: planned in all.
    """

    what: str
    step: int
    steps: int

    def __str__(self) -> str:
        return f"{self.what}: step {self.step + 1:,} of {self.steps:,}"


class Beside:
    """What trainings beside the run share: who listens between their steps, and the run's own random state meanwhile.

    Attributes:
        listener: asked before each step; False stops there. None listens to nobody.
        random: the run's random state while something trains beside it, else None.
        waited: time the listener took (pauses, checkpoints), which is nobody's training.

    Args:
        device: where the run trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.listener: Callable[[Stage], bool] | None = None
        self.random: dict[str, Any] | None = None
        self.waited = 0.0
        self._device, self._now = device, clock_of(device)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Whatever is drawn inside, the run's random state is the same afterwards."""
        self.random = random_state(self._device)
        try:
            yield
        finally:
            restore_random_state(self.random, self._device)
            self.random = None

    def ask(self, stage: Stage) -> None:
        """Before a step.

        Raises:
            Stopped: if the listener says so.
        """
        if self.listener is None:
            return
        asked = self._now()
        try:
            if not self.listener(stage):
                raise Stopped(str(stage))
        finally:
            self.waited += self._now() - asked
