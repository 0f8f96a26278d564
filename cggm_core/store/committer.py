"""The writer's thread: commits what was said, tries again when the store is away, seals at the end."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time

from cggm_core.errors import WriterConflictError
from cggm_core.store.buffer import Batch
from cggm_core.store.lock import WriterLock
from cggm_core.store.outbox import Outbox
from cggm_core.store.protocols import ENDED
from cggm_core.store.run_file import RunFile

COMMIT_SECONDS = 0.15  # with a commit on a busy machine still below the quarter second that may be lost
BEAT_SECONDS = 5.0
SLOWEST_RETRY = 2.0

_LOG = logging.getLogger("cggm_core.store")


class Committer:
    """Owns the file from `start` on; no trouble of the store ever leaves this thread.

    Args:
        file: the open run.
        lock: the right to write it.
        outbox: where to take from.
    """

    def __init__(self, file: RunFile, lock: WriterLock, outbox: Outbox) -> None:
        self._file, self._lock, self._outbox = file, lock, outbox
        self._flight: Batch | None = None
        self._wake, self._done = threading.Event(), threading.Condition()
        self._asked = self._answered = 0
        self._last_commit = time.monotonic()
        self._failing_since = 0.0
        self._failures = 0
        self._first_failure = ""
        self._deadline = math.inf
        self._ending = self._fenced = False
        name = f"store-{file.run_id[-6:]}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def hurry(self) -> None:
        """Commit now rather than at the next turn."""
        self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until everything said before is committed; False when the time was not enough."""
        with self._done:
            self._asked += 1
            ticket = self._asked
            self._wake.set()
            self._done.wait_for(lambda: self._answered >= ticket or not self._thread.is_alive(), timeout)
            return self._answered >= ticket

    def end(self, patience: float) -> None:
        """Commit the rest, seal if the run ended, let go; patient for some seconds if the store is away."""
        self._deadline = time.monotonic() + patience
        self._ending = True
        self._wake.set()
        # A commit or the sealing under way may take a little longer than the patience for a store that is
        # away.
        self._thread.join(patience + 10.0)

    def disown(self) -> None:
        """Never touch the file again, in a forked child."""
        self._file.abandon()
        self._lock.close()

    def _work(self) -> None:
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            ending, asked = self._ending, self._asked
            self._turn()
            if self._flight is None and not self._fenced:
                with self._done:
                    self._answered = asked
                    self._done.notify_all()
            away = self._flight is not None and time.monotonic() < self._deadline
            if self._fenced or (ending and not away):
                break
        self._close()

    def _pause(self) -> float:
        if self._failures == 0:
            return COMMIT_SECONDS
        return float(min(SLOWEST_RETRY, COMMIT_SECONDS * 2.0 ** min(self._failures - 1, 8)))

    def _turn(self) -> None:
        """Commit everything said so far: first what is in flight, unchanged, then the rest."""
        try:
            for _ in range(1 if self._flight is None else 2):
                if self._flight is None:
                    batch = self._outbox.gather(self._file.run.step)
                    beat_due = time.monotonic() - self._last_commit > BEAT_SECONDS
                    if batch.is_empty() and not beat_due:
                        return
                    self._flight = batch
                self._file.commit(self._flight)
                self._flight = None
                self._succeeded()
        except WriterConflictError as error:
            _LOG.error("%s", error)
            self._outbox.close()
            self._fenced = True
        except Exception as error:  # whatever the store's trouble is, training goes on
            self._failed(error)

    def _succeeded(self) -> None:
        self._last_commit = time.monotonic()
        if self._failures:
            away = self._last_commit - self._failing_since
            text = f"writing works again after {away:.1f} s; it had failed with {self._first_failure}"
            _LOG.warning("run %s: %s", self._file.run_id, text)
            data = {"seconds": away, "tries": self._failures}
            self._outbox.recovered(self._file.run.step, text, data)
        self._failures = 0

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            self._failing_since = time.monotonic()
            self._first_failure = f"{type(error).__name__}: {error}"
            _LOG.warning(
                "run %s cannot be written (%s); training goes on, rows wait in memory until it works again",
                self._file.run_id, error,
            )  # fmt: skip
        with contextlib.suppress(Exception):
            self._outbox.pack()

    def _close(self) -> None:
        try:
            if self._flight is not None:
                lost = sum(len(block.step) for block in self._flight.blocks) + self._outbox.rows.waiting()
                text = "run %s: the store stayed away, the last %d rows are lost"
                _LOG.error(text, self._file.run_id, lost)
            elif self._file.run.state in ENDED:
                self._file.seal()
        except Exception as error:
            _LOG.warning("run %s is complete but could not be sealed: %s", self._file.run_id, error)
        finally:
            self._file.let_go()
            self._lock.release()
            with self._done:
                self._done.notify_all()
