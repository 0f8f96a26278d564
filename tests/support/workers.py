"""Real runs for tests: short ones, endless ones, and waiting for what must come true."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cggm_core import launch
from cggm_core.config import RunConfig
from cggm_core.store import ENDED, Catalogue, Identity, RunInfo, is_alive, open_reader, run_folder

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
T = TypeVar("T")


def short(**settings: Any) -> RunConfig:
    """A run of a second: digits, joint training, a few steps."""
    return RunConfig().with_settings({"epochs": 1, "batch_size": 512, **settings})


def endless(**settings: Any) -> RunConfig:
    """A run that goes on until somebody ends it, with a checkpoint at every step."""
    return RunConfig().with_settings({"epochs": 100_000, "batch_size": 512, "checkpoint_seconds": 0.0, **settings})


def until(check: Callable[[], T], patience: float = PATIENCE) -> T:
    """Wait for something true; fails the test when it does not come."""
    deadline = time.monotonic() + patience
    while not (found := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {patience:g} s: {check}")
        time.sleep(0.03)
    return found


def info(root: Path, run_id: str) -> RunInfo:
    """A run as a fresh reader sees it."""
    folder = run_folder(root, run_id)
    return replace(open_reader(folder).info(), state=launch.state_of(folder))


def until_step(root: Path, run_id: str, step: int) -> None:
    """Wait until a step is recorded; a run that ends before fails the test with its reason."""

    def there() -> bool:
        seen = info(root, run_id)
        assert seen.state not in ENDED, f"{seen.state}: {seen.reason}"
        return seen.step >= step

    until(there)


def until_state(root: Path, run_id: str, *states: str) -> RunInfo:
    """Wait for one of these states."""

    def there() -> RunInfo | None:
        seen = info(root, run_id)
        assert seen.state in states or seen.state not in ENDED, f"{seen.state}: {seen.reason}"
        return seen if seen.state in states else None

    found = until(there)
    assert found is not None
    return found


def writer_of(root: Path, run_id: str) -> Identity:
    """The process that writes a run."""
    reader = open_reader(run_folder(root, run_id))
    reader.info()
    found = Identity.from_json(reader.recorded()[1])
    assert found is not None
    return found


def cli(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m cggm_core` as a person starts it."""
    return subprocess.run(
        [sys.executable, "-m", "cggm_core", *arguments],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        **{"cwd": PROJECT, "timeout": PATIENCE, **options},
    )  # fmt: skip


@contextlib.contextmanager
def swept(root: Path) -> Iterator[Path]:
    """Whatever still writes a run in this folder at the end of a test is killed: no test leaves a worker."""
    try:
        yield root
    finally:
        for run in Catalogue(root).runs():
            if run.state not in ENDED:
                with contextlib.suppress(AssertionError, ProcessLookupError):
                    who = writer_of(root, run.id)
                    if is_alive(who):
                        os.kill(who.pid, signal.SIGKILL)
