"""Reading a run while it is written, after it ended, and when it is damaged; nothing here can change it.

Every call opens run.db read-only, takes one short transaction and lets go: a reader that kept its file open
would hold back the writer's checkpoints (WAL of 72 MB instead of 4) and its sealing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cggm_core.errors import RunNotFoundError, StoreError
from cggm_core.names import MetricKey
from cggm_core.store import looks, schema, standing, summaries, tables
from cggm_core.store.downsample import downsampled
from cggm_core.store.layout import CONFIG, DATABASE, MARKS, check_run_id, created_at, read_json_file, stat_key
from cggm_core.store.looks import Contribution, RobustnessCurve
from cggm_core.store.marks import read_marks
from cggm_core.store.protocols import Attempt, Event, News, RunInfo, Series, Snapshot, State, Summary
from cggm_core.store.query import Place, Query
from cggm_core.store.rows import as_series, no_rows

BUSY_SECONDS = 5.0
# Two writes inside one tick of the file system's clock leave one time; until it has passed, "unchanged" is a
# guess.
TICK_NS = 20_000_000
_STATES: tuple[State, ...] = ("starting", "running", "paused", "finished", "stopped", "failed", "died")


def open_reader(folder: Path | str, *, sample: bool = False) -> SqliteRunReader:
    """Read a run.

    Args:
        folder: its folder; run.db need not be there yet.
        sample: whether to call it a sample in `info`.

    Raises:
        RunNotFoundError: if there is no such folder, or its name is no run id.
    """
    return SqliteRunReader(folder, sample=sample)


class SqliteRunReader:
    """`RunReader` on SQLite; made by `open_reader`."""

    def __init__(self, folder: Path | str, *, sample: bool = False) -> None:
        self.folder = Path(folder)
        self.run_id = check_run_id(self.folder.name)
        if not self.folder.is_dir():
            raise RunNotFoundError(f"there is no run folder {self.folder}; it may have been moved to the trash")
        self._sample = sample
        self._path = self.folder / DATABASE
        self._row: tables.RunRow | None = None
        self._stood: tuple[tuple[int, ...], tables.RunRow | None] = ((), None)

    def info(self) -> RunInfo:
        """As `RunReader.info`; never raises for a damaged file, which it describes in `damaged` instead."""
        config, damaged = self._config()
        self._row = row = None
        state: State = "died"
        reason, summary = "", {}
        try:
            if self._path.exists():
                with self.reading() as connection:
                    self._row = row = tables.run_row(connection)
                    summary = _summary(connection, row.streams)
                    tables.attempts(connection, row.attempt)
                state, reason = standing.of_written(self.folder, row)
            else:
                state, reason = standing.of_unwritten(self.folder)
        except StoreError as error:
            damaged = reason = str(error)
        return self._described(config, row, state, reason, summary, damaged)

    def recorded(self) -> tuple[State, str]:
        """State as the last `info` found it recorded, and its writer's JSON identity, "" once it ended."""
        return (self._row.state, self._row.owner) if self._row else ("starting", "")

    def keys(self) -> tuple[MetricKey, ...]:
        """As `RunReader.keys`.

        Raises:
            DamagedRunError: if the file cannot be trusted.
        """
        if not self._path.exists():
            return ()
        with self.reading() as connection:
            streams = tables.streams(connection, tables.run_row(connection).streams)
        return tuple(dict.fromkeys(key for stream in streams for key in stream.columns))

    def series(
        self, keys: Sequence[MetricKey], *, max_points: int = 0, first: int | None = None,
        last: int | None = None,
    ) -> dict[MetricKey, Series]:  # fmt: skip
        """As `RunReader.series`.

        Raises:
            DamagedRunError: if a checksum does not fit; the message names the run and the steps.
            StoreError: if `max_points` is between 1 and 7.
        """
        wanted = tuple(dict.fromkeys(MetricKey(*key) for key in keys))
        found: dict[MetricKey, Series] = {}
        if self._path.exists():
            with self.reading() as connection:
                found = Query(connection, wanted).series(first, last)
        whole = {key: found.get(key) or as_series(key, no_rows(1), 0) for key in wanted}
        return {key: downsampled(series, max_points) for key, series in whole.items()}

    def news(self, cursor: Any | None = None, keys: Sequence[MetricKey] | None = None) -> News:
        """As `RunReader.news`. With other keys than before, start again from no cursor.

        Raises:
            DamagedRunError: if a checksum does not fit.
        """
        place = cursor if isinstance(cursor, Place) else Place()
        if not self._path.exists():
            return News({}, (), place)
        with self.reading() as connection:
            wanted = None if keys is None else tuple(MetricKey(*key) for key in keys)
            return Query(connection, wanted).news(place)

    def events(self, after: int = -1) -> tuple[Event, ...]:
        """As `RunReader.events`.

        Raises:
            DamagedRunError: if one is missing or does not fit its checksum.
        """
        if not self._path.exists():
            return ()
        with self.reading() as connection:
            return tables.events(connection, after, tables.run_row(connection).events)

    def attempts(self) -> tuple[Attempt, ...]:
        """As `RunReader.attempts`; the last one's end is derived like the run's state."""
        if not self._path.exists():
            return ()
        with self.reading() as connection:
            row = tables.run_row(connection)
            lives = tables.attempts(connection, row.attempt)
        if lives and not lives[-1].ended and standing.of_written(self.folder, row)[0] == "died":
            newest = lives[-1]
            lives = (*lives[:-1], Attempt(newest.number, newest.first_step, newest.started_at, "died"))
        return lives

    def snapshots(self, *, kind: str = "", modality: str = "") -> tuple[Snapshot, ...]:
        """As `RunReader.snapshots`.

        Raises:
            DamagedRunError: if one is missing or does not fit its checksum.
        """
        if not self._path.exists():
            return ()
        with self.reading() as connection:
            return tables.snapshots(connection, kind, modality, tables.run_row(connection).snapshots)

    def contributions(self) -> tuple[Contribution, ...]:
        """As `RunReader.contributions`.

        Raises:
            DamagedRunError: if one is missing or does not fit its checksum.
        """
        return looks.settled_contributions([looks.contribution(text) for text in self._looked("contribution")])

    def robustness(self) -> tuple[RobustnessCurve, ...]:
        """As `RunReader.robustness`.

        Raises:
            DamagedRunError: if one is missing or does not fit its checksum.
        """
        return looks.settled_curves([looks.robustness(text) for text in self._looked("robustness")])

    def _looked(self, table: looks.LookTable) -> list[str]:
        if not self._path.exists():
            return []
        with self.reading() as connection:
            return [text for _, text in tables.looked(connection, table)]

    def change_token(self) -> tuple[int, ...]:
        """As `RunReader.change_token`; a writer that vanished counts as a change."""
        files = (stat_key(self._path), stat_key(self._wal()), stat_key(self.folder / MARKS))
        key = tuple(number for file in files for number in file)
        now = time.time_ns()
        young = now if any(abs(now - file[0]) < TICK_NS for file in files) else 0
        return (*key, self._standing(key), young)

    def close(self) -> None:
        """As `RunReader.close`; between calls nothing is held, so there is nothing to let go."""

    def _wal(self) -> Path:
        return self.folder / f"{DATABASE}-wal"

    def _standing(self, key: tuple[int, ...]) -> int:
        if not self._path.exists():
            return _STATES.index(standing.of_unwritten(self.folder)[0])
        if self._stood[0] != key:
            row = None
            with contextlib.suppress(StoreError), self.reading() as connection:
                row = tables.run_row(connection)
            self._stood = (key, row)
        row = self._stood[1]
        return -1 if row is None else _STATES.index(standing.of_written(self.folder, row)[0])

    def _config(self) -> tuple[Mapping[str, Any], str]:
        try:
            found = read_json_file(self.folder / CONFIG)
        except (OSError, ValueError) as error:
            return {}, f"run {self.run_id}: {CONFIG} cannot be read ({error})"
        if isinstance(found, dict):
            return found, ""
        return {}, f"run {self.run_id}: {CONFIG} holds no JSON object"

    def _described(
        self, config: Mapping[str, Any], row: tables.RunRow | None, state: State, reason: str,
        summary: Mapping[MetricKey, Summary], damaged: str,
    ) -> RunInfo:  # fmt: skip
        marks = read_marks(self.folder, config)
        return RunInfo(
            self.run_id, state, reason, config,
            row.step if row else -1, row.epoch if row else -1,
            row.steps if row else 0, row.epochs if row else 0,
            created_at(self.run_id), row.updated_at if row else created_at(self.run_id),
            marks.name, marks.tags, marks.notes, marks.pinned, marks.archived, summary, damaged, self._sample,
        )  # fmt: skip

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection inside one short transaction, for those who know the tables.

        Raises:
            DamagedRunError, SchemaTooNewError, StoreError: as every call of a reader.
        """
        with schema.translated(self.run_id):
            connection = self._connected()
            try:
                connection.execute("BEGIN")
                schema.check_version(connection, self.run_id)
                yield connection
            finally:
                connection.close()

    def _connected(self) -> sqlite3.Connection:
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            connection = _connect(self._path, mode)
            try:
                connection.execute("PRAGMA schema_version").fetchone()
                return connection
            except sqlite3.OperationalError as error:
                connection.close()
                if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
                    # The writer was killed inside its very last write; SQLite itself takes that back on
                    # opening.
                    return _connect(self._path, "mode=rw")
                unwritable = error.sqlite_errorcode & 0xFF in (
                    sqlite3.SQLITE_CANTOPEN,
                    sqlite3.SQLITE_READONLY,
                )
                # On read-only media a file in WAL mode opens only so; with rows still in the WAL it would
                # lie.
                if not unwritable or stat_key(self._wal())[1] or "immutable" in mode:
                    raise
        raise AssertionError("unreachable")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)


def _summary(connection: sqlite3.Connection, streams: int) -> dict[MetricKey, Summary]:
    packed = tables.stream_summaries(connection)
    parts: dict[MetricKey, list[Summary]] = {}
    for stream in tables.streams(connection, streams):
        listed = summaries.read(packed[stream.id][1]) if stream.id in packed else []
        for key, entry in zip(stream.columns, listed, strict=False):
            parts.setdefault(key, []).append(entry)
    return {key: summaries.merged(entries) for key, entries in parts.items()}
