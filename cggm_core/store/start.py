"""How a writer's life begins: a new run.db, or a new attempt in one that is there."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from cggm_core.errors import WriterConflictError
from cggm_core.store import compaction, schema, summaries, tables
from cggm_core.store.identity import Identity, is_alive, own_identity
from cggm_core.store.layout import DATABASE
from cggm_core.store.protocols import ENDED
from cggm_core.store.stream_state import StreamState, recounted, write_run, write_summary
from cggm_core.store.tables import RunRow

NO_STEP = -(2**63)


def make_file(path: Path, now: float) -> None:
    """Make a run.db without rows; aside first, so that no reader ever meets one without its tables.

    It names its maker at once: a run without an owner would show as died until its first attempt begins.

    Raises:
        OSError, sqlite3.Error: if the folder cannot be written.
    """
    made = path.with_name(f".{DATABASE}.new")
    made.unlink(missing_ok=True)
    schema.create(made)
    connection = sqlite3.connect(made, isolation_level=None)
    try:
        write_run(
            connection,
            RunRow(
                path.parent.name, "starting", '""', own_identity().to_json(), 0, 0, -1, -1, 0, 0, 0, 0, 0, now, now, 0.0
            ),
        )
    finally:
        connection.close()
    os.rename(made, path)


def begin_attempt(
    connection: sqlite3.Connection, resume_at: int | None, now: float
) -> tuple[RunRow, dict[int, StreamState]]:
    """Take the run over for a new attempt; returns its row and its streams.

    Args:
        connection: inside a write transaction.
        resume_at: first step of the attempt; None is the step after the last recorded.
        now: Unix seconds, for display.

    Raises:
        WriterConflictError: if the process that owns the run is alive.
        DamagedRunError: if rows recorded before do not fit their checksums.
    """
    run, me, lives = tables.run_row(connection), own_identity(), tables.attempts(connection)
    owner = Identity.from_json(run.owner)
    if run.state not in ENDED and owner is not None and owner != me and is_alive(owner):
        raise WriterConflictError(
            f"run {run.run_id} is being written by process {owner.pid} on {owner.host}; stop that one first"
        )
    if lives and not lives[-1].ended:
        died = (lives[-1].number, lives[-1].first_step, lives[-1].started_at, "died")
        connection.execute("REPLACE INTO attempt VALUES (?,?,?,?,?)", schema.sealed(*died))
    number, first = len(lives) + 1, resume_at if resume_at is not None else run.step + 1
    connection.execute("INSERT INTO attempt VALUES (?,?,?,?,?)", schema.sealed(number, first, now, ""))
    states = _known_streams(connection) if lives else {}
    step, epoch = _newest(connection, states)
    run = run._replace(
        state="starting", reason='""', owner=me.to_json(), attempt=number, beat=run.beat + 1,
        step=step, epoch=epoch, updated_at=now,
    )  # fmt: skip
    write_run(connection, run)
    return run, states


def _known_streams(connection: sqlite3.Connection) -> dict[int, StreamState]:
    """Streams of earlier attempts, their summaries taken anew: the new attempt may hide rows of the old."""
    counts, states = tables.row_counts(connection), {}
    for stream in tables.streams(connection):
        # Chunks never span attempts, so a new attempt starts with nothing to merge with.
        unread = StreamState(counts.get(stream.id, 0), NO_STEP, (), summaries.empty(len(stream.columns)))
        states[stream.id] = recounted(connection, stream.id, unread)
        write_summary(connection, stream.id, states[stream.id])
    return states


def _newest(connection: sqlite3.Connection, states: dict[int, StreamState]) -> tuple[int, int]:
    """Highest step recorded that still counts, and its epoch; -1 and -1 if there is none."""
    step = epoch = -1
    for stream, state in states.items():
        rows = compaction.visible_rows(connection, stream, state.rows, ())
        if len(rows.step) and rows.step[-1] > step:
            step, epoch = int(rows.step[-1]), int(rows.epoch[-1])
    return step, epoch
