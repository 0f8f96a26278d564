"""From a step's numbers on the device to the run store, without waiting for the device.

On the host a row is ready at once. On CUDA it is copied to page-locked memory behind the step's own kernels, and
the writer's thread waits for the copy, not the training thread. Elsewhere rows travel together every so often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cggm_core.names import MetricKey
from cggm_core.store import Contribution, RobustnessCurve, RunWriter

_TOGETHER = 32


class Recorder:
    """Writes rows of step and epoch series.

    Args:
        writer: the run's one writer.
        device: where the numbers are made.
    """

    def __init__(self, writer: RunWriter, device: torch.device) -> None:
        self._writer, self._device = writer, device
        self._streams: dict[tuple[MetricKey, ...], int] = {}
        self._waiting: list[tuple[int, int, int, Tensor, list[float]]] = []

    def step(
        self,
        step: int,
        epoch: int,
        columns: tuple[MetricKey, ...],
        vector: Tensor,
        host: Mapping[MetricKey, float],
    ) -> None:
        """Record one step.

        Args:
            step: optimiser step, from 0.
            epoch: pass over the data, from 0.
            columns: keys of `vector`.
            vector: `[len(columns)]` on the device; not changed afterwards.
            host: further numbers that are on the host already.
        """
        stream = self._stream("step", (*columns, *host))
        numbers = list(host.values())
        if self._device.type == "cpu":
            self._writer.log(stream, step, epoch, vector.tolist() + numbers)
        elif self._device.type == "cuda":
            self._writer.log(stream, step, epoch, self._arriving(vector, numbers))
        else:
            self._waiting.append((stream, step, epoch, vector, numbers))
            if len(self._waiting) >= _TOGETHER:
                self.catch_up()

    def epoch(self, step: int, epoch: int, values: Mapping[MetricKey, float]) -> None:
        """Record numbers of an epoch's end, at its last step, in a stream of their own."""
        if values:
            self._writer.log(self._stream("epoch", tuple(values)), step, epoch, list(values.values()))

    def costs(self, step: int, epoch: int, values: Mapping[MetricKey, float]) -> None:
        """Record what a step costs, as it stands, in a stream of their own."""
        if values:
            self._writer.log(self._stream("costs", tuple(values)), step, epoch, list(values.values()))

    def look(self, found: Contribution, curves: Sequence[RobustnessCurve] = ()) -> None:
        """Record what a look at the probe set found."""
        self._writer.contribution(found)
        for curve in curves:
            self._writer.robustness(curve)

    def catch_up(self) -> None:
        """Send on what travels together; waits for the device."""
        for stream, step, epoch, vector, numbers in self._waiting:
            self._writer.log(stream, step, epoch, vector.tolist() + numbers)
        self._waiting.clear()

    def _stream(self, kind: str, columns: tuple[MetricKey, ...]) -> int:
        if columns not in self._streams:
            name = f"epoch:{columns[0].metric.partition('_')[0]}" if kind == "epoch" else kind
            self._streams[columns] = self._writer.stream(name, columns)
        return self._streams[columns]

    @staticmethod
    def _arriving(vector: Tensor, numbers: list[float]) -> Callable[[], NDArray[np.float64]]:
        """The row as a function for the writer's thread, which waits there until the copy has arrived."""
        landing = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True)
        landing.copy_(vector, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

        def row() -> NDArray[np.float64]:
            arrived.synchronize()
            return np.concatenate([landing.numpy().astype(np.float64), np.asarray(numbers)])

        return row
