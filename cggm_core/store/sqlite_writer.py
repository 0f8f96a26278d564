"""The one writer of a run: the training thread appends to a buffer, a thread of ours commits it.

Nothing here stops or slows training: `log` appends a tuple; a commit that fails is tried again with growing
pauses while rows wait in a bounded buffer (250,000 raw, 8 million numbers packed, then the oldest go), the
first failure is logged, and an event is recorded when writing works again. What was committed survives kill
-9, so at most the last quarter second is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from cggm_core.errors import RunNotFoundError
from cggm_core.names import MetricKey
from cggm_core.store import lifetimes
from cggm_core.store.committer import Committer
from cggm_core.store.layout import check_run_id
from cggm_core.store.lock import WriterLock
from cggm_core.store.looks import Contribution, RobustnessCurve
from cggm_core.store.outbox import Outbox
from cggm_core.store.protocols import Values
from cggm_core.store.run_file import RunFile

FINISH_SECONDS = 10.0
WAKE_ROWS = 20_000


def open_writer(
    folder: Path | str, *, resume_at: int | None = None, wall: Callable[[], float] = time.time
) -> SqliteRunWriter:
    """Become the writer of a run.

    Args:
        folder: a run folder made by `create_run`.
        resume_at: step at which this attempt starts: rows recorded before from that step on stay in the file
            but are shown no more. None goes on after the last recorded step.
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
    the writer's thread, and what it refers to must not change before. After a fork every call in the child
    does nothing; after `finish` likewise.
    """

    def __init__(self, file: RunFile, lock: WriterLock, wall: Callable[[], float]) -> None:
        self.run_id = file.run_id
        run = file.run
        # The time axis goes on where it was, also when the wall clock was set back between two attempts.
        elapsed = max(run.seconds, wall() - run.started_at)
        self._outbox = Outbox(run.run_id, file.streams(), elapsed)
        self._committer = Committer(file, lock, self._outbox)
        if run.attempt > 1:
            self.event(file.first_step, "resume", f"attempt {run.attempt} starts", {"attempt": run.attempt})
        self._committer.start()
        lifetimes.watch(self)

    def stream(self, name: str, columns: Sequence[MetricKey]) -> int:
        """As `RunWriter.stream`.

        Raises:
            StoreError: if a column occurs twice.
        """
        return self._outbox.declare(name, columns)

    def log(self, stream: int, step: int, epoch: int, values: Values) -> None:
        """As `RunWriter.log`.

        Raises:
            StoreError: if the stream was not declared, or has another number of columns.
        """
        if self._outbox.open:
            self._outbox.log(stream, step, epoch, values)
            if self._outbox.rows.put_rows % WAKE_ROWS == 0:
                self._committer.hurry()

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """As `RunWriter.event`; what JSON cannot hold is stored as its text."""
        if self._outbox.open:
            self._outbox.event(step, kind, text, data or {})

    def snapshot(
        self, step: int, batch: int, kind: str, modality: str, array: NDArray[Any],
        data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """As `RunWriter.snapshot`; the array is copied.

        Raises:
            StoreError: if the array is not numeric, or larger than 256 MB.
        """
        if self._outbox.open:
            self._outbox.snapshot(step, batch, kind, modality, array, data or {})

    def contribution(self, found: Contribution) -> None:
        """As `RunWriter.contribution`."""
        if self._outbox.open:
            self._outbox.look("contribution", found)

    def robustness(self, curve: RobustnessCurve) -> None:
        """As `RunWriter.robustness`."""
        if self._outbox.open:
            self._outbox.look("robustness", curve)

    def progress(self, steps: int, epochs: int) -> None:
        """As `RunWriter.progress`."""
        self._outbox.plan(steps, epochs)

    def state(self, state: Literal["running", "paused"]) -> None:
        """As `RunWriter.state`; the first row recorded says "running" by itself."""
        self._outbox.say(state)

    def flush(self, timeout: float = 10.0) -> bool:
        """As `RunWriter.flush`."""
        return self._outbox.open and self._committer.flush(timeout)

    def finish(self, state: Literal["finished", "stopped", "failed"], reason: str = "") -> None:
        """As `RunWriter.finish`."""
        if self._outbox.open:
            self._outbox.say(state, reason, last=True)
            self._end(FINISH_SECONDS)

    def leave(self) -> None:
        """Commit what is buffered and let go without saying that the run ended; at interpreter exit.

        Readers then show the run as died, which is what happened: nobody said it was finished.
        """
        if self._outbox.open:
            self._outbox.close()
            self._end(FINISH_SECONDS / 2)

    def disown(self) -> None:
        """Become a writer that does nothing, in a forked child."""
        self._outbox.disown()
        self._committer.disown()

    def _end(self, patience: float) -> None:
        self._committer.end(patience)
        lifetimes.forget(self)
