"""Readings on their way to loggers a user has already: by value, late rather than waiting for the device."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cggm_core.names import MetricKey

_LOG = logging.getLogger("cggm_core.watch")


class Bridge(Protocol):
    """Something that takes a step's readings: a logger of another kind."""

    def log(self, step: int, values: Mapping[MetricKey, float]) -> None:
        """Take one step's readings; steps ascend."""

    def close(self) -> None:
        """Nothing more comes; the user's logger itself stays open."""


@dataclass(frozen=True)
class _Row:
    step: int
    columns: tuple[MetricKey, ...]
    vector: Tensor
    host: Mapping[MetricKey, float]
    arrived: torch.cuda.Event | None


class Bridges:
    """All bridges of a run. One that fails is let go with one warning; training and the run's own store go on.

    Args:
        bridges: where readings go.
        run_id: for the warning.
    """

    def __init__(self, bridges: Sequence[Bridge], run_id: str) -> None:
        self._bridges, self._run_id = list(bridges), run_id
        self._rows: deque[_Row] = deque()

    def step(self, step: int, columns: tuple[MetricKey, ...], vector: Tensor, host: Mapping[MetricKey, float]) -> None:
        """Send a step's row on; arguments as of `Recorder.step`. From a GPU it goes on once it has arrived."""
        if not self._bridges:
            return
        arrived = None
        if vector.device.type == "cuda":
            landing = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True)
            vector = landing.copy_(vector, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._rows.append(_Row(step, columns, vector, dict(host), arrived))
        self._send(wait=False)

    def values(self, step: int, values: Mapping[MetricKey, float]) -> None:
        """Send numbers that are on the host already."""
        if self._bridges:
            self._send(wait=True)
            self._log(step, values)

    def close(self) -> None:
        """Send what is left, and let every bridge go."""
        self._send(wait=True)
        for bridge in list(self._bridges):
            self._safely(bridge, bridge.close)
        self._bridges.clear()

    def _send(self, *, wait: bool) -> None:
        while self._rows:
            row = self._rows[0]
            if row.arrived is not None and not row.arrived.query():
                if not wait:
                    return
                row.arrived.synchronize()
            self._rows.popleft()
            values = dict(zip(row.columns, row.vector.tolist(), strict=True)) | dict(row.host)
            self._log(row.step, values)

    def _log(self, step: int, values: Mapping[MetricKey, float]) -> None:
        for bridge in list(self._bridges):
            self._safely(bridge, lambda to=bridge: to.log(step, values))  # type: ignore[misc]

    def _safely(self, bridge: Bridge, call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except Exception as error:  # another logger's fault must not end a training
            if bridge in self._bridges:
                self._bridges.remove(bridge)
            _LOG.warning("run %s: %s failed and gets nothing more: %s: %s", self._run_id, type(bridge).__name__,
                         type(error).__name__, error)  # fmt: skip
