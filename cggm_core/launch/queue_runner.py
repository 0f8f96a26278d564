"""The process that works a queue off: it starts workers as slots become free and notes what became of each.

It can be killed at any moment. Workers go on without it, and the next one finds them by what is on disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from cggm_core.config import RunConfig
from cggm_core.errors import CggmError
from cggm_core.launch import devices
from cggm_core.launch.launcher import check_resumable
from cggm_core.launch.queue import Job, QueueState, changing, job_folder, queue_folder
from cggm_core.launch.worker import Starting
from cggm_core.store import CHECKPOINT, Identity, open_reader, own_identity, run_folder, send
from cggm_core.store.files import try_lock

_POLL_SECONDS = 0.2


def work_off(root: Path) -> bool:
    """Run the queue of a folder until nothing is left; False at once if another process does.

    Args:
        root: folder of all runs.
    """
    root = root.resolve()
    handle = os.open(queue_folder(root) / "runner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not try_lock(handle):
            return False
        while True:
            with changing(root) as state:
                state.runner = own_identity().to_json()
                turn(state, root)
                if not state.count("pending") and not state.count("running"):
                    # Given up while the queue is still held: whoever adds a job now finds either us at work
                    # or the lock free.
                    os.close(handle)
                    handle, state.runner = -1, ""
                    return True
            time.sleep(_POLL_SECONDS)
    finally:
        if handle >= 0:
            os.close(handle)


def turn(state: QueueState, root: Path) -> None:
    """Look at what runs, then fill free slots."""
    for job in state.jobs:
        if job.state == "running":
            _look(job, root)
    there = devices.cards()
    for job in state.jobs:
        if job.state == "pending" and state.count("running") < state.slots:
            busy = [devices.card_of(_device(j), j.card, there) for j in state.jobs if j.state == "running"]
            job.card = devices.assigned(_device(job), busy, there)
            _begin(job, root)


def _device(job: Job) -> str:
    """What a job's configuration says of the device; the default where it says nothing."""
    training = job.config.get("training")
    return str(training.get("device", "auto")) if isinstance(training, dict) else "auto"


def _begin(job: Job, root: Path) -> None:
    folder = job_folder(root, job)
    try:
        if _finished_meanwhile(job, root):
            job.run = job.resumes
            _close(job, root, "done")
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        starting = _started(job, root, folder)
    except (CggmError, OSError) as error:
        _close(job, root, "failed", str(error))
        return
    job.state, job.began_at = "running", time.time()
    job.process = starting.who.to_json() if starting.who else ""


def _finished_meanwhile(job: Job, root: Path) -> bool:
    """Whether the run a job is to go on with was brought to its end by somebody else."""
    folder = run_folder(root, job.resumes) if job.resumes else None
    return folder is not None and folder.is_dir() and open_reader(folder).info().state == "finished"


def _started(job: Job, root: Path, folder: Path) -> Starting:
    """A worker that goes on with the job's run where it left a checkpoint, or begins it."""
    config = RunConfig.from_dict(job.config)
    earlier = run_folder(root, job.resumes) if job.resumes else None
    if earlier is None or not (earlier / CHECKPOINT).exists():
        job.resumes = ""
        return Starting.train(config, root, folder, job.card)
    check_resumable(open_reader(earlier).info(), earlier)
    return Starting.resume(job.resumes, root, folder, config.training.threads, job.card)


def _look(job: Job, root: Path) -> None:
    starting = Starting(job_folder(root, job), Identity.from_json(job.process))
    # Looked at before its output and its record, so that what it did last is seen.
    alive = starting.alive()
    job.run = job.run or starting.run_id()
    if not alive:
        _settle(job, root, starting)
    elif job.cancel and job.run and not job.asked:
        with contextlib.suppress(CggmError):
            folder = run_folder(root, job.run)
            # A worker that is starting drops what it finds, as it may have been meant for an earlier life.
            if open_reader(folder).info().state != "starting":
                send(folder, "stop")
                job.asked = True


def _settle(job: Job, root: Path, starting: Starting) -> None:
    """Write down how a worker that is gone ended."""
    if not job.run:
        _close(job, root, "cancelled" if job.cancel else "failed", "" if job.cancel else starting.sentence())
        return
    try:
        info = open_reader(run_folder(root, job.run)).info()
    except CggmError as error:
        _close(job, root, "failed", str(error))
        return
    if info.damaged:
        _close(job, root, "failed", info.damaged)
    elif info.state == "finished":
        _close(job, root, "done")
    elif info.state == "stopped":
        _close(job, root, "stopped")
    else:
        _close(job, root, "failed", info.reason or f"the run is {info.state} and its process is gone")


def _close(job: Job, root: Path, state: str, error: str = "") -> None:
    job.state, job.error, job.ended_at = state, error, time.time()  # type: ignore[assignment]
    shutil.rmtree(job_folder(root, job), ignore_errors=True)
