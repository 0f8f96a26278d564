"""The run of a watched loop: its folder, its requests from the app, and its end, also where nobody says it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import platform
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from cggm_core import catalog
from cggm_core.cards import MethodCard, Value
from cggm_core.config import NAME_LENGTH, clean_text
from cggm_core.errors import CapabilityError, CggmError, ConfigError, StoreError
from cggm_core.protocols.method import BalanceMethod
from cggm_core.store import ControlInbox, RunWriter, create_run, open_writer, run_folder

LOG = logging.getLogger("cggm_core.watch")
_PAUSE_LOOK = 0.1
End = Literal["finished", "stopped", "failed"]


class Open(Protocol):
    """A watch that has not ended."""

    run_id: str

    def end(self, state: End, reason: str) -> None:
        """End it."""

    def forked(self) -> None:
        """This is a forked child: fall silent."""


class Requests:
    """What the app asks of a loop that is not ours: pause, go on, change a knob; a stop is passed on.

    Of several processes that train together only the one that records hears it; there a stop is refused.

    Args:
        folder: of the run.
        writer: of the run.
        card: of the method that balances, or None.
        method: the method itself, or None.
    """

    def __init__(self, folder: Path, writer: RunWriter, card: MethodCard | None, method: BalanceMethod | None) -> None:
        self.snapshot: Callable[[], None] | None = None  # asks for one; None where none can be taken
        self._inbox = ControlInbox(folder)
        self._writer, self._card, self._method = writer, card, method
        self._paused = False
        self.stop = False

    def answer(self, step: int) -> None:
        """Meet what was asked since the last look; holds the loop here while it is paused."""
        self._poll(step)
        if self._paused:
            self._writer.state("paused")
            while self._paused and not self.stop:
                time.sleep(_PAUSE_LOOK)
                self._poll(step)
            self._writer.state("running")

    def _poll(self, step: int) -> None:
        for request in self._inbox.poll():
            text, data = self._do(request.kind, request.values)
            self._writer.event(step, request.kind, text, {**data, "request": request.number})
        if problem := self._inbox.take_problem():
            self._writer.event(step, "warning", problem)

    def _do(self, kind: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        match kind:
            case "pause":
                self._paused = True
                alone = place_among_processes()[1] == 1
                return "paused" if alone else "paused; the other processes wait for this one until they time out", {}
            case "resume":
                self._paused = False
                return "resumed", {}
            case "stop":
                if (world := place_among_processes()[1]) > 1:
                    # One of several that leaves the loop lets the others wait for it for good.
                    why_not = f"{world} processes train together and only this one hears the app"
                    return f"refused: {why_not}; stop them where they were started", {}
                self.stop = True
                return "stop requested; the loop ends where it looks at watch.stop_requested", {}
            case "snapshot":
                if self.snapshot is None:
                    return "refused: a true unimodal gradient needs the model's fusion; the loop gave no fuse=", {}
                self.snapshot()
                return "gradient snapshot requested", {}
        done: dict[str, Any] = {}
        words = []
        for name, value in values.items():
            try:
                done[name] = self._set(name, value)
                words.append(f"{name} \u2192 {done[name]}")
            except CggmError as error:
                words.append(f"refused: {error}")
        return "; ".join(words), done

    def _set(self, name: str, value: object) -> Value:
        if self._card is None or self._method is None:
            raise CapabilityError("this loop is only watched; nothing can be set")
        param = self._card.param(name)
        if not param.live:
            raise CapabilityError(f"{name} cannot change while training runs")
        checked = param.check(value)
        self._method.set_knob(name, checked)
        return checked


def place_among_processes() -> tuple[int, int]:
    """Rank of this process and how many train together."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if there else (0, 1)


