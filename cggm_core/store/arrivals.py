"""Whatever a user brings, taken in as runs, all of it or nothing: an archive of runs, or event files of TensorBoard."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from cggm_core.errors import StoreError
from cggm_core.store import unbundle
from cggm_core.store.bundle import MANIFEST, staging
from cggm_core.store.files import locked
from cggm_core.store.tensorboard_import import EventFile, make_run
from cggm_core.store.unbundle import LOCK, MOST_BYTES, MOST_RUNS, check_run, move_in, refused

EVENT_FILE = "tfevents"  # in the name of every event file; TensorBoard knows them by it
MOST_FILES = 100_000
SPARE = 64 << 20  # left free on the disk


def take_in(given: Path | Sequence[tuple[str, Path]], root: Path, *, most_bytes: int = MOST_BYTES) -> tuple[str, ...]:
    """Take runs into the runs folder, all of them or none.

    Args:
        given: an archive made by `pack`; an event file; a folder with event files at any depth, or a ZIP of one: each
            folder with some is a run, as in TensorBoard. Or event files as names and places: together one run.
        root: the existing folder of all runs.
        most_bytes: of everything read or unpacked, above 0.

    Returns:
        Ids of the runs that were new.

    Raises:
        SchemaTooNewError: as `unpack`.
        StoreError: for anything that is wrong; the message names the file. Nothing was taken in.
    """
    if not isinstance(given, Path):
        what, files = given[0][0] if len(given) == 1 else f"{len(given)} files", _named(given)
    elif given.is_dir():
        what, files = given.name, _walked(given)
    elif not given.is_file():  # opening a pipe would wait for whoever writes into it
        raise refused(given.name, "it is no plain file" if given.exists() else "there is no such file")
    elif not zipfile.is_zipfile(given):
        what, files = given.name, _named([(given.name, given)])
    elif not _is_zip_of_events(given):
        return unbundle.unpack(given, root, most_bytes=most_bytes)
    else:
        what, files = given.name, _zipped(given)
    if not root.is_dir():
        raise StoreError(f"the runs folder {root} does not exist; make it, or name another with --runs")
    try:
        with contextlib.ExitStack() as held, staging(root) as place:
            return _taken_in(held.enter_context(files), place, root, most_bytes)
    except StoreError as error:
        raise refused(what, str(error)) from error
    except OSError as error:
        raise refused(what, error.strerror or str(error)) from error
    except Exception as error:  # whatever a hostile file provokes inside zlib, zipfile or protobuf
        raise refused(what, f"{type(error).__name__}: {error}") from error


def _taken_in(files: Sequence[tuple[int, EventFile]], place: Path, root: Path, most_bytes: int) -> tuple[str, ...]:
    total, free = sum(size for size, _ in files), shutil.disk_usage(root).free
    if total > min(most_bytes, free - SPARE):
        raise StoreError(
            f"its event files have {total} bytes, at most {max(0, min(most_bytes, free - SPARE))} are taken in"
        )
    folders: dict[str, list[EventFile]] = {}
    for _, one in files:
        folders.setdefault(one.folder, []).append(one)
    if len(folders) > MOST_RUNS:
        raise StoreError(f"it has {len(folders)} folders with event files, at most {MOST_RUNS} are taken in")
    made = [make_run(group, place) for group in folders.values()]
    new = [folder for folder in made if folder is not None]
    if not new:
        raise StoreError("no event file of TensorBoard is in it" if not files else "there is no scalar in it")
    for folder in new:
        check_run(folder)
    with locked(root / LOCK):
        return move_in([folder.name for folder in new], place, root)


@contextlib.contextmanager
def _named(given: Sequence[tuple[str, Path]]) -> Iterator[list[tuple[int, EventFile]]]:
    """Files that were named one by one: together one run. A link that the user names is followed."""
    yield sorted(
        ((path.stat().st_size, EventFile(name, "", partial(_opened, path.resolve()))) for name, path in given),
        key=lambda one: one[1].name,
    )


@contextlib.contextmanager
def _walked(top: Path) -> Iterator[list[tuple[int, EventFile]]]:
    """Event files under a folder, at any depth; what is a link is refused, wherever it leads."""
    found = []
    for folder, _, names in os.walk(top, followlinks=False):
        for name in sorted(names):
            if EVENT_FILE in name:
                path = Path(folder, name)
                inside = path.relative_to(top)
                if not stat.S_ISREG(path.lstat().st_mode):
                    raise StoreError(f"{inside} is a link or a device, where a plain file is expected")
                above = inside.parent.as_posix()
                of = above if above != "." else top.resolve().name
                found.append((path.lstat().st_size, EventFile(str(inside), of, partial(_opened, path))))
        if len(found) > MOST_FILES:
            raise StoreError(f"it has more than {MOST_FILES} event files")
    yield sorted(found, key=lambda one: one[1].name)


@contextlib.contextmanager
def _zipped(file: Path) -> Iterator[list[tuple[int, EventFile]]]:
    """Event files of a ZIP, read where they lie: nothing is unpacked, so a member's name leads nowhere."""
    with zipfile.ZipFile(file) as archive:
        found, seen = [], set()
        for entry in archive.infolist():
            path = PurePosixPath(entry.filename)
            if EVENT_FILE not in path.name or entry.is_dir():
                continue
            mode = entry.external_attr >> 16
            if entry.flag_bits & 1 or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)) or entry.filename in seen:
                raise StoreError(f"{entry.filename[:80]!r} is encrypted, a link or in it twice")
            seen.add(entry.filename)
            above = "/".join(path.parent.parts)
            opened = cast("Callable[[], contextlib.AbstractContextManager[BinaryIO]]", partial(archive.open, entry))
            found.append((entry.file_size, EventFile(entry.filename[:200], above or file.stem, opened)))
        if len(found) > MOST_FILES:
            raise StoreError(f"it has more than {MOST_FILES} event files")
        yield sorted(found, key=lambda one: one[1].name)


def _is_zip_of_events(file: Path) -> bool:
    """Whether a ZIP looks like a folder of event files and not like an archive of runs; trusts nothing yet."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # a broken one is refused where archives are
        return False
    return MANIFEST not in names and any(EVENT_FILE in PurePosixPath(name).name for name in names)


def _opened(path: Path) -> BinaryIO:
    # Not through a link that appeared since the look at it, and without waiting at a pipe.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreError(f"{path.name} is no plain file")
    return open(handle, "rb")
