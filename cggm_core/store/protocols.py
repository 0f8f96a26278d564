"""What a run store promises: one writer, many readers, and readers cannot write.

Two protocols and no shared class, so that a second implementation (memory, a database server) passes the same
conformance suite. Everything read back is a frozen value that later writes do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cggm_core.names import MetricKey
from cggm_core.store.looks import Contribution, RobustnessCurve

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
State = Literal["starting", "running", "paused", "finished", "stopped", "failed", "died"]
ENDED: tuple[State, ...] = ("finished", "stopped", "failed", "died")
Values = Sequence[float] | FloatArray | Callable[[], FloatArray]


@dataclass(frozen=True)
class Summary:
    """One series in six numbers, kept beside the history so that lists never read histories.

    Attributes:
        last, last_step: newest value (may be NaN) and its step.
        low, low_step, high, high_step: extremes over finite values; NaN and -1 while there is none.
        count: values recorded; nonfinite: how many of them were NaN or infinite.
    """

    last: float
    last_step: int
    low: float
    low_step: int
    high: float
    high_step: int
    count: int
    nonfinite: int


@dataclass(frozen=True)
class Series:
    """History of one metric, ascending in step; all arrays have the same length.

    Attributes:
        step: optimiser step, from 0.
        epoch: pass over the data, from 0.
        seconds: wall time since the run's first start, for an axis only; never orders anything.
        value: float64, NaN and infinities bit-exact.
        total: rows there are in the range asked for; more than `len(step)` when down-sampled.
    """

    key: MetricKey
    step: IntArray
    epoch: IntArray
    seconds: FloatArray
    value: FloatArray
    total: int


@dataclass(frozen=True)
class Event:
    """Something that happened at a step: an intervention, a resume, a warning, the end."""

    seq: int
    step: int
    kind: str
    text: str
    data: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """One life of the writer. A resume is a new attempt, and from `first_step` on its rows win."""

    number: int
    first_step: int
    started_at: float
    ended: str


@dataclass(frozen=True)
class Snapshot:
    """One stored array: a gradient of one kind, of one modality, at one step.

    Attributes:
        kind: classifier, unimodal or fused.
        batch: index of the batch inside the snapshot.
        array: as it was, in its dtype and shape.
        data: anything said with it (projection seed, original size).
    """

    step: int
    batch: int
    kind: str
    modality: str
    array: NDArray[Any]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class RunInfo:
    """What lists and headers show of a run; read without touching any history.

    Attributes:
        id: ours, sortable by time of creation; the folder's name.
        state: as shown: a run whose writer is gone without having said so is "died".
        reason: why it ended, in words; "" while it lives.
        config: the configuration as JSON types.
        step, epoch: newest recorded; -1 before the first.
        steps, epochs: planned in all; 0 while unknown.
        created_at, updated_at: Unix seconds, for display.
        name, tags, notes, pinned, archived: the user's marks.
        summary: one entry a series.
        damaged: what is wrong with the file, in words; "" when it is sound.
        sample: whether the run came with the software and is read-only.
    """

    id: str
    state: State
    reason: str
    config: Mapping[str, Any]
    step: int
    epoch: int
    steps: int
    epochs: int
    created_at: float
    updated_at: float
    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    pinned: bool = False
    archived: bool = False
    summary: Mapping[MetricKey, Summary] = field(default_factory=dict)
    damaged: str = ""
    sample: bool = False


class Cursor(Protocol):
    """Opaque place in a run's growth; hand it back to `news`."""


@dataclass(frozen=True)
class News:
    """What is new since a cursor.

    Attributes:
        series: new rows by key, ascending in step.
        events: new events.
        cursor: hand it to the next call.
        restart: whether rows already handed out were superseded (a resume went back): drop what you hold
            from step `restart_from` on before adding `series`.
    """

    series: Mapping[MetricKey, Series]
    events: tuple[Event, ...]
    cursor: Any
    restart: bool = False
    restart_from: int = -1


class RunWriter(Protocol):
    """The one writer of a run; every call returns at once and none ever raises for a store failure.

    Failures warn once, rows are buffered and retried. Thread-safe for one producer.
    """

    run_id: str

    def stream(self, name: str, columns: Sequence[MetricKey]) -> int:
        """Declare a set of columns recorded together; the number is handed to `log`.

        The same name with other columns is a new schema row of that stream; sparse metrics get a stream
        of their own, so rows are never padded.
        """

    def log(self, stream: int, step: int, epoch: int, values: Values) -> None:
        """Record one row.

        Args:
            stream: number from `stream`.
            step: any order, any gap; the last row of a (stream, step) wins.
            epoch: pass the row belongs to.
            values: one number a column, or a function that returns them, called once on the writer's thread
                (so values may still be on their way from a device).
        """

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Record that something happened."""

    def snapshot(
        self, step: int, batch: int, kind: str, modality: str, array: NDArray[Any],
        data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Record one array (numeric dtype; the caller does not change it afterwards)."""

    def contribution(self, found: Contribution) -> None:
        """Record what each modality contributed at a step."""

    def robustness(self, curve: RobustnessCurve) -> None:
        """Record how the value falls while one modality is damaged."""

    def progress(self, steps: int, epochs: int) -> None:
        """Say how many steps and epochs are planned in all."""

    def state(self, state: Literal["running", "paused"]) -> None:
        """Say that training goes on or rests."""

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything said so far is committed; False when the time was not enough."""

    def finish(self, state: Literal["finished", "stopped", "failed"], reason: str = "") -> None:
        """Commit everything, seal the file so that it opens read-only anywhere, give the run up.

        A second call does nothing. Does not spin when the store is away: it tries for a bounded time and
        warns.
        """


class RunReader(Protocol):
    """Reads one run; no method changes anything; one short transaction a call. Not shared between threads."""

    run_id: str

    def info(self) -> RunInfo:
        """State, progress, configuration, marks and summaries."""

    def keys(self) -> tuple[MetricKey, ...]:
        """Every series there is, in the order first declared."""

    def series(
        self, keys: Sequence[MetricKey], *, max_points: int = 0, first: int | None = None,
        last: int | None = None,
    ) -> dict[MetricKey, Series]:  # fmt: skip
        """Histories, superseded rows left out.

        Args:
            keys: what to read; a key that the run does not have yields an empty series.
            max_points: 0 for every row, else at most this many, extremes, first, last and non-finite ends
                kept.
            first: lowest step wanted, None for the beginning.
            last: highest step wanted, None for the end.

        Raises:
            DamagedRunError: if a checksum does not fit; the message names the run and the steps.
        """

    def news(self, cursor: Any | None = None, keys: Sequence[MetricKey] | None = None) -> News:
        """Rows and events since the cursor; costs by what is new, not by what there is."""

    def events(self, after: int = -1) -> tuple[Event, ...]:
        """Events with `seq` above `after`, in the order recorded."""

    def attempts(self) -> tuple[Attempt, ...]:
        """Every life of the writer."""

    def snapshots(self, *, kind: str = "", modality: str = "") -> tuple[Snapshot, ...]:
        """Stored arrays, by step and batch; empty filters take all."""

    def contributions(self) -> tuple[Contribution, ...]:
        """Contributions by step, superseded ones left out; none in a run that took none, or is older than they."""

    def robustness(self) -> tuple[RobustnessCurve, ...]:
        """Curves under damage, by step; none likewise."""

    def change_token(self) -> tuple[int, ...]:
        """Changes whenever anything may have changed; costs two file stats."""

    def close(self) -> None:
        """Let go of the file."""
