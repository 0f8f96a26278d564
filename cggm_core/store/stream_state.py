"""What a writer knows of the file it writes, and the two rows that say it to readers."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

import numpy as np

from cggm_core.store import compaction, schema, summaries, tables
from cggm_core.store.compaction import Piece


@dataclass(frozen=True)
class StreamState:
    """What the writer knows of a stream in the file.

    Attributes:
        rows: recorded so far; high: highest step of them.
        pieces: its newest chunks that may still be merged.
        summary: of its columns.
        exact: False once a row came out of order, so that an overwritten one may still count in `summary`.
    """

    rows: int
    high: int
    pieces: tuple[Piece, ...]
    summary: summaries.SummaryArray
    exact: bool = True


def recounted(connection: sqlite3.Connection, stream: int, state: StreamState) -> StreamState:
    """The state with its summary taken from the rows that count, superseded ones left out.

    Raises:
        DamagedRunError: if one of them does not fit its checksum.
    """
    columns = range(len(state.summary))
    rows = compaction.visible_rows(connection, stream, state.rows, columns)
    values = np.stack(rows.values, axis=1) if len(columns) else np.empty((len(rows.step), 0))
    made = summaries.extended(summaries.empty(len(columns)), rows.step, values)
    high = int(rows.step[-1]) if len(rows.step) else state.high
    return replace(state, high=high, summary=made, exact=True)


def write_summary(connection: sqlite3.Connection, stream: int, state: StreamState) -> None:
    """Store the summary of a stream and how many rows it has."""
    fields = (stream, state.rows, state.summary.tobytes())
    connection.execute("REPLACE INTO summary VALUES (?,?,?,?)", schema.sealed(*fields))


def write_run(connection: sqlite3.Connection, run: tables.RunRow) -> None:
    """Store the run's own row."""
    marks = ",".join("?" * (len(run) + 1))
    connection.execute(f"REPLACE INTO run({tables.RUN_COLUMNS}, crc, id) VALUES ({marks}, 1)", schema.sealed(*run))
