"""Runs as one file: a ZIP archive that another machine, or a reviewer, can open.

Inside: `manifest.json` and, per run, `runs/<id>/config.json`, `run.db` (sealed) and `marks.json`. Left out on
purpose: checkpoints (large, and code of one version), logs, locks, and whatever tells where and by whom a run was
made: folders of paths, host and process. Packing the same ended runs twice gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cggm_core.errors import RunNotFoundError, StoreError
from cggm_core.store import schema, tables
from cggm_core.store.layout import CONFIG, DATABASE, MARKS, check_run_id, read_json_file
from cggm_core.store.protocols import ENDED
from cggm_core.store.sqlite_reader import open_reader
from cggm_core.store.stream_state import write_run

FORMAT, FORMAT_VERSION = "cggm-lab runs", 1
MANIFEST, FOLDER = "manifest.json", "runs"
MEMBERS = (CONFIG, DATABASE, MARKS)
# ZIP has no time zone and no time before this; a fixed time makes equal contents equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Where an absolute path begins inside running text: at the start, or after what cannot be part of a word or of an URL.
_BEGINS = r"(?:^|(?<=[\s\"'`(\[{=,;<>|]))|(?<=[a-z0-9]:)(?!//)"
_PATH = re.compile(rf"(?:{_BEGINS})(?:file:/+|~|[A-Za-z]:)?[/\\][^\n\"'`<>|]*[/\\]")
_ABSOLUTE = re.compile(r"(?:file:/+|~[^/\\]*[/\\]|[A-Za-z]:[/\\]|[/\\]).*", re.DOTALL)
_BLOCK = 1 << 20
_STAGING, _DAY = ".import-", 86_400


def without_folders(text: str) -> str:
    r"""Text with every absolute path in it cut down to its last part: `/home/a/b.npz` becomes `b.npz`.

    A text that is one absolute path as a whole keeps what follows its last separator, whatever spaces or commas are in
    it. Inside running text a path reaches to its last separator on the line, so that a folder's name with spaces goes
    too; words between two paths of one line may go with it. That is the safe side to err on.
    """
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")  # the folder itself names its user
    if _ABSOLUTE.fullmatch(text):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if text.strip("/\\~") else ""
    return _PATH.sub("", text)


def pack(folders: Sequence[Path], file: Path) -> int:
    """Write runs into one archive, whole or not at all.

    A run that is being written is copied as of one moment and marked as stopped in the copy; nothing of the run itself
    is changed.

    Args:
        folders: run folders, each once.
        file: archive to write; its folder exists. A file that is there is replaced.

    Returns:
        Bytes of the archive.

    Raises:
        RunNotFoundError: if a folder is no run, or has nothing recorded yet.
        DamagedRunError: if a run cannot be trusted.
        StoreError: if the archive cannot be written, or no run is named.
    """
    if not folders:
        raise StoreError("an archive needs at least one run; name some")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as place:
            made = Path(place) / "archive"
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                listed = [_add(archive, folder, Path(place)) for folder in dict.fromkeys(folders)]
                manifest = {"format": FORMAT, "version": FORMAT_VERSION, "runs": listed}
                archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=2))
            size = made.stat().st_size
            os.replace(made, file)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}") from error
    return size


def _add(archive: zipfile.ZipFile, folder: Path, place: Path) -> dict[str, Any]:
    run_id = check_run_id(folder.name)
    if not (folder / DATABASE).is_file():
        raise RunNotFoundError(f"run {run_id} has nothing recorded yet; there is nothing to pack")
    made = place / run_id
    made.mkdir()
    copy_database(folder, made / DATABASE)
    (made / CONFIG).write_text(json.dumps(scrubbed(_json(folder / CONFIG)), indent=2), "utf-8")
    if (folder / MARKS).is_file():
        (made / MARKS).write_text(json.dumps(_json(folder / MARKS), indent=2), "utf-8")
    with contextlib.closing(open_reader(made)) as reader:
        if damaged := reader.info().damaged:
            raise StoreError(f"{damaged}; it is not packed")
    files = {}
    for name in MEMBERS:
        source = made / name
        if source.is_file():
            with open(source, "rb") as held, archive.open(_entry(f"{FOLDER}/{run_id}/{name}"), "w") as member:
                shutil.copyfileobj(held, member, _BLOCK)
            files[name] = {"bytes": source.stat().st_size, "sha256": digest(source)}
    shutil.rmtree(made)
    return {"id": run_id, "files": files}


def copy_database(folder: Path, target: Path) -> None:
    """Copy one moment of a run's run.db, sealed, its writer forgotten; the original is only read.

    Raises:
        DamagedRunError: if it cannot be trusted.
        StoreError: if it cannot be read, or the copy not be written.
    """
    with schema.translated(folder.name):
        source = open_reader(folder)
        with source.reading() as found, contextlib.closing(sqlite3.connect(target, isolation_level=None)) as made:
            found.backup(made)
            made.execute("PRAGMA journal_mode = DELETE")
            made.execute("BEGIN IMMEDIATE")
            _forget_writer(made)
            made.execute("COMMIT")
            made.execute("VACUUM")  # what was overwritten must not stay in free pages


def _forget_writer(made: sqlite3.Connection) -> None:
    run = tables.run_row(made)
    if run.state not in ENDED:
        run = run._replace(state="stopped", reason=json.dumps("packed before it had ended"))
        for life in tables.attempts(made)[-1:]:
            fields = (life.number, life.first_step, life.started_at, life.ended or "stopped")
            made.execute("REPLACE INTO attempt VALUES (?,?,?,?,?)", schema.sealed(*fields))
    write_run(made, run._replace(owner="", reason=json.dumps(scrubbed(json.loads(run.reason)))))
    for seq, step, seconds, body, crc in made.execute("SELECT * FROM event ORDER BY seq").fetchall():
        schema.checked((seq, step, seconds, body, crc), f"event {seq}")
        clean = json.dumps(scrubbed(json.loads(body)))
        made.execute("REPLACE INTO event VALUES (?,?,?,?,?)", schema.sealed(seq, step, seconds, clean))


def scrubbed(value: Any) -> Any:
    """A JSON value with `without_folders` applied to every text in it, keys apart."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, dict):
        return {key: scrubbed(one) for key, one in value.items()}
    return [scrubbed(one) for one in value] if isinstance(value, list) else value


def _json(path: Path) -> Any:
    try:
        return read_json_file(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.name} of run {path.parent.name} cannot be read ({error}); it is not packed") from error


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
    return entry


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(database: Path) -> str:
    """SHA-256 over every row of a sealed run.db: equal for equal runs, however SQLite laid them out."""
    found = hashlib.sha256()
    uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        tables_there = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall()
        for (table,) in tables_there:
            found.update(table.encode())
            for row in connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid'):
                found.update(repr(row).encode("utf-8", "backslashreplace"))
    return found.hexdigest()


@contextlib.contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A folder inside the runs folder that no list shows, gone afterwards; for what may yet be refused.

    One that a killed process left behind is removed after a day.
    """
    for old in root.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):
            if old.is_dir() and not old.is_symlink() and time.time() - old.stat().st_mtime > _DAY:
                shutil.rmtree(old)
    made = Path(tempfile.mkdtemp(dir=root, prefix=_STAGING))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
