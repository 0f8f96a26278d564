"""What is inside run.db, its version, and how older files become current.

Law of every table: the column `crc` is the CRC32 over the other columns (the payload `data` apart, which has
its own), because SQLite notices a damaged page structure but not a flipped bit in a value. `checked` enforces
it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cggm_core.errors import DamagedRunError, SchemaTooNewError, StoreError

APPLICATION_ID = 0x4347474D  # "CGGM"
VERSION = 2

_FIRST = """
CREATE TABLE run(id INTEGER PRIMARY KEY CHECK (id = 1), run_id TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, owner TEXT NOT NULL, attempt INTEGER NOT NULL, beat INTEGER NOT NULL,
    step INTEGER NOT NULL, epoch INTEGER NOT NULL, steps INTEGER NOT NULL, epochs INTEGER NOT NULL,
    streams INTEGER NOT NULL, events INTEGER NOT NULL, snapshots INTEGER NOT NULL,
    started_at REAL NOT NULL, updated_at REAL NOT NULL,
    seconds REAL NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE attempt(number INTEGER PRIMARY KEY, first_step INTEGER NOT NULL, started_at REAL NOT NULL,
    ended TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE stream(id INTEGER PRIMARY KEY, name TEXT NOT NULL, columns TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE summary(stream INTEGER PRIMARY KEY, rows INTEGER NOT NULL, series BLOB NOT NULL,
    crc INTEGER NOT NULL);
CREATE TABLE chunk(id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, attempt INTEGER NOT NULL,
    first_seq INTEGER NOT NULL, rows INTEGER NOT NULL, step_low INTEGER NOT NULL, step_high INTEGER NOT NULL,
    crcs BLOB NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX chunk_place ON chunk(stream, first_seq);
CREATE TABLE event(seq INTEGER PRIMARY KEY, step INTEGER NOT NULL, seconds REAL NOT NULL, body TEXT NOT NULL,
    crc INTEGER NOT NULL);
CREATE TABLE snapshot(id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
    batch INTEGER NOT NULL, body TEXT NOT NULL, data_crc INTEGER NOT NULL, crc INTEGER NOT NULL,
    data BLOB NOT NULL);
"""

# What looks at the probe set found; `tally` says how many rows there must be, so that a missing one is noticed.
_LOOKS = """
CREATE TABLE contribution(seq INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
    body TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE robustness(seq INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
    body TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE tally(name TEXT PRIMARY KEY, rows INTEGER NOT NULL, crc INTEGER NOT NULL);
"""

# Number n holds the script that makes a file of version n - 1 one of version n.
MIGRATIONS: dict[int, str] = {1: _FIRST, 2: _LOOKS}


def create(path: Path) -> None:
    """Make an empty run.db of the current version.

    Raises:
        sqlite3.Error: if the file cannot be written.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA page_size = 8192")
        _migrate(connection, 0, VERSION)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    finally:
        connection.close()
    os.chmod(path, 0o600)


def check_version(connection: sqlite3.Connection, run: str, *, may_write: bool = False) -> None:
    """Refuse what this version cannot read; writers bring an older file up to date, readers take it as it is.

    Raises:
        SchemaTooNewError: if a later version of the software wrote the file.
        DamagedRunError: if it is no run file at all, or an older one that only a writer may bring up to date.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise DamagedRunError(f"run {run}: run.db is not a run file (its mark is {application:#x})")
    if version > VERSION:
        raise SchemaTooNewError(
            f"run {run} was written in format {version}, this one reads up to {VERSION}; update to open it"
        )
    if version < 1:
        raise DamagedRunError(f"run {run}: run.db says format {version}, which never was")
    if version < VERSION and may_write:
        _migrate(connection, version, VERSION)


def declared(version: int) -> frozenset[tuple[Any, ...]]:
    """What a run.db of a version declares: (type, name, table, SQL) of each table and index, and nothing else.

    Args:
        version: from 1 to `VERSION`.
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _migrate(connection, 0, version)
        return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall())


def _migrate(connection: sqlite3.Connection, version: int, target: int) -> None:
    for number in range(version + 1, target + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number}; COMMIT;")


def crc_of(fields: Sequence[Any]) -> int:
    """Checksum over the columns of a row; types count, so that a number turned text is noticed."""
    return zlib.crc32(repr(tuple(fields)).encode("utf-8", "backslashreplace"))


def payload_crc(data: bytes) -> int:
    """Checksum of a payload that has none inside."""
    return zlib.crc32(data)


def sealed(*fields: Any) -> tuple[Any, ...]:
    """A row with its checksum at the end."""
    return (*fields, crc_of(fields))


def checked(row: Sequence[Any], what: str) -> tuple[Any, ...]:
    """A row without its checksum.

    Raises:
        DamagedRunError: if the checksum does not fit.
    """
    *fields, crc = row
    if crc != crc_of(fields):
        raise DamagedRunError(f"{what} does not fit its checksum")
    return tuple(fields)


@contextlib.contextmanager
def translated(run: str) -> Iterator[None]:
    """Turn SQLite's errors into ours, and name the run in each.

    Raises:
        DamagedRunError: if what the file holds cannot be trusted.
        StoreError: if it cannot be reached just now.
    """
    try:
        yield
    except DamagedRunError as error:
        if str(error).startswith(f"run {run}"):
            raise
        raise DamagedRunError(f"run {run}: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        text = f"run {run}: {error}"
        # Reading past the end of a file that was cut short is damage, other I/O errors are the disk's.
        if code & 0xFF in _UNREACHABLE and code != sqlite3.SQLITE_IOERR_SHORT_READ:
            raise StoreError(f"{text}; run.db cannot be read just now") from error
        raise DamagedRunError(f"{text}; run.db is damaged") from error
    except (TypeError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise DamagedRunError(f"run {run}: run.db holds what nobody wrote ({error})") from error


_UNREACHABLE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM,
)  # fmt: skip
