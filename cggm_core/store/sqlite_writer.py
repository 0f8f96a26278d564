"""The one writer of a run: the training thread appends to a buffer, a thread of ours commits it.

Nothing here stops or slows training: `log` appends a tuple; a commit that fails is tried again with growing
pauses while rows wait in a bounded buffer, the first failure is logged, and an event is recorded when writing
works again. What was committed survives kill -9, so at most the last quarter second is lost.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cggm_core.errors import RunNotFoundError, StoreError, WriterConflictError
from cggm_core.names import MetricKey
from cggm_core.store import lifetimes
from cggm_core.store.buffer import MOST_ARRAY_BYTES, Batch, RowBuffer, Said, Stored
from cggm_core.store.layout import check_run_id
from cggm_core.store.lock import WriterLock
from cggm_core.store.protocols import ENDED, State, Values
from cggm_core.store.run_file import RunFile
from cggm_core.store.tables import Stream

COMMIT_SECONDS = 0.2  # with the commit itself below the quarter second that may be lost
BEAT_SECONDS = 5.0
SLOWEST_RETRY = 2.0
FINISH_SECONDS = 10.0
WAKE_ROWS = 20_000
TEXT_LENGTH = 20_000
MOST_EVENTS = 100_000

_LOG = logging.getLogger("cggm_core.store")


def open_writer(
    folder: Path | str, *, resume_at: int | None = None, wall: Callable[[], float] = time.time
) -> SqliteRunWriter:
    """Become the writer of a run.

    Args:
        folder: a run folder made by `create_run`.
        resume_at: step at which this attempt starts: rows recorded before from that step on stay in the file but
            are shown no more. None goes on after the last recorded step.
        wall: clock in Unix seconds, for display only; it orders nothing.

    Returns:
        The writer; its own thread runs until `finish`.

    Raises:
        RunNotFoundError: if the folder is missing or its name is no run id.
        WriterConflictError: if another living process writes the run.
        SchemaTooNewError, DamagedRunError: if run.db cannot be continued.
        StoreError: if the folder cannot be written.
    """
    folder = Path(folder)
    check_run_id(folder.name)
    if not folder.is_dir():
        raise RunNotFoundError(f"there is no run folder {folder}; make it with create_run")
    lock = WriterLock(folder)
    try:
        return SqliteRunWriter(RunFile(folder, resume_at, wall), lock, wall)
    except BaseException:
        lock.release()
        raise


class SqliteRunWriter:
    """`RunWriter` on SQLite; made by `open_writer`.

    Values given as a list or an array are copied, so the caller may reuse them; a function is called once, on
    the writer's thread, and what it refers to must not change before. After a fork every call in the child does
    nothing; after `finish` likewise.
    """

    def __init__(self, file: RunFile, lock: WriterLock, wall: Callable[[], float]) -> None:
        self.run_id = file.run_id
        self._file, self._lock = file, lock
        self._streams: list[Stream] = list(file.streams())
        self._rows = RowBuffer()
        self._next = Batch()
        self._said = threading.Lock()
        self._flight: Batch | None = None
        self._state: State = "starting"
        run = file.run
        # The time axis continues where it was, also when the wall clock was set back between two attempts.
        self._seconds_at_start = max(0.0, wall() - run.started_at, run.updated_at - run.started_at)
        self._started = time.monotonic()
        self._wake, self._done = threading.Event(), threading.Condition()
        self._asked = self._answered = 0
        self._last_commit = time.monotonic()
        self._failing_since: float | None = None
        self._failures = self._reported_drops = 0
        self._first_failure = ""
        self._deadline = math.inf
        self._open, self._sealing = True, False
        if run.attempt > 1:
            self.event(run.step + 1, "resume", f"attempt {run.attempt} starts", {"attempt": run.attempt})
        self._thread = threading.Thread(target=self._work, name=f"store-{self.run_id[-6:]}", daemon=True)
        self._thread.start()
        lifetimes.watch(self)

    def stream(self, name: str, columns: Sequence[MetricKey]) -> int:
        """As `RunWriter.stream`.

        Raises:
            StoreError: if a column occurs twice.
        """
        keys = tuple(MetricKey(*key) for key in columns)
        if len(set(keys)) != len(keys):
            raise StoreError(f"stream {name[:80]!r} names a column twice: {', '.join(map(str, keys))[:200]}")
        with self._said:
            for known in self._streams:
                if known.name == name and known.columns == keys:
                    return known.id
            made = Stream(len(self._streams), name, keys)
            self._streams.append(made)
            self._next.streams.append(made)
        return made.id

    def log(self, stream: int, step: int, epoch: int, values: Values) -> None:
        """As `RunWriter.log`.

        Raises:
            StoreError: if the stream was not declared, or has another number of columns.
        """
        if not self._open:
            return
        if not 0 <= stream < len(self._streams):
            raise StoreError(f"there is no stream {stream}; declare it with stream() first")
        given: Any = values
        if not callable(values):
            given = values.copy() if isinstance(values, np.ndarray) else tuple(values)
            if len(given) != len(self._streams[stream].columns):
                known = self._streams[stream]
                raise StoreError(
                    f"stream {known.name[:80]!r} has {len(known.columns)} columns, got {len(given)} values"
                )
        self._rows.put((stream, step, epoch, self._seconds(), given))
        if self._rows.put_rows % WAKE_ROWS == 0:
            self._wake.set()

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """As `RunWriter.event`; what JSON cannot hold is stored as its text."""
        body = json.dumps({"kind": kind, "text": text[:TEXT_LENGTH], "data": dict(data or {})}, default=repr)
        with self._said:
            if self._open:
                self._next.events.append(Said(int(step), self._seconds(), body))
                del self._next.events[:-MOST_EVENTS]

    def snapshot(
        self, step: int, batch: int, kind: str, modality: str, array: NDArray[Any],
        data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """As `RunWriter.snapshot`.

        Raises:
            StoreError: if the array is not numeric, or larger than 256 MB.
        """
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        if array.dtype.kind not in "biufc" or array.nbytes > MOST_ARRAY_BYTES:
            raise StoreError(
                f"a snapshot is a numeric array of at most {MOST_ARRAY_BYTES // 1_000_000} MB, "
                f"not {array.dtype} of shape {array.shape}"
            )
        said = {"kind": kind, "modality": modality, "dtype": array.dtype.str, "shape": array.shape}
        body = json.dumps({**said, "data": dict(data or {})}, default=repr)
        with self._said:
            if self._open:
                self._next.snapshots.append(Stored(int(step), int(batch), body, array.tobytes()))
                while sum(len(shot.data) for shot in self._next.snapshots) > 2 * MOST_ARRAY_BYTES:
                    self._next.snapshots.pop(0)
                    self._rows.refused.append("a snapshot was dropped: too many wait to be written")

    def progress(self, steps: int, epochs: int) -> None:
        """As `RunWriter.progress`."""
        with self._said:
            if self._open:
                self._next.planned = (int(steps), int(epochs))

    def state(self, state: Literal["running", "paused"]) -> None:
        """As `RunWriter.state`; the first row recorded says "running" by itself."""
        with self._said:
            if self._open:
                self._next.state = self._state = state

    def flush(self, timeout: float = 10.0) -> bool:
        """As `RunWriter.flush`."""
        with self._done:
            if not self._open:
                return False
            self._asked += 1
            ticket = self._asked
            self._wake.set()
            self._done.wait_for(lambda: self._answered >= ticket or not self._thread.is_alive(), timeout)
            return self._answered >= ticket

    def finish(self, state: Literal["finished", "stopped", "failed"], reason: str = "") -> None:
        """As `RunWriter.finish`."""
        with self._said:
            if not self._open:
                return
            self._open = False
            self._next.state, self._next.reason = state, reason[:TEXT_LENGTH]
        self._sealing = True
        self._end(FINISH_SECONDS)

    def leave(self) -> None:
        """Commit what is buffered and let go without saying that the run ended; at interpreter exit.

        Readers then show the run as died, which is what happened: nobody said it was finished.
        """
        if self._open:
            self._open = False
            self._end(FINISH_SECONDS / 2)

    def disown(self) -> None:
        """Become a writer that does nothing, in a forked child."""
        self._open = False
        # The parent's thread may have held these at the moment of the fork; here nobody would ever release them.
        self._said, self._done = threading.Lock(), threading.Condition()
        self._file.abandon()
        self._lock.close()

    def _end(self, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._wake.set()
        self._thread.join(patience + 10.0)
        lifetimes.forget(self)

    def _seconds(self) -> float:
        return self._seconds_at_start + time.monotonic() - self._started

    def _work(self) -> None:
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            ending, asked = not self._open, self._asked
            self._cycle()
            if self._flight is None:
                with self._done:
                    self._answered = asked
                    self._done.notify_all()
            if ending and (self._flight is None or time.monotonic() > self._deadline):
                break
        self._close()

    def _pause(self) -> float:
        if self._failures == 0:
            return COMMIT_SECONDS
        return float(min(SLOWEST_RETRY, COMMIT_SECONDS * 2.0 ** min(self._failures - 1, 8)))

    def _cycle(self) -> None:
        """Commit everything said so far: first what is in flight, unchanged, then the rest."""
        try:
            for _ in range(1 if self._flight is None else 2):
                if self._flight is None:
                    self._flight = self._gathered()
                if self._flight is None:
                    return
                self._file.commit(self._flight)
                self._flight = None
                self._succeeded()
        except WriterConflictError as error:
            _LOG.error("%s", error)
            self._open, self._flight = False, None
            self._sealing = False
        except Exception as error:  # whatever the store's trouble is, training goes on
            self._failed(error)

    def _gathered(self) -> Batch | None:
        # Rows first, then streams: a row's stream is then always declared in this batch or an earlier one.
        self._rows.gather(lambda stream: len(self._streams[stream].columns))
        blocks = self._rows.hand_out()
        with self._said:
            batch, self._next = self._next, Batch()
        batch.blocks = blocks
        if blocks and self._state == "starting" and batch.state is None:
            batch.state = self._state = "running"
        refused, self._rows.refused = self._rows.refused, []
        for text in refused[:10]:
            _LOG.warning("run %s: %s", self.run_id, text)
            batch.events.append(self._note("refused", text, {"count": len(refused)}))
        if self._rows.dropped > self._reported_drops and self._failures == 0:
            count = self._rows.dropped - self._reported_drops
            self._reported_drops = self._rows.dropped
            batch.events.append(
                self._note("dropped", f"{count} rows were dropped, the oldest first", {"rows": count})
            )
        due = time.monotonic() - self._last_commit > BEAT_SECONDS
        return None if batch.is_empty() and not due else batch

    def _note(self, kind: str, text: str, data: Mapping[str, Any]) -> Said:
        body = json.dumps({"kind": f"store_{kind}", "text": text, "data": data})
        return Said(self._file.run.step, self._seconds(), body)

    def _succeeded(self) -> None:
        self._last_commit = time.monotonic()
        if self._failing_since is not None:
            away = time.monotonic() - self._failing_since
            text = f"writing works again after {away:.1f} s; it had failed with: {self._first_failure}"
            _LOG.warning("run %s: %s", self.run_id, text)
            with self._said:
                self._next.events.append(
                    self._note("recovered", text, {"seconds": away, "tries": self._failures})
                )
        self._failing_since, self._failures = None, 0

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        # Rows keep coming in while the store is away; packing them keeps the bound on numbers, not only on rows.
        with contextlib.suppress(Exception):
            self._rows.gather(lambda stream: len(self._streams[stream].columns))
        if self._failing_since is None:
            self._failing_since, self._first_failure = time.monotonic(), f"{type(error).__name__}: {error}"
            _LOG.warning(
                "run %s cannot be written (%s); training goes on, rows wait in memory and are written when it works "
                "again", self.run_id, error,
            )  # fmt: skip

    def _close(self) -> None:
        try:
            if self._flight is not None:
                lost = sum(len(block.step) for block in self._flight.blocks) + self._rows.waiting()
                _LOG.error("run %s: the store stayed away, the last %d rows are lost", self.run_id, lost)
            elif self._sealing and self._file.run.state in ENDED:
                self._file.seal()
        except Exception as error:
            _LOG.warning("run %s is complete but could not be sealed: %s", self.run_id, error)
        finally:
            self._file.let_go()
            self._lock.release()
            with self._done:
                self._done.notify_all()
