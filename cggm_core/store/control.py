"""The app's only way to speak to a worker: a numbered list of requests in `control.json`.

The app appends under a lock and replaces the file; the worker looks at one `stat` between steps and never
writes. Numbers only grow, so a worker that resumes says which it has handled and gets the rest.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cggm_core.errors import ControlError, RunNotFoundError
from cggm_core.store.files import atomic_write, locked
from cggm_core.store.layout import CONTROL, read_json_file, stat_key

Kind = Literal["pause", "resume", "stop", "set", "snapshot", "contributions"]
KINDS: tuple[str, ...] = get_args(Kind)
KEPT = 1000
LARGEST = 1_000_000


@dataclass(frozen=True)
class Request:
    """One wish of the app.

    Attributes:
        number: from 1, growing by one.
        kind: pause, resume, stop (with a checkpoint), set (knobs), snapshot (of gradients, now),
            contributions (a full look at the probe set, now).
        values: for `set` the knobs and their new values; empty otherwise.
    """

    number: int
    kind: Kind
    values: Mapping[str, Any] = field(default_factory=dict)


def send(run_folder: Path | str, kind: Kind, values: Mapping[str, Any] | None = None) -> int:
    """Append a request; safe while other sessions send and the worker reads.

    Args:
        run_folder: folder of the run.
        kind: what the worker shall do.
        values: with `set` only: knob to number, text or truth value.

    Returns:
        The request's number.

    Raises:
        ControlError: if the request is malformed, or the file cannot be written.
        RunNotFoundError: if the folder is gone.
    """
    folder = Path(run_folder)
    checked = _check(kind, dict(values or {}))
    if not folder.is_dir():
        raise RunNotFoundError(f"there is no run folder {folder}; it may have been moved to the trash")
    try:
        with locked(folder / f".{CONTROL}.lock") as handle:
            try:
                requests = _read(folder / CONTROL)
            except (OSError, ValueError):
                requests = []
            # The lock file remembers the number, so that a broken list cannot make numbers start again.
            counted = os.pread(handle, 20, 0).strip()
            last = max([r.number for r in requests] + [int(counted) if counted.isdigit() else 0])
            requests = [*requests[1 - KEPT :], Request(last + 1, kind, checked)]
            os.pwrite(handle, b"%-20d" % (last + 1), 0)
            atomic_write(folder / CONTROL, json.dumps({"requests": [asdict(r) for r in requests]}))
    except OSError as error:
        raise ControlError(f"run {folder.name} cannot be reached: {error.strerror or error}") from error
    return last + 1


class ControlInbox:
    """The worker's end: requests not yet handled, at the price of one `stat` a look when there are none.

    Args:
        run_folder: folder of the run.
        after: number of the last request already handled, from the checkpoint of a resumed run.
    """

    def __init__(self, run_folder: Path | str, after: int = 0) -> None:
        self.handled = after
        self._path = Path(run_folder) / CONTROL
        self._seen = (0, 0, 0)
        self._problem = ""

    def poll(self) -> tuple[Request, ...]:
        """New requests in order, each handed out once; nothing, and never an error, for a broken file."""
        key = stat_key(self._path)
        if key == self._seen:
            return ()
        self._seen = key
        if key == (0, 0, 0):
            return ()
        try:
            found = tuple(r for r in _read(self._path) if r.number > self.handled)
        except (OSError, ValueError) as error:
            self._problem = f"{CONTROL} cannot be read and is ignored until it changes: {error}"
            return ()
        if found:
            self.handled = found[-1].number
        return found

    def take_problem(self) -> str:
        """What was wrong with the file, in words, once; "" if nothing was."""
        problem, self._problem = self._problem, ""
        return problem


def _read(path: Path) -> list[Request]:
    """Requests of a file, ascending.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if anything in it is not as `send` writes it.
    """
    given = read_json_file(path, LARGEST)
    listed = given.get("requests") if isinstance(given, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it holds no list of requests")
    requests: list[Request] = []
    for entry in listed:
        if not isinstance(entry, dict) or type(entry.get("number")) is not int:
            raise ValueError(f"a request has no number: {entry!r:.80}")
        if requests and entry["number"] <= requests[-1].number:
            raise ValueError(f"request {entry['number']} follows request {requests[-1].number}")
        try:
            values = _check(entry.get("kind"), entry.get("values", {}))
        except ControlError as error:
            raise ValueError(f"request {entry['number']}: {error}") from error
        requests.append(Request(entry["number"], entry["kind"], values))
    return requests


def _check(kind: object, values: object) -> dict[str, Any]:
    if kind not in KINDS:
        raise ControlError(f"a request is one of {', '.join(KINDS)}, not {kind!r:.80}")
    if not isinstance(values, dict) or not all(isinstance(knob, str) and len(knob) <= 200 for knob in values):
        raise ControlError(f"values of a request are an object of knobs, found {values!r:.80}")
    if (kind == "set") != bool(values):
        raise ControlError(f"{kind} takes {'at least one knob' if kind == 'set' else 'no values'}")
    for knob, value in values.items():
        plain = isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= 1000)
        if not plain and not (isinstance(value, float) and math.isfinite(value)):
            raise ControlError(f"{knob[:80]} must be a finite number, a short text or a truth value, not {value!r:.80}")
    return values
