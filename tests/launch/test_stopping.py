"""Stopping asks first, then signals, and signals nobody but the run's own worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cggm_core import launch
from cggm_core.errors import LaunchError, RunNotFoundError
from cggm_core.launch import stopping
from cggm_core.store import (
    Identity,
    create_run,
    identity_of,
    note_launch,
    open_reader,
    open_writer,
    own_identity,
    run_folder,
)
from cggm_core.store.identity import is_alive
from tests.support import workers
from tests.support.workers import info, until, until_step, writer_of

# Records a run as a worker does, and obeys nobody: no control.json, no signal short of the last.
DEAF = """
import signal, sys, time
from cggm_core.store import note_launch, open_writer, own_identity
from pathlib import Path
# A shell that starts its commands in the background has them ignore the interrupt, and Python inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in sys.argv[2].split():
    signal.signal(getattr(signal, name), signal.SIG_IGN)
folder = Path(sys.argv[1])
if sys.argv[3] == "worker":
    note_launch(folder, own_identity())
writer = open_writer(folder)
writer.state("running")
writer.flush()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def root(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(stopping, "SIGNAL_SECONDS", 0.5)
    with workers.swept(runs_root):
        yield runs_root


def test_stop_twice_and_stop_after_the_end(root: Path) -> None:
    run_id = launch.start(workers.endless(), root)
    until_step(root, run_id, 1)
    assert launch.stop(root, run_id, wait=False) in ("running", "stopped")
    assert launch.stop(root, run_id) == "stopped"
    assert launch.stop(root, run_id) == "stopped"
    kinds = [event.kind for event in open_reader(run_folder(root, run_id)).events()]
    assert "stop" in kinds
    assert (run_folder(root, run_id) / "checkpoint.pt").exists()


def test_a_run_that_was_stopped_while_it_was_starting_stops(root: Path) -> None:
    run_id = launch.start(workers.endless(), root)
    assert launch.stop(root, run_id, grace=60) == "stopped"


def test_a_halted_worker_takes_the_signal_and_writes_its_checkpoint(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(stopping, "SIGNAL_SECONDS", 20.0)
    run_id = launch.start(workers.endless(), root)
    until_step(root, run_id, 1)
    os.kill(writer_of(root, run_id).pid, signal.SIGSTOP)
    assert launch.stop(root, run_id, grace=0.3) == "stopped"


@pytest.mark.parametrize("ignored", ["", "SIGINT", "SIGINT SIGTERM"])
def test_signals_grow_until_the_worker_ends(root: Path, ignored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ignored:  # one that hears gets the time to leave, also on a busy machine
        monkeypatch.setattr(stopping, "SIGNAL_SECONDS", 30.0)
    with _deaf(root, ignored, "worker") as (run_id, process):
        assert launch.stop(root, run_id, grace=0.1) in ("stopped", "died", "failed")
        _ended(process)
        expected = {"": (1, -signal.SIGINT), "SIGINT": (-signal.SIGTERM,)}.get(ignored, (-signal.SIGKILL,))
        assert process.returncode in expected


def test_a_users_own_loop_is_asked_and_never_signalled(root: Path) -> None:
    with _deaf(root, "", "loop") as (run_id, process):
        with pytest.raises(LaunchError, match="no worker of the lab"):
            launch.stop(root, run_id, grace=0.1)
        assert process.poll() is None


def test_a_reused_process_id_is_never_signalled(root: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        there = identity_of(stranger.pid)
        assert there is not None
        for other in (
            replace(there, ticks=there.ticks - 1),
            replace(there, ticks=there.ticks + 1),
            replace(there, boot="another boot"),
        ):
            assert not is_alive(other)
            assert stopping.signal_process(other, signal.SIGKILL) is False
        time.sleep(0.1)
        assert stranger.poll() is None
        assert stopping.signal_process(there, signal.SIGTERM) is True
        assert stranger.wait(10) == -signal.SIGTERM
        assert stopping.signal_process(there, signal.SIGTERM) is False
    finally:
        stranger.kill()
        stranger.wait()


def test_a_run_whose_pid_went_to_a_stranger_is_dead_and_the_stranger_unharmed(root: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        there = identity_of(stranger.pid)
        assert there is not None
        run_id = create_run(root, workers.short().to_json())
        note_launch(run_folder(root, run_id), replace(there, ticks=there.ticks - 5))
        assert info(root, run_id).state == "died"
        assert launch.stop(root, run_id, grace=0.1) == "died"
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_forged_launch_note_signals_nobody(root: Path) -> None:
    """The note names another process than the one that writes: neither of them is touched."""
    run_id = create_run(root, workers.short().to_json())
    folder = run_folder(root, run_id)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    writer = open_writer(folder)
    try:
        writer.state("running")
        writer.flush()
        forged = identity_of(stranger.pid)
        assert forged is not None
        note_launch(folder, forged)
        with pytest.raises(LaunchError, match="no worker of the lab"):
            launch.stop(root, run_id, grace=0.1)
        assert stranger.poll() is None
        assert is_alive(own_identity())
    finally:
        writer.finish("stopped")
        stranger.kill()
        stranger.wait()


def test_a_process_of_another_machine_is_named_and_not_signalled() -> None:
    elsewhere = Identity(os.getpid(), own_identity().ticks, own_identity().boot, "another-machine")
    with pytest.raises(LaunchError, match="another-machine"):
        stopping.signal_process(elsewhere, signal.SIGTERM)


def test_an_unknown_run_cannot_be_stopped(root: Path) -> None:
    with pytest.raises(RunNotFoundError):
        launch.stop(root, "0" * 26)
    with pytest.raises(RunNotFoundError):
        launch.stop(root, "../escape")


def _ended(process: subprocess.Popen[str]) -> None:
    assert process.wait(10) is not None


class _deaf:
    """A process that records a run and does not listen."""

    def __init__(self, root: Path, ignored: str, kind: str) -> None:
        self.run_id = create_run(root, workers.short().to_json())
        arguments = [str(run_folder(root, self.run_id)), ignored, kind]
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEAF, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> tuple[str, subprocess.Popen[str]]:
        assert self.process.stdout is not None
        until(lambda: self.process.stdout is not None and self.process.stdout.readline().strip() == "ready")
        return self.run_id, self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
