"""Taking runs away: to the trash of their root, back, and for good; nothing outside the root is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from cggm_core.errors import RunNotFoundError, StoreError, WriterConflictError
from cggm_core.store.files import try_lock
from cggm_core.store.layout import LOCK, check_run_id, is_run_id

TRASH = ".trash"


def trash(root: Path | str, run_id: str) -> None:
    """Move a run into the trash.

    Raises:
        RunNotFoundError: if there is no such run.
        WriterConflictError: if a worker still writes it.
        StoreError: if the folder cannot be moved.
    """
    source = _existing(Path(root) / check_run_id(run_id))
    if _is_written(source):
        raise WriterConflictError(f"run {run_id} is still being written; stop it first, then delete it")
    _move(source, _trash_folder(Path(root), make=True) / run_id)


def restore(root: Path | str, run_id: str) -> None:
    """Move a run back out of the trash.

    Raises:
        RunNotFoundError: if the trash does not hold it.
        StoreError: if a run of that id is there already, or the folder cannot be moved.
    """
    _move(_existing(_trash_folder(Path(root)) / check_run_id(run_id)), Path(root) / run_id)


def delete(root: Path | str, run_id: str) -> None:
    """Remove a run in the trash for good; links inside it are removed, what they point at is not.

    Raises:
        RunNotFoundError: if the trash does not hold it.
        StoreError: if something of it cannot be removed.
    """
    folder = _existing(_trash_folder(Path(root)) / check_run_id(run_id))
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StoreError(f"run {run_id} cannot be removed: {error.strerror or error}") from error


def trashed(root: Path | str) -> tuple[str, ...]:
    """Ids of the runs in the trash, newest first."""
    try:
        names = os.listdir(_trash_folder(Path(root)))
    except (OSError, RunNotFoundError):
        return ()
    return tuple(sorted((name for name in names if is_run_id(name)), reverse=True))


def _trash_folder(root: Path, *, make: bool = False) -> Path:
    folder = root / TRASH
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link and would lead out of the runs folder; replace it by a folder")
    if make:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the trash {folder} cannot be made: {error.strerror or error}") from error
    return folder


def _existing(folder: Path) -> Path:
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link to somewhere else; remove the link by hand")
    if not folder.is_dir():
        raise RunNotFoundError(f"there is no run {folder.name} in {folder.parent}")
    return folder


def _is_written(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        handle = os.open(folder / LOCK, os.O_RDONLY)
        try:
            return not try_lock(handle)
        finally:
            os.close(handle)
    return False


def _move(source: Path, target: Path) -> None:
    if target.exists():
        raise StoreError(f"{target} is there already; move it away first")
    try:
        source.rename(target)
    except OSError as error:
        raise StoreError(f"run {source.name} cannot be moved: {error.strerror or error}") from error
