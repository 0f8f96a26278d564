"""Files that are never seen half-written, and locks between processes."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cggm_core.errors import StoreError

if sys.platform != "win32":
    import fcntl


def atomic_write(path: Path, data: bytes | str, *, mode: int = 0o600) -> None:
    """Put `data` at `path` so that every reader sees the old file or the new one, also after a power cut.

    Raises:
        OSError: if the folder cannot be written; the old file is then untouched and nothing is left beside
        it.
    """
    content = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def try_lock(handle: int) -> bool:
    """Take the exclusive lock of an open file without waiting; False if another holds it.

    The lock goes with its process, however that ends. Where the system has no such lock this says True, and
    the caller must have another way to tell.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, timeout: float = 5.0) -> Iterator[int]:
    """Hold the lock file `path` (made if missing) for a short change; yields its handle.

    Raises:
        StoreError: if another process holds it for longer than `timeout` seconds.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while not try_lock(handle):
            if time.monotonic() > deadline:
                raise StoreError(f"{path.name} is held by another process for {timeout:g} s; try again")
            time.sleep(0.005)
        yield handle
    finally:
        os.close(handle)
