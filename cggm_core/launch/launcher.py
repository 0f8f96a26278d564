"""Starting, resuming and asking: how the app reaches a worker. Everything it learns stands on disk.

The run folder is made by the worker, after the configuration and the data were found sound, so a start that
fails leaves nothing behind.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cggm_core import catalog
from cggm_core.cards import Param, Value
from cggm_core.config import RunConfig
from cggm_core.errors import ConfigError, ControlError, LaunchError, StoreError
from cggm_core.launch.stopping import end, state_of
from cggm_core.launch.worker import Starting
from cggm_core.store import CHECKPOINT, CONFIG, ENDED, RunInfo, State, open_reader, run_folder, send
from cggm_core.store.control import Kind

START_SECONDS = 120.0
LEAVING_SECONDS = 5.0
_POLL_SECONDS = 0.02
PREFIX = "method."


def start(config: RunConfig, root: Path | str, *, timeout: float = START_SECONDS) -> str:
    """Train a configuration in a process of its own that outlives the caller.

    Args:
        config: of the run; a relative path of a data file is taken from the current folder.
        root: folder of all runs; made if missing.
        timeout: seconds the worker may take to load and check its data.

    Returns:
        The id of the run, once the worker has found everything sound and made its folder.

    Raises:
        LaunchError: with the worker's own sentence if it could not begin; nothing is left behind.
    """
    with tempfile.TemporaryDirectory(prefix="cggm-start-") as made:
        return _settled(Starting.train(config, Path(root).resolve(), Path(made)), timeout)


def resume(root: Path | str, run_id: str, *, timeout: float = START_SECONDS) -> str:
    """Go on with a run that stopped, failed or died, from its checkpoint.

    Args:
        root: folder of all runs.
        run_id: the run's whole id.
        timeout: as in `start`.

    Returns:
        The id of the run.

    Raises:
        LaunchError: if it is running, has finished, has no checkpoint, or the worker could not begin.
        RunNotFoundError: if there is no such run.
    """
    folder = run_folder(root, run_id)
    check_resumable(open_reader(folder).info(), folder)
    threads = saved_config(folder).training.threads
    with tempfile.TemporaryDirectory(prefix="cggm-start-") as made:
        return _settled(Starting.resume(run_id, Path(root).resolve(), Path(made), threads), timeout)


def check_resumable(info: RunInfo, folder: Path) -> None:
    """See that a run can be gone on with.

    Raises:
        LaunchError: saying why it cannot.
    """
    if info.damaged:
        raise LaunchError(f"run {info.id} cannot be resumed: {info.damaged}")
    state = _left(folder)
    if state not in ENDED:
        raise LaunchError(f"run {info.id} is {state}; stop it before resuming it")
    if info.state == "finished":
        raise LaunchError(f"run {info.id} has finished all its steps; start a new run for more")
    if not (folder / CHECKPOINT).exists():
        raise LaunchError(f"run {info.id} ended before its first checkpoint; start it anew")


def _left(folder: Path) -> State:
    """State of a run once a worker that has written its last word has left, which takes a moment."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while (state := state_of(folder)) == "starting" and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return state


def saved_config(folder: Path) -> RunConfig:
    """The configuration a run was made with.

    Raises:
        StoreError: if the file cannot be read.
        ConfigError: if it holds no configuration.
    """
    try:
        return RunConfig.from_json((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{folder / CONFIG} cannot be read: {error}") from error


def request(root: Path | str, run_id: str, kind: Kind, values: Mapping[str, Any] | None = None) -> int:
    """Ask a running worker for something; returns at once, the worker obeys between two steps.

    Args:
        root: folder of all runs.
        run_id: the run's whole id.
        kind: pause, resume, stop, set or snapshot.
        values: with `set`: knobs of the run's method and their new values, checked against its card.

    Returns:
        The number of the request.

    Raises:
        ControlError: if the run has ended or the request is malformed.
        ConfigError: for a knob that is unknown, out of range or fixed while training runs.
        RunNotFoundError: if there is no such run.
    """
    folder = run_folder(root, run_id)
    info, state = open_reader(folder).info(), state_of(folder)
    if state in ENDED:
        raise ControlError(f"run {run_id} is {state}; only a run that goes on takes requests")
    return send(folder, kind, checked_knobs(info.config, values or {}))


def checked_knobs(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Value]:
    """New values of a method's knobs in the knobs' own types; `method.rho` and `rho` are the same.

    Raises:
        ConfigError: for a knob that is unknown, out of range or fixed while training runs.
    """
    if not values:
        return {}
    card = catalog.card("method", str(config.get("method", "")))
    checked: dict[str, Value] = {}
    for given, value in values.items():
        knob: Param = card.param(given.removeprefix(PREFIX))
        if not knob.live:
            live = ", ".join(p.name for p in card.params if p.live) or "none"
            raise ConfigError(f"{knob.name} is fixed while training runs; knobs that may change: {live}")
        checked[knob.name] = knob.check(value)
    return checked


def _settled(starting: Starting, timeout: float) -> str:
    """Wait until a worker has said its run's id.

    Raises:
        LaunchError: if it ended before, or needs longer than `timeout`; it is then ended.
    """
    deadline = time.monotonic() + timeout
    while True:
        # Looked at before the output: what a process says before it ends is there when it is seen ended.
        alive = starting.alive()
        if run_id := starting.run_id():
            return run_id
        if not alive:
            raise LaunchError(starting.sentence())
        if time.monotonic() > deadline:
            if starting.who is not None:
                end(starting.who)
            raise LaunchError(f"the worker has not begun within {timeout:g} s and was ended; is the machine busy?")
        time.sleep(_POLL_SECONDS)
