"""Stopping a run: by asking, then by signals, and never a process that is not the run's own.

A signal goes to a process only if pid, start time and boot are those the run recorded as its writer, and if
that process came into being as a worker of the lab: a user's own loop that records a run is asked, never
killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cggm_core.errors import CggmError, LaunchError
from cggm_core.store import (
    DATABASE,
    ENDED,
    Identity,
    State,
    is_alive,
    open_reader,
    own_identity,
    run_folder,
    send,
)
from cggm_core.store.identity import is_local
from cggm_core.store.layout import LAUNCH

GRACE_SECONDS = 30.0
SIGNAL_SECONDS = 5.0
_POLL_SECONDS = 0.05
_ESCALATION = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGKILL") if hasattr(signal, name))


def stop(root: Path | str, run_id: str, grace: float = GRACE_SECONDS, *, wait: bool = True) -> State:
    """Stop a run: it is asked to write a checkpoint and end; if it does not, signals of growing force follow.

    Stopping a run twice, or after it has ended, changes nothing.

    Args:
        root: folder of all runs.
        run_id: the run's whole id.
        grace: seconds it has after being asked; after each signal it has five more.
        wait: False asks, leaves the rest to a thread of the caller's process, and returns at once.

    Returns:
        The run's state when this returns.

    Raises:
        LaunchError: if it still runs in the end, or its process is not ours to signal.
        RunNotFoundError: if there is no such run.
    """
    folder = run_folder(root, run_id)
    if (state := state_of(folder)) in ENDED:
        return state
    if wait:
        return _see_through(folder, grace)
    threading.Thread(target=_see_through_quietly, args=(folder, grace), daemon=True).start()
    return state


def state_of(folder: Path) -> State:
    """How a run stands, and "starting" where a worker has it in hand that has not opened its store yet.

    A resumed run says how it ended until its new worker writes, which is seconds after it was started. A
    worker takes its note away when it leaves, so a note of a living process means that it is not done.
    """
    state = open_reader(folder).info().state
    if state not in ENDED or state == "finished":
        return state
    who = launched(folder)
    return "starting" if who is not None and is_alive(who) else state


def launched(folder: Path) -> Identity | None:
    """The worker that was last started for a run; None if it has left, or there has been none."""
    try:
        return Identity.from_json((folder / LAUNCH).read_text("utf-8", "replace"))
    except OSError:
        return None


def take_note_away(folder: Path) -> None:
    """The calling worker is done with a run; without a run.db the note stays, as nothing else names it."""
    if (folder / DATABASE).exists() and launched(folder) == own_identity():
        with contextlib.suppress(OSError):
            (folder / LAUNCH).unlink()


def owner(folder: Path) -> Identity | None:
    """The worker that writes a run, or is about to; None if nobody does or it is not a worker of the lab."""
    who = launched(folder)
    reader = open_reader(folder)
    reader.info()
    recorded = Identity.from_json(reader.recorded()[1])
    return who if recorded in (None, who) else None


def signal_process(who: Identity, number: int) -> bool:
    """Send a signal to that very process; False if it is gone.

    Raises:
        LaunchError: if it runs on another machine, or belongs to another user.
    """
    if not is_local(who):
        raise LaunchError(f"process {who.pid} runs on {who.host}, not on this machine; stop the run there")
    try:
        with _held(who.pid) as handle:
            # Held first, then compared: from here on the number cannot pass to a stranger.
            if not is_alive(who):
                return False
            _send(handle, who.pid, number)
            if hasattr(signal, "SIGCONT"):
                # A process that was halted takes the signal only when it goes on.
                _send(handle, who.pid, signal.SIGCONT)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise LaunchError(f"process {who.pid} belongs to another user; stop the run as that user") from error
    return True


def end(who: Identity) -> None:
    """End a worker that has not begun its run and therefore has nothing to lose."""
    with contextlib.suppress(LaunchError):
        signal_process(who, _ESCALATION[-1])


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int]:
    """A handle that names this process and no later one of the same number; -1 where the system has none."""
    if not hasattr(os, "pidfd_open"):
        yield -1
        return
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def _send(handle: int, pid: int, number: int) -> None:
    if handle >= 0:
        signal.pidfd_send_signal(handle, number)
    else:
        os.kill(pid, number)


def _see_through(folder: Path, grace: float) -> State:
    send(folder, "stop")
    if (state := _ended_within(folder, grace)) is not None:
        return state
    for number in _ESCALATION:
        who = owner(folder)
        if who is None:
            raise LaunchError(
                f"run {folder.name} was asked to stop and goes on; its process is no worker of the lab, "
                "end it where you started it"
            )
        signal_process(who, number)
        if (state := _ended_within(folder, SIGNAL_SECONDS)) is not None:
            return state
    raise LaunchError(f"run {folder.name} goes on after every signal; its process may hang in a driver")


def _see_through_quietly(folder: Path, grace: float) -> None:
    # The page has returned long ago; what came of it is the run's state, which it shows anyway.
    with contextlib.suppress(CggmError):
        _see_through(folder, grace)


def _ended_within(folder: Path, seconds: float) -> State | None:
    deadline = time.monotonic() + seconds
    starting = False
    while True:
        state = state_of(folder)
        if state in ENDED:
            return state
        if starting and state != "starting":
            # A worker drops the requests that were there before it: they may have been for an earlier life.
            send(folder, "stop")
        starting = state == "starting"
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_SECONDS)