def make_run(runs: str | os.PathLike[str] | None, config: Mapping[str, Any]) -> tuple[Path, RunWriter]:
    """A folder for the run, with its writer.

    Args:
        runs: folder of all runs; None is `$CGGM_RUNS`, else `runs/` here. Made if missing.
        config: as JSON types; its `name` is cleaned.

    Raises:
        ConfigError: for settings JSON cannot hold.
        StoreError: if it cannot be written.
    """
    root = Path(runs if runs is not None else os.environ.get("CGGM_RUNS") or "runs").expanduser().absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the runs folder {root} cannot be made: {error.strerror or error}; give runs=") from error
    try:
        text = json.dumps({**config, "name": clean_text(str(config.get("name", "")), NAME_LENGTH)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings hold something that JSON cannot: {error}; give numbers, text, lists") from error
    folder = run_folder(root, create_run(root, text))
    return folder, open_writer(folder)


def described(device: torch.device) -> dict[str, Any]:
    """Where a loop computes, for the run's start event."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": str(device), "processor": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(),
    }  # fmt: skip


def balancing(
    name: str | None, preset: str, knobs: Mapping[str, Value], task: str, modalities: int, offered: frozenset[str]
) -> tuple[MethodCard | None, str, BalanceMethod | None]:  # fmt: skip
    """The method a watch is to balance with, if it needs no more than the loop offers.

    Args:
        name: of a card; None looks only.
        preset: of the card; "" takes its first.
        knobs: values that leave the preset.
        task: its name; "" where it is not told.
        modalities: how many.
        offered: capabilities of the loop.

    Returns:
        Card, preset and method; None, "" and None where nothing balances.

    Raises:
        CapabilityError: saying what is missing and what would unlock it.
        ConfigError: for an unknown method, preset or knob.
    """
    if name is None:
        return None, "", None
    card: MethodCard = catalog.card("method", name)
    preset = preset or (card.presets[0].name if card.presets else "")
    low, high = card.modalities
    if modalities < low or (high is not None and modalities > high):
        raise CapabilityError(
            f"{card.title} works with {low} to {high or 'any number of'} modalities, not {modalities}"
        )
    if task and task not in card.tasks:
        raise CapabilityError(f"{card.title} is not sound for {task}; it is for: {', '.join(card.tasks)}")
    if missing := sorted(set(card.requires) - offered):
        unlock = [word for need, word in _UNLOCKS.items() if need in missing]
        how = f"give {unlock[-1]}" if set(missing) <= set(_UNLOCKS) else "train with the lab's own trainer for it"
        raise CapabilityError(f"{card.title} needs {', '.join(missing)}, which this loop does not offer; {how}")
    kind = catalog.load("method", name, BalanceMethod)
    changed = [hook for hook in _LOOPS_OWN if hook in vars(kind)]
    if changed:
        raise CapabilityError(
            f"{card.title} changes what the loop does itself ({', '.join(changed)}), which a watch cannot; train "
            "with the lab's own trainer for it"
        )
    return card, preset, kind(**card.resolve(dict(knobs), preset))


_UNLOCKS = {"unimodal_scores": "task=", "head_gradients": "head= and task=", "subset_forward": "fuse=, head= and task="}
# Moments of a step at which the loop is inside its own code.
_LOOPS_OWN = ("on_features", "on_logits", "backward", "update", "rate_factors", "predict", "modules")

_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()


def opened(watch: Open, shares: Callable[[Any], bool]) -> None:
    """Remember an open watch; one that watches the same modules is ended first (a notebook's cell run again)."""
    for other in list(_OPEN):
        if shares(other):
            LOG.warning("run %s was still open and is stopped: its encoders are watched anew", other.run_id)
            other.end("stopped", "its encoders were watched anew before close() was called")
    _OPEN.add(watch)


def ended(watch: Open) -> None:
    """Forget a watch that has ended."""
    _OPEN.discard(watch)


def why(error: BaseException) -> tuple[End, str]:
    """How a run ends by an exception."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    if isinstance(error, SystemExit):
        return "stopped", f"the program exited ({error.code})"
    return "failed", f"{type(error).__name__}: {error}"[:2000]


def _end_all() -> None:
    """The interpreter exits with watches open: keep everything, and say what happened."""
    # In a session that goes on after an error, the last one may have been about anything.
    died = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    for watch in list(_OPEN):
        state, reason = why(died) if died is not None else ("stopped", "the program ended without watch.close()")
        if died is None:
            LOG.warning("run %s was never closed and is stopped now; call watch.close(), or use 'with'", watch.run_id)
        watch.end(state, reason)


def _fall_silent() -> None:
    for watch in list(_OPEN):
        watch.forked()
    _OPEN.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fall_silent)
