"""The catalogue's file: entries packed for fast loading, thrown away at the first doubt."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from cggm_core.names import MetricKey
from cggm_core.store import summaries
from cggm_core.store.protocols import RunInfo

Key = tuple[tuple[int, int, int], ...]
Cached = tuple[Key, str, RunInfo]

_VERSION = 1
_TABLE = "CREATE TABLE IF NOT EXISTS run(path TEXT PRIMARY KEY, entry TEXT, names TEXT, series BLOB, crc INTEGER)"
_FIELDS = (
    "id", "state", "reason", "config", "step", "epoch", "steps", "epochs", "created_at", "updated_at", "name",
    "tags", "notes", "pinned", "archived", "sample",
)  # fmt: skip


class CatalogueCache:
    """Keeps entries on disk where the folder allows it; where not, every method quietly does nothing.

    Args:
        path: the cache file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Cached]:
        """Entries by path of the run folder; those that do not fit their checksum are left out."""
        found: dict[str, Cached] = {}
        if not self._path.exists():
            return found
        try:
            with contextlib.closing(self._connected()) as connection:
                rows = connection.execute("SELECT path, entry, names, series, crc FROM run").fetchall()
        except sqlite3.Error:
            self._discard()
            return found
        for path, entry, names, series, crc in rows:
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                if _crc(entry, names, series) == crc:
                    found[path] = _unpacked(entry, names, series)
        return found

    def store(self, changed: Mapping[str, Cached], gone: Collection[str]) -> None:
        """Write and remove entries in one transaction."""
        if not self._path.parent.is_dir():
            return
        try:
            with contextlib.closing(self._connected()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM run WHERE path = ?", [(path,) for path in gone])
                rows = ((path, *_packed(cached)) for path, cached in changed.items())
                connection.executemany("REPLACE INTO run VALUES (?,?,?,?,?)", rows)
                connection.execute("COMMIT")
        except sqlite3.OperationalError:
            return  # a read-only or full folder, or another process at it: the cache stays as it was
        except sqlite3.Error:
            self._discard()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0.5)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                connection.execute("DROP TABLE IF EXISTS run")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute(_TABLE)
            # It can be rebuilt at any time, so no write of it is worth waiting for the disk.
            connection.execute("PRAGMA synchronous = OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    def _discard(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{suffix}")


def _packed(cached: Cached) -> tuple[str, str, bytes, int]:
    key, owner, info = cached
    fields = {name: getattr(info, name) for name in _FIELDS}
    entry = json.dumps({"key": key, "owner": owner, "info": fields})
    names = json.dumps([list(series) for series in info.summary])
    rows = [tuple(vars(summary).values()) for summary in info.summary.values()]
    series = np.array(rows, summaries.SUMMARY).tobytes()
    return entry, names, series, _crc(entry, names, series)


def _unpacked(entry: str, names: str, series: bytes) -> Cached:
    given = json.loads(entry)
    summary = summaries.PackedSummaries(_keys(names), np.frombuffer(series, summaries.SUMMARY))
    fields = given["info"]
    fields["tags"] = tuple(fields["tags"])
    return tuple(tuple(file) for file in given["key"]), given["owner"], RunInfo(**fields, summary=summary)


@functools.lru_cache(maxsize=256)
def _keys(names: str) -> tuple[MetricKey, ...]:
    # Runs of one method record the same series, so few lists of names serve thousands of runs.
    return tuple(MetricKey(*name) for name in json.loads(names))


def _crc(entry: str, names: str, series: bytes) -> int:
    return zlib.crc32(series, zlib.crc32(f"{entry}\n{names}".encode()))
