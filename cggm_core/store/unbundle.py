"""Taking in an archive of runs from anywhere: every byte is suspect until all of it was looked at.

Refused whole, with nothing left behind: names that are not exactly ours (so no path can lead out), links, folders,
encryption, members named twice or not listed, more bytes than promised, checksums that do not fit, tables that are
not a run's own, a format newer than this one, rows that do not fit their checksums. Nothing in an archive is ever
run, unpickled or looked up as code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cggm_core.config import clean_text
from cggm_core.errors import DamagedRunError, SchemaTooNewError, StoreError
from cggm_core.store import schema, tables
from cggm_core.store.bundle import (
    FOLDER,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    MEMBERS,
    contents,
    copy_database,
    staging,
)
from cggm_core.store.files import locked, sync_folder
from cggm_core.store.layout import CONFIG, DATABASE, MARKS, is_run_id, read_json_file
from cggm_core.store.protocols import ENDED
from cggm_core.store.sqlite_reader import SqliteRunReader, open_reader

MOST_BYTES = 8 << 30  # of everything unpacked; a run of five million values is about 40 MB
MOST_RUNS = 10_000
_SMALL = 8_000_000  # of each JSON file
_BLOCK = 1 << 20
_SHA = re.compile(r"[0-9a-f]{64}")
LOCK = ".import.lock"


def unpack(file: Path, root: Path, *, most_bytes: int = MOST_BYTES) -> tuple[str, ...]:
    """Take the runs of an archive into the runs folder, all of them or none.

    Args:
        file: an archive made by `pack`.
        root: the existing folder of all runs.
        most_bytes: of everything unpacked, above 0.

    Returns:
        Ids of the runs that were new; one that is there already with the same contents is left alone.

    Raises:
        SchemaTooNewError: if the archive, or a run in it, was written by a later version.
        StoreError: for anything else that is wrong; the message names the member. Nothing was taken in.
    """
    if not root.is_dir():
        raise StoreError(f"the runs folder {root} does not exist; make it, or name another with --runs")
    try:
        with zipfile.ZipFile(file) as archive, staging(root) as place:
            listed = _manifest(archive)
            _check_members(archive, listed, most_bytes, shutil.disk_usage(root).free)
            for run_id, files in listed.items():
                _take_out(archive, run_id, files, place)
                check_run(place / run_id)
            with locked(root / LOCK):
                return move_in(listed, place, root)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, UnicodeError) as error:
        raise refused(file.name, f"it is no sound ZIP archive ({error})") from error
    except StoreError as error:
        if isinstance(error, SchemaTooNewError):
            raise
        raise refused(file.name, str(error)) from error
    except (OSError, RuntimeError) as error:  # RuntimeError is what zipfile says of an encrypted member
        raise refused(file.name, str(getattr(error, "strerror", None) or error)) from error
    except Exception as error:  # zlib.error and whatever else a hostile archive provokes inside the library
        raise refused(file.name, f"{type(error).__name__}: {error}") from error


def refused(what: str, why: str) -> StoreError:
    """That nothing was taken in, in one line: what a library says of a broken file may quote kilobytes of it."""
    what, why = (" ".join(clean_text(text, most, lines=True).split()) for text, most in ((what, 100), (why, 400)))
    return StoreError(f"{what} was not taken in: {why}; nothing was changed")


def _manifest(archive: zipfile.ZipFile) -> dict[str, dict[str, dict[str, Any]]]:
    """Run id -> file name -> its bytes and sha256, every part of it checked."""
    names = [entry.filename for entry in archive.infolist()]
    if names.count(MANIFEST) != 1:
        raise StoreError(f"an archive of runs holds one {MANIFEST}, this one holds {names.count(MANIFEST)}")
    if archive.getinfo(MANIFEST).file_size > _SMALL:
        raise StoreError(f"{MANIFEST} is larger than {_SMALL} bytes")
    with archive.open(MANIFEST) as member:
        raw = member.read(_SMALL + 1)
    try:
        said = json.loads(raw[:_SMALL])
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{MANIFEST} is no JSON") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise StoreError(f"{MANIFEST} does not say that this is an archive of runs")
    version = said.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise SchemaTooNewError(f"the archive has format {version}, this one reads up to {FORMAT_VERSION}; update")
    runs = said.get("runs")
    if version != FORMAT_VERSION or not isinstance(runs, list) or not 0 < len(runs) <= MOST_RUNS:
        raise StoreError(f"{MANIFEST} lists no runs, or more than {MOST_RUNS}")
    listed: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs:
        run_id = run.get("id") if isinstance(run, dict) else None
        if not isinstance(run_id, str) or not is_run_id(run_id) or run_id in listed:
            raise StoreError(f"{MANIFEST} names a run {str(run_id)[:80]!r}, which is no run id or is there twice")
        listed[run_id] = _files(run_id, run.get("files"))
    return listed


def _files(run_id: str, files: Any) -> dict[str, dict[str, Any]]:
    sound = isinstance(files, dict) and set(files) <= set(MEMBERS) and {CONFIG, DATABASE} <= set(files)
    if not sound or not all(_is_entry(entry) for entry in files.values()):
        raise StoreError(f"{MANIFEST} does not list the files of run {run_id} with their size and checksum")
    for name in (CONFIG, MARKS):
        if name in files and files[name]["bytes"] > _SMALL:
            raise StoreError(f"{name} of run {run_id} is larger than {_SMALL} bytes")
    found: dict[str, dict[str, Any]] = files
    return found


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or entry["bytes"] < 0:
        return False
    return isinstance(entry.get("sha256"), str) and _SHA.fullmatch(entry["sha256"]) is not None


def _check_members(archive: zipfile.ZipFile, listed: Mapping[str, Any], most: int, free: int) -> None:
    """Exactly the members that are listed, each a plain file, all of them together small enough."""
    expected = {f"{FOLDER}/{run_id}/{name}": entry for run_id, files in listed.items() for name, entry in files.items()}
    seen = set()
    for entry in archive.infolist():
        name = entry.filename
        mode = entry.external_attr >> 16
        if name != entry.orig_filename or name in seen or (name != MANIFEST and name not in expected):
            raise StoreError(f"{entry.orig_filename[:80]!r} is in it twice, or is not listed in {MANIFEST}")
        if entry.flag_bits & 1 or entry.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
            raise StoreError(f"{name} is encrypted, a folder or a link, where a plain file is expected")
        if name != MANIFEST and entry.file_size != expected[name]["bytes"]:
            raise StoreError(f"{name} has {entry.file_size} bytes, {MANIFEST} says {expected[name]['bytes']}")
        seen.add(name)
    if missing := set(expected) - seen:
        raise StoreError(f"{min(missing)} is listed and not there")
    total = sum(entry["bytes"] for entry in expected.values())
    if total > most:
        raise StoreError(f"it would unpack to {total} bytes, more than the {most} allowed")
    if total > free - (64 << 20):
        raise StoreError(f"it would unpack to {total} bytes, and {free} are free")


def _take_out(archive: zipfile.ZipFile, run_id: str, files: Mapping[str, dict[str, Any]], place: Path) -> None:
    folder = place / run_id
    folder.mkdir(mode=0o700)
    for name, entry in files.items():
        found, left = hashlib.sha256(), entry["bytes"]
        target = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(target, "wb") as file, archive.open(f"{FOLDER}/{run_id}/{name}") as member:
            # What an entry says of its size is a promise; a bomb breaks it while it is unpacked.
            while block := member.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise StoreError(f"{name} of run {run_id} is larger than the {entry['bytes']} bytes promised")
                found.update(block)
                file.write(block)
        if left or found.hexdigest() != entry["sha256"]:
            raise StoreError(f"{name} of run {run_id} does not fit its checksum")


def check_run(folder: Path) -> None:
    """Whether the lab itself could have written this run: its tables, its rows, its state."""
    for name in (CONFIG, MARKS):
        if (folder / name).exists():
            try:
                sound = isinstance(read_json_file(folder / name, _SMALL), dict)
            except ValueError:
                sound = False
            if not sound:
                raise StoreError(f"{name} of run {folder.name} holds no JSON object")
    _check_tables(folder)
    reader = open_reader(folder)
    info = reader.info()
    if info.damaged or info.state not in ENDED:
        raise StoreError(info.damaged or f"run {folder.name} says it is {info.state}; an archived run has ended")
    _check_rows(reader)
    reader.events()
    reader.attempts()
    reader.snapshots()
    reader.contributions()
    reader.robustness()


def _check_rows(reader: SqliteRunReader) -> None:
    """Every row against its checksum, a chunk at a time: a large run never lies in memory as a whole."""
    with reader.reading() as connection:
        counts = tables.row_counts(connection)
        for stream in tables.streams(connection):
            for chunk in tables.chunk_list(connection, stream.id, counts.get(stream.id, 0)):
                if tables.block(connection, chunk).shape[0] != 3 + len(stream.columns):
                    raise DamagedRunError(f"a chunk of stream {stream.id} has not as many columns as the stream")


def _check_tables(folder: Path) -> None:
    path = folder / DATABASE
    with open(path, "rb") as file:
        head = file.read(20)
    if head[:16] != b"SQLite format 3\0" or head[18:20] != b"\x01\x01":
        raise StoreError(f"run.db of run {folder.name} is not sealed, or no database")
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with schema.translated(folder.name), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        schema.check_version(connection, folder.name)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if _declared(connection) != schema.declared(version):
            raise StoreError(f"run.db of run {folder.name} declares tables, views or triggers that a run does not have")
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise StoreError(f"run.db of run {folder.name} is damaged")
        if connection.execute("SELECT run_id FROM run").fetchone() != (folder.name,):
            raise StoreError(f"run.db of run {folder.name} belongs to another run")


def _declared(connection: sqlite3.Connection) -> frozenset[tuple[Any, ...]]:
    return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall())


def move_in(listed: Iterable[str], place: Path, root: Path) -> tuple[str, ...]:
    """Move checked runs from the staging folder among the others, all or none; returns those that were new.

    Raises:
        StoreError: if a run of the same id with other contents is there.
        OSError: if one cannot be moved.
    """
    new = []
    for run_id in listed:
        if not os.path.lexists(root / run_id):
            new.append(run_id)
        elif not _is_same(root / run_id, place / run_id):
            raise StoreError(f"a run {run_id} with other contents is there already; move it to the trash first")
    moved: list[str] = []
    try:
        for run_id in new:
            (place / run_id).rename(root / run_id)
            moved.append(run_id)
    except OSError:
        for run_id in moved:
            (root / run_id).rename(place / run_id)
        raise
    sync_folder(root)
    return tuple(new)


def _is_same(there: Path, taken: Path) -> bool:
    if there.is_symlink() or not (there / DATABASE).is_file():
        return False
    copy = taken.with_name(f"{taken.name}.there")
    copy_database(there, copy)
    return contents(copy) == contents(taken / DATABASE)
