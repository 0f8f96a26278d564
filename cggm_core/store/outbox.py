"""What the training thread has said and the writer's thread has not yet taken."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.errors import StoreError
from cggm_core.names import MetricKey
from cggm_core.store import looks
from cggm_core.store.buffer import MOST_ARRAY_BYTES, Batch, Looked, RowBuffer, Said, Stored
from cggm_core.store.protocols import State, Values
from cggm_core.store.tables import Stream

TEXT_LENGTH = 20_000
MOST_EVENTS = 100_000

_LOG = logging.getLogger("cggm_core.store")


class Outbox:
    """Rows, events, arrays and states of one attempt on their way out; bounded.

    Args:
        run_id: for messages.
        streams: those the file holds already.
        seconds_at_start: where the run's time axis stands now.
    """

    def __init__(self, run_id: str, streams: Sequence[Stream], seconds_at_start: float) -> None:
        self.rows = RowBuffer()
        self.open = True
        self._run_id = run_id
        self._streams = list(streams)
        self._next = Batch()
        self._state: State = "starting"
        self._lock = threading.Lock()
        self._seconds_at_start, self._started = seconds_at_start, time.monotonic()
        self._reported_drops = 0

    def declare(self, name: str, columns: Sequence[MetricKey]) -> int:
        """As `RunWriter.stream`."""
        keys = tuple(MetricKey(*key) for key in columns)
        if len(set(keys)) != len(keys):
            raise StoreError(f"stream {name[:80]!r} names a column twice: {', '.join(map(str, keys))[:200]}")
        with self._lock:
            for known in self._streams:
                if known.name == name and known.columns == keys:
                    return known.id
            made = Stream(len(self._streams), name, keys)
            self._streams.append(made)
            self._next.streams.append(made)
        return made.id

    def log(self, stream: int, step: int, epoch: int, values: Values) -> None:
        """As `RunWriter.log`; a list or an array is copied."""
        if not 0 <= stream < len(self._streams):
            raise StoreError(f"there is no stream {stream}; declare it with stream() first")
        given: Any = values
        if not callable(values):
            given = values.copy() if isinstance(values, np.ndarray) else tuple(values)
            known = self._streams[stream]
            if len(given) != len(known.columns):
                raise StoreError(
                    f"stream {known.name[:80]!r} has {len(known.columns)} columns, got {len(given)} values"
                )
        self.rows.put((stream, step, epoch, self.seconds(), given))

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any]) -> None:
        """As `RunWriter.event`; what JSON cannot hold is kept as its text."""
        body = json.dumps({"kind": kind, "text": text[:TEXT_LENGTH], "data": dict(data)}, default=repr)
        with self._lock:
            if self.open:
                self._next.events.append(Said(int(step), self.seconds(), body))
                del self._next.events[:-MOST_EVENTS]

    def snapshot(
        self, step: int, batch: int, kind: str, modality: str, array: NDArray[Any], data: Mapping[str, Any]
    ) -> None:
        """As `RunWriter.snapshot`."""
        array = np.asarray(array)
        if array.dtype.kind not in "biufc" or array.nbytes > MOST_ARRAY_BYTES:
            raise StoreError(
                f"a snapshot is a numeric array of at most {MOST_ARRAY_BYTES // 1_000_000} MB, "
                f"not {array.dtype} of shape {array.shape}"
            )
        said = {"kind": kind, "modality": modality, "dtype": array.dtype.str, "shape": array.shape}
        body = json.dumps({**said, "data": dict(data)}, default=repr)
        with self._lock:
            if self.open:
                waiting = self._next.snapshots
                waiting.append(Stored(int(step), int(batch), body, array.tobytes()))
                while sum(len(shot.data) for shot in waiting) > 2 * MOST_ARRAY_BYTES:
                    waiting.pop(0)
                    self.rows.refused.append("a snapshot was dropped: too many wait to be written")

    def look(self, table: looks.LookTable, found: looks.Contribution | looks.RobustnessCurve) -> None:
        """As `RunWriter.contribution` and `RunWriter.robustness`."""
        made = Looked(table, int(found.step), looks.body(found))
        with self._lock:
            if self.open:
                self._next.looks.append(made)
                del self._next.looks[:-MOST_EVENTS]

    def plan(self, steps: int, epochs: int) -> None:
        """As `RunWriter.progress`."""
        with self._lock:
            if self.open:
                self._next.planned = (int(steps), int(epochs))

    def say(self, state: State, reason: str = "", *, last: bool = False) -> None:
        """Record a state; the last one closes the box, and nothing said afterwards counts."""
        with self._lock:
            if self.open:
                self._next.state, self._next.reason = state, reason[:TEXT_LENGTH]
                self._state, self.open = state, not last

    def close(self) -> None:
        """Take nothing more."""
        self.open = False

    def disown(self) -> None:
        """Take nothing more, in a forked child, where the lock may be held by a thread that is not there."""
        self.open = False
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """Seconds since the run's first start, from a clock that cannot jump."""
        return self._seconds_at_start + time.monotonic() - self._started

    def pack(self) -> None:
        """Pack rows that came in, which bounds them while the store is away."""
        self.rows.gather(lambda stream: len(self._streams[stream].columns))

    def gather(self, step: int) -> Batch:
        """Everything said so far, as one batch; on the writer's thread.

        Args:
            step: where on the axis to put remarks of the store's own.
        """
        # Rows first, then streams: a row's stream is then always declared in this batch or an earlier one.
        self.pack()
        blocks = self.rows.hand_out()
        with self._lock:
            batch, self._next = self._next, Batch()
            if blocks and self._state == "starting" and batch.state is None:
                batch.state = self._state = "running"
        batch.blocks, batch.seconds = blocks, self.seconds()
        refused, self.rows.refused = self.rows.refused, []
        if refused:
            _LOG.warning("run %s: %s (%d in all)", self._run_id, refused[0], len(refused))
            batch.events.append(self._remark(step, "refused", refused[0], {"count": len(refused)}))
        if count := self.rows.dropped - self._reported_drops:
            self._reported_drops += count
            text = f"{count} rows were dropped, the oldest first: the store was away for too long"
            batch.events.append(self._remark(step, "dropped", text, {"rows": count}))
        return batch

    def recovered(self, step: int, text: str, data: Mapping[str, Any]) -> None:
        """Remark that writing works again."""
        with self._lock:
            self._next.events.append(self._remark(step, "recovered", text, data))

    def _remark(self, step: int, kind: str, text: str, data: Mapping[str, Any]) -> Said:
        body = json.dumps({"kind": f"store_{kind}", "text": text, "data": data})
        return Said(step, self.seconds(), body)
