"""When gradients are kept: at a schedule, and when somebody asks; and their way to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cggm_core import catalog
from cggm_core.config import Training
from cggm_core.protocols.diagnostic import Diagnostic, Picture
from cggm_core.protocols.step import Step
from cggm_core.store import RunWriter

MOST_BATCHES = 2000  # a map of more is not read by anybody, and the file would grow without bound
SHARE = 4  # the logarithmic schedule keeps at most every fourth batch of a run


def planned(settings: Training, steps: int) -> dict[int, int]:
    """Steps whose gradients the schedule keeps, with the batch's index inside its snapshot.

    A snapshot is `snapshot_batches` consecutive batches. "every" begins one each `snapshot_every` steps, further
    apart where they would overlap or come to more than 2,000 batches. "logarithmic" begins one at step 0 and spreads
    the others evenly over the logarithm of the step up to the end, since gradients change most at first; a run too
    short for `snapshot_count` of them gets as many as keep a quarter of its batches, and one at least.

    Args:
        settings: of the run.
        steps: optimiser steps planned in all.
    """
    batches = min(settings.snapshot_batches, max(1, steps))
    if settings.snapshots == "off" or steps < 1:
        return {}
    if settings.snapshots == "every":
        apart = max(settings.snapshot_every, batches, -(-steps * batches // MOST_BATCHES))
        starts = list(range(0, steps, apart))
    else:
        count = max(1, min(settings.snapshot_count, steps // (SHARE * batches), MOST_BATCHES // batches))
        starts = [0]
        for wished in np.geomspace(batches, max(batches, steps - batches), max(1, count - 1))[: count - 1]:
            starts.append(max(round(float(wished)), starts[-1] + batches))
    return {start + index: index for start in starts for index in range(batches) if start + index < steps}


@dataclass
class _Arriving:
    """Pictures of one step on their way to the host."""

    step: int
    batch: int
    pictures: list[tuple[str, str, torch.Tensor, Mapping[str, Any]]]
    arrived: torch.cuda.Event | None


class SnapshotTaker:
    """Keeps gradients without stopping the device for it.

    Args:
        writer: the run's one writer.
        device: where training runs.
        settings: of the run.
        steps: optimiser steps planned in all.
    """

    def __init__(self, writer: RunWriter, device: torch.device, settings: Training, steps: int) -> None:
        self._writer, self._device = writer, device
        self._plan = planned(settings, steps)
        self._batches = settings.snapshot_batches
        self._looker = catalog.load("diagnostic", "gradient_snapshot", Diagnostic)()
        self._left, self._start = 0, 0
        self._arriving: list[_Arriving] = []

    @property
    def owed(self) -> bool:
        """Whether somebody asked for a snapshot of which not even the first batch was taken."""
        return self._left == self._batches

    def ask(self) -> None:
        """Keep the next batches, whatever the schedule says."""
        self._left = self._batches

    def look(self, step: Step) -> None:
        """Keep this step's gradients if they are due; called while the step's graph is there."""
        batch = self._plan.get(step.index)
        if self._left:
            if self.owed:
                self._start = step.index
                more = f" and of the next {self._left - 1}" if self._left > 1 else ""
                self._writer.event(step.index, "snapshot taken", f"gradients of this step's batch{more} kept")
            self._left -= 1
            # A batch that the schedule keeps anyway is kept once, as part of the schedule's snapshot.
            batch = step.index - self._start if batch is None else batch
        if batch is not None:
            self._take(step, batch)
        self._send()

    def catch_up(self) -> None:
        """Hand everything to the writer; waits for the device."""
        self._send(wait=True)

    def _take(self, step: Step, batch: int) -> None:
        pictures = [self._landed(picture) for picture in self._looker.observe(step).pictures]
        arrived = None
        if self._device.type == "cuda":
            arrived = torch.cuda.Event()
            arrived.record()
        self._arriving.append(_Arriving(step.index, batch, pictures, arrived))

    def _landed(self, picture: Picture) -> tuple[str, str, torch.Tensor, Mapping[str, Any]]:
        """A picture with its array on the host, or, from CUDA, in page-locked memory it is being copied to."""
        array = picture.array.float()
        if self._device.type == "cuda":
            landing = torch.empty(array.shape, dtype=array.dtype, pin_memory=True)
            landing.copy_(array, non_blocking=True)
            array = landing
        return picture.kind, picture.modality, array.cpu(), picture.data

    def _send(self, *, wait: bool = False) -> None:
        while self._arriving:
            first = self._arriving[0]
            if first.arrived is not None and not first.arrived.query():
                if not wait:
                    return
                first.arrived.synchronize()
            for kind, modality, array, data in first.pictures:
                self._writer.snapshot(first.step, first.batch, kind, modality, array.numpy(), data)
            self._arriving.pop(0)
