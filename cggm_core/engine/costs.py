"""What a step costs, gathered while a run trains: time by part, sizes, and the most memory there has been.

Nothing waits for a device. Where the host itself computes, parts of a step are timed by the processor time of all
threads: programs that want the same cores stretch it by their use of caches alone, and wall time manifold.
On a GPU the host would see kernels being sent and not being run: there wall time of whole steps is all that is taken.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import torch

from cggm_core.measures.costs import Size, peak_memory
from cggm_core.names import MetricKey

NEWEST = 4096  # steps of which the median is taken: enough for one to a thousandth, and no memory to speak of


def clock_of(device: torch.device) -> Callable[[], float]:
    """What work on a device is timed with: processor time where the host computes, wall time elsewhere."""
    return time.process_time if device.type == "cpu" else time.perf_counter


class Stopwatch:
    """Adds up the processor time of all threads inside `with`; must not be entered inside itself."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._since = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._since

    def taken(self) -> float:
        """Seconds since the last call of this."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class Clock:
    """Stopwatches of a step and its parts; what none of the parts sees is the training itself.

    Attributes:
        processor: the whole step.
        method: the balancing method's moments, but for backward and update, inside which the training's own run.
        classifiers: the unimodal classifiers' forward, backward and update.
        measuring: the per-step series.
    """

    def __init__(self) -> None:
        self.processor = Stopwatch()
        self.method, self.classifiers, self.measuring = Stopwatch(), Stopwatch(), Stopwatch()


class Costs:
    """Costs of one life of a run.

    Args:
        device: where training runs.
        clock: what a step's parts are timed with; None where parts are not told apart (a loop that is not ours).
    """

    def __init__(self, device: torch.device, clock: Clock | None = None) -> None:
        self._device = device
        self._clock = clock if device.type == "cpu" else None
        self._steps: deque[float] = deque(maxlen=NEWEST)
        self._taken, self._between = 0, 0.0
        self._parts: dict[str, deque[float]] = {}
        if self._clock:
            self._parts = {name: deque(maxlen=NEWEST) for name in vars(self._clock)}

    def step(self, seconds: float) -> None:
        """Take in a step that is over.

        Args:
            seconds: of wall time, pauses, validation and checkpoints left out.
        """
        self._steps.append(seconds)
        self._taken += 1
        for name, kept in self._parts.items():
            kept.append(getattr(self._clock, name).taken())

    def between(self, seconds: float) -> None:
        """Take in time that the method took before or after an epoch: teachers, trials, prototypes.

        Args:
            seconds: by `clock_of` the device, pauses and checkpoints left out.
        """
        self._between += seconds

    def readings(self, sizes: Mapping[str, Size]) -> dict[MetricKey, float]:
        """What is to be recorded, as it stands; empty before the first step.

        Args:
            sizes: model, classifier, method: those that are known.
        """
        if not self._steps:
            return {}
        found = {MetricKey("median_step_seconds"): float(np.median(self._steps))}
        found[MetricKey("method_epoch_seconds")] = self._between / self._taken
        for name, kept in self._parts.items():
            found[MetricKey(f"median_{name.removesuffix('s')}_seconds")] = float(np.median(kept))
        for part, size in sizes.items():
            found[MetricKey(f"{part}_parameters")] = float(size.parameters)
            found[MetricKey(f"{part}_bytes")] = float(size.bytes)
        found[MetricKey("peak_memory_bytes")] = float(peak_memory(self._device))
        return found
