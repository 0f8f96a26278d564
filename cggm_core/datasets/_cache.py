"""Where prepared data are kept, so that a second run need not prepare them again; never beside the user's files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cggm_core.errors import DataError

_ABANDONED = 86_400.0  # seconds after which a folder that was begun and never finished is swept away


def cache_folder() -> Path:
    """`$CGGM_CACHE`, else the folder that the system has for such things."""
    if named := os.environ.get("CGGM_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "cggm-lab"


def key_of(files: Iterable[Path], options: Any) -> str:
    """24 hexadecimal digits over paths, sizes and times of change of the files, and what is done with them."""
    found = []
    for path in files:
        stat = path.stat()
        found.append((str(path.absolute()), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps([sorted(found), options], sort_keys=True).encode()).hexdigest()[:24]


def cached(shown: str, kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of that key, made if it is not there; whole or not there at all, whoever else makes it meanwhile.

    Args:
        shown: the data's name in messages.
        kind: of data, the folder above.
        key: from `key_of`.
        make: fills an empty folder.

    Raises:
        DataError: if the cache cannot be written, or as `make` does; nothing half made is left.
    """
    final = cache_folder() / kind / key
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        part = Path(tempfile.mkdtemp(prefix=f"{key}.", suffix=".part", dir=final.parent))
    except OSError as error:
        raise _unwritable(shown, final.parent, error) from error
    try:
        make(part)
        for path in part.iterdir():  # a rename may reach the disk before what it renames
            with path.open("rb") as file:
                os.fsync(file.fileno())
        try:
            part.rename(final)
        except OSError:
            if not final.is_dir():  # else another process was faster, and made the same
                raise
    except OSError as error:
        raise _unwritable(shown, final.parent, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _unwritable(shown: str, folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{shown}: its prepared slices cannot be kept in {str(folder)!r} ({error.strerror or error}); make room there, "
        "or name another folder in CGGM_CACHE"
    )


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed left half made."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):  # whoever made it may finish just now
            if time.time() - part.stat().st_mtime > _ABANDONED:
                shutil.rmtree(part, ignore_errors=True)
