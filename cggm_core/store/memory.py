"""A run in memory, for tests and notebooks: both protocols in plain lists.

Written for plainness, not speed: every read looks at every row. That makes it the second opinion that the
conformance suite holds the SQLite store against.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cggm_core.errors import StoreError, WriterConflictError
from cggm_core.names import MetricKey
from cggm_core.store.layout import created_at, new_run_id
from cggm_core.store.looks import Contribution, RobustnessCurve
from cggm_core.store.memory_reader import MemoryRunReader
from cggm_core.store.protocols import (
    Attempt,
    Event,
    Snapshot,
    State,
    Values,
)
from cggm_core.store.rows import Rows, settled, visible
from cggm_core.store.tables import hidden_from


class _Row(NamedTuple):
    stream: int
    attempt: int
    step: int
    epoch: int
    seconds: float
    values: tuple[float, ...]


class _Shot(NamedTuple):
    attempt: int
    snapshot: Snapshot


class MemoryRun:
    """A run that lives as long as this object.

    Args:
        config: the configuration as JSON types.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.run_id = new_run_id()
        self.config = dict(config or {})
        self.lock = threading.RLock()
        self.streams: list[tuple[str, tuple[MetricKey, ...]]] = []
        self.rows: list[_Row] = []
        self.events: list[Event] = []
        self.shots: list[_Shot] = []
        self.looks: list[tuple[int, Contribution | RobustnessCurve]] = []
        self.attempts: list[Attempt] = []
        self.state: State = "starting"
        self.reason = ""
        self.planned = (0, 0)
        self.updated_at = created_at(self.run_id)
        self.changes = 0

    def writer(self, *, resume_at: int | None = None) -> MemoryRunWriter:
        """Become the writer.

        Args:
            resume_at: step from which this attempt's rows win; None goes on after the last.

        Raises:
            WriterConflictError: if there is one already.
        """
        return MemoryRunWriter(self, resume_at)

    def reader(self) -> MemoryRunReader:
        """A reader."""
        return MemoryRunReader(self)

    def view(self, keys: Sequence[MetricKey], rows: Sequence[_Row], lives: Sequence[Attempt]) -> dict[MetricKey, Rows]:
        """What a reader sees of some series after some rows and attempts."""
        cut = hidden_from(lives)
        found = {}
        for key in keys:
            parts = []
            for number, (_, columns) in enumerate(self.streams):
                if key in columns:
                    mine = [row for row in rows if row.stream == number]
                    parts += [visible(_as_rows(row, columns.index(key)), cut[row.attempt], None, None) for row in mine]
            found[key] = settled(parts, 1)
        return found

    def keys(self) -> tuple[MetricKey, ...]:
        """Every series in the order first declared."""
        return tuple(dict.fromkeys(key for _, columns in self.streams for key in columns))


class MemoryRunWriter:
    """`RunWriter` on a `MemoryRun`; what is said is there at once."""

    def __init__(self, run: MemoryRun, resume_at: int | None) -> None:
        self.run_id = run.run_id
        self._run = run
        with run.lock:
            if run.attempts and not run.attempts[-1].ended:
                raise WriterConflictError(f"run {run.run_id} has a writer already; finish that one first")
            newest = max((rows.step[-1] for rows in self._visible() if len(rows.step)), default=-1)
            first = int(newest) + 1 if resume_at is None else resume_at
            run.attempts.append(Attempt(len(run.attempts) + 1, first, time.time(), ""))
            run.state, run.reason = "starting", ""
            self._attempt = len(run.attempts)
        self._open, self._started = True, time.monotonic()
        if self._attempt > 1:
            self.event(first, "resume", f"attempt {self._attempt} starts", {"attempt": self._attempt})

    def stream(self, name: str, columns: Sequence[MetricKey]) -> int:
        """As `RunWriter.stream`.

        Raises:
            StoreError: if a column occurs twice.
        """
        keys = tuple(MetricKey(*key) for key in columns)
        if len(set(keys)) != len(keys):
            raise StoreError(f"stream {name[:80]!r} names a column twice: {', '.join(map(str, keys))[:200]}")
        with self._run.lock:
            if (name, keys) not in self._run.streams:
                self._run.streams.append((name, keys))
                self._run.changes += 1
            return self._run.streams.index((name, keys))

    def log(self, stream: int, step: int, epoch: int, values: Values) -> None:
        """As `RunWriter.log`.

        Raises:
            StoreError: if the stream was not declared, or has another number of columns.
        """
        if not self._open:
            return
        if not 0 <= stream < len(self._run.streams):
            raise StoreError(f"there is no stream {stream}; declare it with stream() first")
        given = np.asarray(values() if callable(values) else values, np.float64)
        name, columns = self._run.streams[stream]
        if given.shape != (len(columns),):
            raise StoreError(f"stream {name[:80]!r} has {len(columns)} columns, got {given.size} values")
        with self._run.lock:
            if self._run.state == "starting":
                self._run.state = "running"
            self._run.rows.append(_Row(stream, self._attempt, step, epoch, self._seconds(), tuple(given)))
            self._touch()

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """As `RunWriter.event`."""
        with self._run.lock:
            if self._open:
                said = Event(len(self._run.events), step, kind, text, dict(data or {}), self._seconds())
                self._run.events.append(said)
                self._touch()

    def snapshot(
        self, step: int, batch: int, kind: str, modality: str, array: NDArray[Any],
        data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """As `RunWriter.snapshot`.

        Raises:
            StoreError: if the array is not numeric.
        """
        array = np.array(array)
        if array.dtype.kind not in "biufc":
            raise StoreError(f"a snapshot is a numeric array, not {array.dtype}")
        with self._run.lock:
            if self._open:
                made = Snapshot(step, batch, kind, modality, array, dict(data or {}))
                self._run.shots.append(_Shot(self._attempt, made))
                self._touch()

    def contribution(self, found: Contribution) -> None:
        """As `RunWriter.contribution`."""
        self._look(found)

    def robustness(self, curve: RobustnessCurve) -> None:
        """As `RunWriter.robustness`."""
        self._look(curve)

    def _look(self, found: Contribution | RobustnessCurve) -> None:
        with self._run.lock:
            if self._open:
                self._run.looks.append((self._attempt, found))
                self._touch()

    def progress(self, steps: int, epochs: int) -> None:
        """As `RunWriter.progress`."""
        if self._open:
            self._run.planned = (steps, epochs)
            self._touch()

    def state(self, state: Literal["running", "paused"]) -> None:
        """As `RunWriter.state`."""
        if self._open:
            self._run.state = state
            self._touch()

    def flush(self, timeout: float = 10.0) -> bool:
        """As `RunWriter.flush`; nothing ever waits here."""
        return self._open

    def finish(self, state: Literal["finished", "stopped", "failed"], reason: str = "") -> None:
        """As `RunWriter.finish`."""
        with self._run.lock:
            if self._open:
                self._open = False
                self._run.state, self._run.reason = state, reason
                life = self._run.attempts[-1]
                self._run.attempts[-1] = Attempt(life.number, life.first_step, life.started_at, state)
                self._touch()

    def _visible(self) -> list[Rows]:
        return list(self._run.view(self._run.keys(), self._run.rows, self._run.attempts).values())

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _touch(self) -> None:
        self._run.changes += 1
        self._run.updated_at = time.time()


def _as_rows(row: _Row, column: int) -> Rows:
    return Rows(
        np.array([row.step], np.int64), np.array([row.epoch], np.int64),
        np.array([row.seconds]), (np.array([row.values[column]], np.float64),),
    )  # fmt: skip
