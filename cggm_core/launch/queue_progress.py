"""How far a queue has come and how long it will still take; nothing here changes anything."""

from __future__ import annotations

import contextlib
import heapq
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cggm_core.errors import CggmError
from cggm_core.launch.queue import OPEN, Job, QueueState
from cggm_core.store import open_reader, run_folder

# Below this share of its steps a run's own speed says more about its start than about its steps.
_TELLING = 0.05


@dataclass(frozen=True)
class Going:
    """A job that trains.

    Attributes:
        seconds: since it began.
        share: of its steps that are done, from 0 to 1.
        resumed: whether some of that share was done before it began.
    """

    seconds: float
    share: float
    resumed: bool = False


@dataclass(frozen=True)
class Progress:
    """Of the batches in which something is still to do.

    Attributes:
        jobs: in those batches, cancelled ones left out.
        ended: of them, in whatever way.
        share: done, from 0 to 1, running jobs counted by their steps.
        seconds: left, by the time that finished and running jobs of these batches took; NaN while nothing tells.
        shares: of steps done, by the id of a running job.
    """

    jobs: int
    ended: int
    share: float
    seconds: float
    shares: Mapping[str, float]


def progress(state: QueueState, root: Path | str, now: float | None = None) -> Progress:
    """How far the queue has come.

    Args:
        state: of the queue.
        root: folder of all runs, where running jobs' steps are looked up.
        now: Unix seconds; None takes the clock.
    """
    now = time.time() if now is None else now
    batches = {job.batch for job in state.jobs if job.state in OPEN}
    jobs = [job for job in state.jobs if job.batch in batches and job.state != "cancelled"]
    running = {job.id: _going(job, root, now) for job in jobs if job.state == "running"}
    ended = sum(job.state not in OPEN for job in jobs)
    took = [job.ended_at - job.began_at for job in jobs if job.state == "done" and not job.resumes]
    share = (ended + sum(one.share for one in running.values())) / len(jobs) if jobs else 1.0
    pending = sum(job.state == "pending" for job in jobs)
    left = time_left(list(running.values()), pending, [t for t in took if t > 0], state.slots)
    return Progress(len(jobs), ended, share, left, {name: one.share for name, one in running.items()})


def time_left(running: Sequence[Going], pending: int, finished: Sequence[float], slots: int) -> float:
    """Seconds until everything has ended; NaN while nothing tells how long a job takes.

    A job takes as long as the finished ones took on average, or, while none has finished, as the running ones will by
    their own speed. A running job ends at its own speed once that tells. Those that wait then fill the slots in turn.

    Args:
        running: jobs that train.
        pending: jobs that wait.
        finished: seconds that each finished job took.
        slots: jobs side by side, 1 or more.
    """
    if not running and not pending:
        return 0.0
    own = [one.seconds / one.share for one in running if one.share >= _TELLING and not one.resumed]
    typical = statistics.fmean(finished or own) if finished or own else math.nan
    busy = []
    for one in running:
        if one.share >= _TELLING and not one.resumed:
            busy.append(one.seconds * (1 - one.share) / one.share)
        else:
            busy.append(typical * (1 - one.share) if one.resumed else max(typical - one.seconds, 0.0))
    if any(map(math.isnan, busy)) or (pending and math.isnan(typical)):
        return math.nan
    ends = busy + [0.0] * (slots - len(busy))
    heapq.heapify(ends)
    for _ in range(pending):
        heapq.heapreplace(ends, ends[0] + typical)
    return max(ends)


def duration(seconds: float) -> str:
    """A time in words short enough for a button: "40 s", "12 min", "3.5 h"; "" where it is not known."""
    if math.isnan(seconds):
        return ""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _going(job: Job, root: Path | str, now: float) -> Going:
    share = 0.0
    if job.run:
        # A run that cannot be read just now tells nothing; what is wrong with it, the runner will say.
        with contextlib.suppress(CggmError):
            info = open_reader(run_folder(root, job.run)).info()
            share = min(1.0, (info.step + 1) / info.steps) if info.steps > 0 else 0.0
    return Going(max(0.0, now - job.began_at), share, bool(job.resumes))
