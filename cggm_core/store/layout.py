"""Run ids, and what lies where inside a run folder.

A run's id is ours and sorts by time of creation; a user's name for a run never becomes part of a path. Every
id that comes from outside passes `check_run_id` before it is joined to one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

from cggm_core.errors import RunNotFoundError, StoreError
from cggm_core.store.files import atomic_write, sync_folder
from cggm_core.store.identity import Identity

CONFIG, DATABASE, LOG = "config.json", "run.db", "worker.log"
CHECKPOINT, CONTROL, MARKS = "checkpoint.pt", "control.json", "marks.json"
LOCK, LAUNCH = "run.lock", "launch.json"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RUN_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_last_number = 0
_number_lock = threading.Lock()


def new_run_id() -> str:
    """A fresh id: 26 characters, 48 bits of milliseconds then 80 random bits, ascending within a process."""
    global _last_number
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    with _number_lock:
        # A clock that was set back, or two ids in one millisecond, must not change the order of creation.
        number = _last_number = number if number > _last_number else _last_number + 1
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))


def is_run_id(text: str) -> bool:
    """Whether the text has the form of a run id."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(text: str) -> str:
    """The text, if it has the form of a run id.

    Raises:
        RunNotFoundError: if it has not; it can then name no run.
    """
    if is_run_id(text):
        return text
    raise RunNotFoundError(f"{text[:80]!r} is not a run id; an id is 26 digits and capital letters")


def created_at(run_id: str) -> float:
    """Unix seconds of an id's creation."""
    number = 0
    for letter in check_run_id(run_id)[:10]:
        number = number << 5 | _ALPHABET.index(letter)
    return number / 1000


def run_folder(root: Path | str, run_id: str) -> Path:
    """Folder of a run; whether it exists is not asked.

    Raises:
        RunNotFoundError: if the id has not the form of one.
    """
    return Path(root) / check_run_id(run_id)


def create_run(root: Path | str, config_json: str) -> str:
    """Make a run folder (0700) that holds the configuration; it appears whole or not at all.

    Args:
        root: the existing folder of all runs.
        config_json: the configuration, a JSON object.

    Returns:
        The id of the run, which is the folder's name.

    Raises:
        StoreError: if the root is missing or cannot be written, or the text is no JSON object.
    """
    root = Path(root)
    _check_config(config_json)
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise StoreError(f"the runs folder {root} {found}; make it, or name another with --runs")
    run_id = new_run_id()
    made = root / f".new-{run_id}"
    try:
        made.mkdir(mode=0o700)
        atomic_write(made / CONFIG, config_json)
        made.rename(root / run_id)
    except OSError as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(made)
        raise StoreError(
            f"no run can be made in {root}: {error.strerror or error}; free space or choose a folder you may write"
        ) from error
    sync_folder(root)
    return run_id


def note_launch(folder: Path, who: Identity) -> None:
    """Leave in a run folder who is going to write it: whoever queues the run, then its worker.

    Until run.db appears, a reader shows the run as starting for as long as that process lives.

    Raises:
        OSError: if the folder cannot be written.
    """
    atomic_write(folder / LAUNCH, who.to_json())


def read_json_file(path: Path, limit: int = 8_000_000) -> object:
    """What a small JSON file holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not JSON, not UTF-8, nested too deeply or larger than `limit` bytes.
    """
    with open(path, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def stat_key(path: Path | str) -> tuple[int, int, int]:
    """(mtime in ns, size, inode) of a file, zeros if there is none; equal keys: not replaced, not written."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _check_config(config_json: str) -> None:
    try:
        sound = isinstance(json.loads(config_json), dict)
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise StoreError(f"a run's configuration must be a JSON object, found {config_json[:80]!r}")
