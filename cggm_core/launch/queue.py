"""A queue of runs that outlives the app: one file says what waits, runs and ended; one process works it off.

The file (`<root>/.queue/state.json`) is changed under a lock by whoever adds or cancels and by the runner;
it is replaced whole, so a reader needs no lock. The runner is single by a lock of its own, and leaves when
nothing is left to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cggm_core.config import RunConfig
from cggm_core.errors import LaunchError, StoreError
from cggm_core.launch import devices
from cggm_core.launch.worker import absolute, spawn
from cggm_core.store import Identity, is_alive
from cggm_core.store.files import atomic_write, locked
from cggm_core.store.layout import read_json_file

JobState = Literal["pending", "running", "done", "stopped", "failed", "cancelled"]
JOB_STATES: tuple[str, ...] = get_args(JobState)
OPEN: tuple[str, ...] = ("pending", "running")
AGAIN: tuple[str, ...] = ("failed", "stopped", "cancelled")
KEPT_ENDED = 1000
_LARGEST = 200_000_000
_LOCK_SECONDS = 30.0


@dataclass
class Job:
    """One configuration in the queue.

    Attributes:
        id: of the job; the run gets an id of its own when it begins.
        batch: common to everything one call of `start_many` added.
        config: as JSON types.
        state: pending, running, done, stopped, failed or cancelled.
        run: id of the run, "" until it has begun.
        error: why it failed, in one sentence.
        cancel: whether it is to be stopped.
        asked: whether its run was asked to stop.
        process: JSON identity of its worker.
        resumes: id of the run it goes on with when it is tried again; "" begins one.
        card: graphics card it was given; "" leaves that to the run.
        added_at, began_at, ended_at: Unix seconds, for display and for estimates; 0 while it has not come to that.
    """

    id: str
    batch: str
    config: dict[str, Any]
    state: JobState = "pending"
    run: str = ""
    error: str = ""
    cancel: bool = False
    asked: bool = False
    process: str = ""
    resumes: str = ""
    card: str = ""
    added_at: float = 0.0
    began_at: float = 0.0
    ended_at: float = 0.0


@dataclass
class QueueState:
    """Everything in the queue.

    Attributes:
        slots: runs side by side.
        jobs: in the order added.
        runner: JSON identity of the process that works it off.
    """

    slots: int = 1
    jobs: list[Job] = field(default_factory=list)
    runner: str = ""

    def count(self, state: JobState) -> int:
        """Jobs in this state."""
        return sum(job.state == state for job in self.jobs)

    @property
    def at_work(self) -> bool:
        """Whether a process works the queue off; jobs that wait without one need `wake`."""
        who = Identity.from_json(self.runner)
        return who is not None and is_alive(who)


def start_many(configs: Sequence[RunConfig], root: Path | str, slots: int = 0) -> str:
    """Train configurations one after the other, several side by side, without anybody watching.

    Args:
        configs: of the runs, in the order wanted; relative paths are taken from the current folder.
        root: folder of all runs; made if missing.
        slots: runs side by side; 0 takes as many as fit with their shares of the cores, and one a graphics card.

    Returns:
        Id of the batch, which its jobs carry.

    Raises:
        LaunchError: if there is nothing to start or `slots` is negative.
        StoreError: if the folder cannot be written.
    """
    if not configs:
        raise LaunchError("there is nothing to start: choose at least one method and one seed")
    if slots < 0:
        raise LaunchError(f"slots must be at least 1, or 0 for as many as fit, not {slots}")
    batch, now = secrets.token_hex(6), time.time()
    made = [
        Job(f"{batch}-{number:04}", batch, absolute(config).to_dict(), added_at=now)
        for number, config in enumerate(configs)
    ]
    with changing(root) as state:
        state.slots = slots or devices.side_by_side()
        state.jobs += made
    wake(root)
    return batch


def queue_state(root: Path | str) -> QueueState:
    """The queue as it stands; empty if there has never been one.

    Raises:
        StoreError: if the file is there and cannot be read.
    """
    path = _folder(root) / "state.json"
    try:
        given: Any = read_json_file(path, _LARGEST)
        return QueueState(given["slots"], [Job(**job) for job in given["jobs"]], given["runner"])
    except FileNotFoundError:
        return QueueState(slots=devices.side_by_side())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the queue {path} cannot be read ({error}); move it away to begin a new one") from error


def cancel(root: Path | str, jobs: Collection[str] | None = None) -> int:
    """Take jobs back: those that wait never begin, those that run are asked to stop with a checkpoint.

    Args:
        root: folder of all runs.
        jobs: ids of jobs or of batches; None is everything.

    Returns:
        How many jobs were open.
    """
    count = 0
    with changing(root) as state:
        for job in state.jobs:
            if job.state in OPEN and (jobs is None or job.id in jobs or job.batch in jobs):
                count += 1
                job.cancel = True
                if job.state == "pending":
                    job.state = "cancelled"
    if count:
        wake(root)
    return count


def retry(root: Path | str, jobs: Collection[str] | None = None) -> int:
    """Put jobs that failed, were stopped or cancelled back into the queue, at their old places.

    A run that left a checkpoint is gone on with; others begin anew, and what is left of them stays as it is.

    Args:
        root: folder of all runs.
        jobs: ids of jobs or of batches; None is every job that failed.

    Returns:
        How many wait again.
    """
    count = 0
    with changing(root) as state:
        for job in state.jobs:
            wanted = job.state == "failed" if jobs is None else job.id in jobs or job.batch in jobs
            if wanted and job.state in AGAIN:
                count += 1
                job.resumes, job.run = job.run or job.resumes, ""
                job.state, job.error, job.process, job.card = "pending", "", "", ""
                job.cancel = job.asked = False
                job.began_at = job.ended_at = 0.0
    if count:
        wake(root)
    return count


def clear(root: Path | str) -> int:
    """Forget jobs that have ended; their runs stay. Returns how many."""
    with changing(root) as state:
        before = len(state.jobs)
        state.jobs = [job for job in state.jobs if job.state in OPEN]
        return before - len(state.jobs)


def wake(root: Path | str) -> None:
    """See that a process works the queue off; a second one that is started leaves at once."""
    root = Path(root).resolve()
    log = queue_folder(root) / "runner.log"
    spawn(["queue", "--runs", str(root)], log, log)


@contextlib.contextmanager
def changing(root: Path | str) -> Iterator[QueueState]:
    """The queue, for a change: nobody else changes it meanwhile, and it is written only if it changed.

    Raises:
        StoreError: if the folder cannot be written, or another process holds the queue for long.
    """
    folder = queue_folder(root)
    with _writable(folder), locked(folder / "state.lock", _LOCK_SECONDS):
        state = queue_state(root)
        before = asdict(state)
        yield state
        ended = [job for job in state.jobs if job.state not in OPEN]
        forgotten = {job.id for job in ended[:-KEPT_ENDED]}
        state.jobs = [job for job in state.jobs if job.id not in forgotten]
        if (after := asdict(state)) != before:
            atomic_write(folder / "state.json", json.dumps(after))


def queue_folder(root: Path | str) -> Path:
    """The queue's own folder, made if missing.

    Raises:
        StoreError: if it cannot be made.
    """
    folder = _folder(root)
    with _writable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _folder(root: Path | str) -> Path:
    return Path(root) / ".queue"


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the queue folder {folder} cannot be written: {error.strerror or error}; choose another runs folder"
        ) from error


def job_folder(root: Path | str, job: Job) -> Path:
    """Where a job's worker puts what it says before its run has begun."""
    return _folder(root) / os.path.basename(job.id)
