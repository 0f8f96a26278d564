"""The writer's side of run.db: every statement that changes it, each commit one transaction.

What is known of the file (rows of each stream, its summaries, its small chunks) is replaced only after a
commit, so a failed transaction leaves nothing half-believed and is simply tried again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cggm_core.errors import StoreError, WriterConflictError
from cggm_core.store import chunks, compaction, schema, start, summaries, tables
from cggm_core.store.buffer import Batch, Block
from cggm_core.store.compaction import Piece
from cggm_core.store.layout import DATABASE
from cggm_core.store.protocols import ENDED
from cggm_core.store.stream_state import StreamState, recounted, write_run, write_summary
from cggm_core.store.tables import RunRow, Stream

BUSY_MS = 1000
SEAL_SECONDS = 5.0


class RunFile:
    """An open run.db with its writer's knowledge of it; for one thread at a time.

    Args:
        folder: the run folder.
        resume_at: first step of this attempt; None continues after the last recorded.
        wall: clock in Unix seconds, for display only.

    Raises:
        WriterConflictError: if the process that owns the run is alive.
        SchemaTooNewError, DamagedRunError: if the file is not one this version can write.
        StoreError: if it cannot be made or opened.
    """

    def __init__(self, folder: Path, resume_at: int | None, wall: Callable[[], float]) -> None:
        self.run_id = folder.name
        self.path = folder / DATABASE
        self._wall = wall
        self._doubt: tuple[RunRow, dict[int, StreamState]] | None = None
        self._connection: sqlite3.Connection | None = None
        try:
            with schema.translated(self.run_id):
                if not self.path.exists():
                    start.make_file(self.path, wall())
                self._inode = os.stat(self.path).st_ino
                with self._transaction() as connection:
                    self._run, self._streams = start.begin_attempt(connection, resume_at, wall())
                    self.first_step = tables.attempts(connection)[-1].first_step
        except BaseException as error:
            self.let_go()
            if isinstance(error, OSError):
                raise StoreError(f"run {self.run_id} cannot be written: {error.strerror or error}") from error
            raise

    @property
    def run(self) -> RunRow:
        """The run's row as last committed."""
        return self._run

    def commit(self, batch: Batch) -> None:
        """Write a batch in one transaction. Trying the same batch again after an error never writes it twice.

        Raises:
            WriterConflictError: if another process has taken the run over.
            sqlite3.Error, OSError, StoreError: if the file cannot be written just now.
        """
        # A removed folder would go on taking writes: the open file lives until it is closed.
        if os.stat(self.path).st_ino != self._inode:
            raise StoreError(f"run.db of run {self.run_id} was replaced by another file")
        with self._transaction() as connection:
            if self._landed(connection):
                return
            self._doubt = self._written(connection, batch)
        self._adopt()

    def seal(self) -> None:
        """Merge what is small, empty the WAL and leave it, so that the file opens read-only anywhere.

        Raises:
            sqlite3.Error, OSError, StoreError: if that did not work; everything committed stays readable.
        """
        with self._transaction() as connection:
            for stream, state in self._streams.items():
                compaction.merge_all(connection, stream, state.rows)
                if not state.exact:
                    write_summary(connection, stream, recounted(connection, stream, state))
        connection = self._opened()
        free, pages = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
        if 4 * free > pages:
            with contextlib.suppress(sqlite3.Error):  # needs room for a copy; the file is as good without
                connection.execute("VACUUM")
        deadline = time.monotonic() + SEAL_SECONDS
        while not self._left_wal(connection):
            if time.monotonic() > deadline:
                raise StoreError(f"run {self.run_id} is complete, but a reader keeps its WAL open")
            time.sleep(0.01)

    def let_go(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def abandon(self) -> None:
        """Forget the file without ever closing it, in a forked child: closing touches the parent's WAL."""
        if self._connection is not None:
            # One reference too many, so that the interpreter's end does not close it either.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._connection = None

    def streams(self) -> tuple[Stream, ...]:
        """Streams the file holds.

        Raises:
            sqlite3.Error, DamagedRunError: if they cannot be read.
        """
        return tables.streams(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            made = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None,
                timeout=BUSY_MS / 1000, check_same_thread=False,
            )  # fmt: skip
            self._connection = made
            schema.check_version(made, self.run_id, may_write=True)
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = NORMAL")
            made.execute("PRAGMA wal_autocheckpoint = 500")
            made.execute("PRAGMA journal_size_limit = 8388608")
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        try:
            # IMMEDIATE: a transaction that first reads and then writes may be refused at once, whatever the
            # timeout.
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in (0, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                self.let_go()
            raise

    def _landed(self, connection: sqlite3.Connection) -> bool:
        """Whether the file holds the last, failed batch already: an answer lost after its commit."""
        beat = tables.run_row(connection).beat
        if beat == self._run.beat:
            return False
        if self._doubt is None or beat != self._doubt[0].beat:
            raise WriterConflictError(f"run {self.run_id} was taken over by another process; this one stops writing")
        self._adopt()
        return True

    def _adopt(self) -> None:
        assert self._doubt is not None
        self._run, self._streams = self._doubt
        self._doubt = None

    def _written(self, connection: sqlite3.Connection, batch: Batch) -> tuple[RunRow, dict[int, StreamState]]:
        run, states = self._run, dict(self._streams)
        for stream in batch.streams:
            fields = (stream.id, json.dumps(stream.name), json.dumps([list(key) for key in stream.columns]))
            connection.execute("INSERT INTO stream VALUES (?,?,?,?)", schema.sealed(*fields))
            states[stream.id] = StreamState(0, -(2**63), (), summaries.empty(len(stream.columns)))
        for block in batch.blocks:
            states[block.stream] = self._appended(connection, block, states[block.stream])
            newest = len(block.step) - 1 - int(np.argmax(block.step[::-1]))
            if block.step[newest] >= run.step:
                run = run._replace(step=int(block.step[newest]), epoch=int(block.epoch[newest]))
        for stream_id in {block.stream for block in batch.blocks} | {stream.id for stream in batch.streams}:
            write_summary(connection, stream_id, states[stream_id])
        for seq, said in enumerate(batch.events, run.events):
            connection.execute("INSERT INTO event VALUES (?,?,?,?,?)", schema.sealed(seq, *said))
        _write_snapshots(connection, batch, run)
        _write_looks(connection, batch, run)
        run = run._replace(
            streams=run.streams + len(batch.streams),
            events=run.events + len(batch.events), snapshots=run.snapshots + len(batch.snapshots),
            beat=run.beat + 1, updated_at=self._wall(), seconds=batch.seconds,
        )  # fmt: skip
        run = self._with_state(connection, batch, run)
        write_run(connection, run)
        return run, states

    def _with_state(self, connection: sqlite3.Connection, batch: Batch, run: RunRow) -> RunRow:
        if batch.planned:
            run = run._replace(steps=batch.planned[0], epochs=batch.planned[1])
        if batch.state is None:
            return run
        run = run._replace(state=batch.state, reason=json.dumps(batch.reason))
        if batch.state in ENDED:
            life = tables.attempts(connection)[-1]
            fields = (life.number, life.first_step, life.started_at, batch.state)
            connection.execute("REPLACE INTO attempt VALUES (?,?,?,?,?)", schema.sealed(*fields))
            # Who wrote a finished run is nobody's business once the folder is shared.
            run = run._replace(owner="")
        return run

    def _appended(self, connection: sqlite3.Connection, block: Block, state: StreamState) -> StreamState:
        pieces, full = list(state.pieces), compaction.full_rows(block.values.shape[1])
        packed = chunks.pack(block.step, block.epoch, block.seconds, block.values)
        for at in range(0, len(block.step), full):
            part = np.ascontiguousarray(packed[:, at : at + full])
            place = (block.stream, self._run.attempt, state.rows + at)
            pieces.append(Piece(compaction.write_chunk(connection, *place, part), part.shape[1], True))
        ascending = bool(np.all(np.diff(block.step) > 0)) and block.step[0] > state.high
        return StreamState(
            state.rows + len(block.step),
            max(state.high, int(block.step.max())),
            compaction.merge_newest(connection, tuple(pieces), full),
            summaries.extended(state.summary, block.step, block.values),
            state.exact and ascending,
        )

    def _left_wal(self, connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return bool(connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False


def _write_snapshots(connection: sqlite3.Connection, batch: Batch, run: RunRow) -> None:
    for number, shot in enumerate(batch.snapshots, run.snapshots):
        head = (number, run.attempt, shot.step, shot.batch, shot.body, schema.payload_crc(shot.data))
        connection.execute("INSERT INTO snapshot VALUES (?,?,?,?,?,?,?,?)", (*schema.sealed(*head), shot.data))


def _write_looks(connection: sqlite3.Connection, batch: Batch, run: RunRow) -> None:
    for name in dict.fromkeys(look.table for look in batch.looks):
        rows = tables.look_count(connection, name)
        found = [look for look in batch.looks if look.table == name]
        for seq, look in enumerate(found, rows):
            fields = schema.sealed(seq, run.attempt, look.step, look.body)
            connection.execute(f"INSERT INTO {name} VALUES (?,?,?,?,?)", fields)
        connection.execute("REPLACE INTO tally VALUES (?,?,?)", schema.sealed(name, rows + len(found)))
