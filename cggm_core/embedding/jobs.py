"""Maps made in a process of their own, kept on disk by content: asked for twice, computed once.

Everything lies in `.maps` inside the runs folder. A kept map carries a checksum; one that is damaged is taken away and
made again. The newest 200 are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from cggm_core.embedding.gradients import FloatArray
from cggm_core.embedding.project import Method
from cggm_core.errors import StoreError
from cggm_core.store import Identity, identity_of, is_alive
from cggm_core.store.files import atomic_write

FOLDER = ".maps"
KEPT = 200
_ABANDONED = 86_400.0  # seconds after which a request is nobody's any more: a map takes minutes
_WORKER = "cggm_core.embedding.worker"
_FORM = 1  # raised when the same request would give another map
_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Status:
    """How far a map is.

    Attributes:
        state: absent (never asked for, or cancelled), working, ready or failed.
        stage: what is being done, or why it failed.
        done: 0 to 1.
    """

    state: Literal["absent", "working", "ready", "failed"]
    stage: str = ""
    done: float = 0.0


def key_of(vectors: NDArray[np.float32], method: Method, seed: int) -> str:
    """Name of a map: a digest of everything that decides it, the libraries' versions included."""
    said = [_FORM, method, seed, vectors.shape, str(vectors.dtype), *map(_version, ("numpy", "scikit-learn"))]
    if method == "umap":
        said.append(_version("umap-learn"))
    digest = hashlib.sha256(repr(said).encode())
    digest.update(np.ascontiguousarray(vectors).tobytes())
    return digest.hexdigest()[:32]


def start(root: Path, vectors: NDArray[np.float32], method: Method, *, seed: int = 0) -> str:
    """Have a map made, unless it is kept or being made; returns its key at once.

    Raises:
        StoreError: if the folder of maps cannot be written, or is no folder of ours.
    """
    key = key_of(vectors, method, seed)
    if look(root, key).state in ("ready", "working"):
        return key
    folder = _folder(root)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        file = io.BytesIO()
        np.savez(file, vectors=vectors, method=np.str_(method), seed=np.int64(seed))
        atomic_write(folder / f"{key}.in", file.getvalue())
        (folder / f"{key}.told").unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-m", _WORKER, str(folder), key],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=_environment(folder), cwd=folder,
        )  # fmt: skip
        tell(folder, key, "starting", 0.0, identity_of(child.pid))
    except OSError as error:
        raise StoreError(f"no map can be made in {folder}: {error.strerror or error}; free space") from error
    # Someone has to ask for the exit code, or a dead child stays in the process table for the app's life.
    threading.Thread(target=child.wait, name=f"reaper of {child.pid}", daemon=True).start()
    _prune(folder)
    return key


def look(root: Path, key: str) -> Status:
    """How far a map is; a process that ended without a word counts as failed."""
    folder = _folder(root)
    if (folder / f"{key}.map").exists() and load(root, key) is not None:
        return Status("ready", "done", 1.0)
    told = _told(folder, key)
    if told is None:
        return Status("absent")
    if error := told.get("error"):
        return Status("failed", str(error))
    who = Identity.from_json(json.dumps(told.get("who")))
    if who is None or not is_alive(who):
        if (folder / f"{key}.map").exists() and load(root, key) is not None:
            return Status("ready", "done", 1.0)
        return Status("failed", "the process that made the map ended before it was done; try again")
    return Status("working", str(told.get("stage", "")), float(str(told.get("done", 0.0))))


def load(root: Path, key: str) -> FloatArray | None:
    """Points `[n, 2]` of a kept map; None where there is none. A damaged one is removed."""
    path = _folder(root) / f"{key}.map"
    try:
        raw = path.read_bytes()
        if hashlib.sha256(raw[32:]).digest() != raw[:32]:
            raise ValueError("checksum")
        points: FloatArray = np.load(io.BytesIO(raw[32:]), allow_pickle=False)
        return points
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def keep(folder: Path, key: str, points: FloatArray) -> None:
    """Put a map where `load` finds it; for the process that made it."""
    file = io.BytesIO()
    np.save(file, points, allow_pickle=False)
    atomic_write(folder / f"{key}.map", hashlib.sha256(file.getvalue()).digest() + file.getvalue())


def cancel(root: Path, key: str) -> None:
    """End the process that makes a map, and forget the request."""
    folder = _folder(root)
    told = _told(folder, key) or {}
    who = Identity.from_json(json.dumps(told.get("who")))
    if who is not None and is_alive(who):
        asked = _end_maker(who, key)
        deadline = time.monotonic() + 5
        while asked and is_alive(who) and time.monotonic() < deadline:
            time.sleep(0.01)
    for end in ("told", "in"):
        (folder / f"{key}.{end}").unlink(missing_ok=True)


def _end_maker(who: Identity, key: str) -> bool:
    """Ask the process to end if it makes that map; a file in a runs folder may name any process."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(who.pid)  # knows its start, and signals no later process of the same number
        if is_alive(who) and process.cmdline()[1:3] == ["-m", _WORKER] and process.cmdline()[-1] == key:
            process.terminate()
            return True
    return False


def tell(folder: Path, key: str, stage: str, done: float, who: Identity | None, error: str = "") -> None:
    """Say how far a map is; for the process that makes it.

    Raises:
        OSError: if the folder cannot be written.
    """
    said = {"stage": stage, "done": done, "error": error, "who": json.loads(who.to_json()) if who else None}
    atomic_write(folder / f"{key}.told", json.dumps(said))


def _told(folder: Path, key: str) -> dict[str, object] | None:
    try:
        found = json.loads((folder / f"{key}.told").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _folder(root: Path) -> Path:
    """The folder of maps.

    Raises:
        StoreError: if somebody put a link there, which may lead out of the runs folder.
    """
    folder = root / FOLDER
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link and not a folder; remove it: maps stay inside the runs folder")
    return folder


def _prune(folder: Path) -> None:
    """Remove the oldest maps beyond the newest `KEPT`, and old requests; only files of the form we write."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*.in"):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink(missing_ok=True)
        maps = sorted(folder.glob("*.map"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in maps[KEPT:]:
            if len(path.stem) == 32 and all(c in "0123456789abcdef" for c in path.stem):
                path.unlink(missing_ok=True)
                path.with_suffix(".told").unlink(missing_ok=True)


def _environment(folder: Path) -> dict[str, str]:
    """What the process may know: enough to find its libraries; numba compiles into the runs folder."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "TEMP", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    made = {name: os.environ[name] for name in kept if name in os.environ}
    # Two threads that spin on busy cores made a map ten times slower than one did.
    made = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2))} | made
    return made | {"PYTHONPATH": str(_PACKAGE), "NUMBA_CACHE_DIR": str(folder / "compiled"), "PYTHONSAFEPATH": "1"}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
