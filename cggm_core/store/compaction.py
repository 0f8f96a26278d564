"""Chunks on disk: writing them, merging small ones, and reading back the rows that count.

A commit every quarter second makes many small chunks. They are merged inside the same transaction as they
gather, so reading a series costs by its length and not by the number of commits. A reader's place in a stream
is a row number and never a chunk, so merging cannot make it skip a row or hand one out twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cggm_core.errors import DamagedRunError
from cggm_core.store import chunks, schema, tables
from cggm_core.store.rows import Rows, settled, visible

MOST_FRESH = 32
FULL_ROWS = 4096
FULL_BYTES = 4_000_000


class Piece(NamedTuple):
    """A chunk that may still be merged; `fresh` while it holds one commit's rows."""

    chunk: int
    rows: int
    fresh: bool


def full_rows(columns: int) -> int:
    """Rows of a chunk that is merged no more: 4,096, fewer in wide streams, so that a merge stays short."""
    return max(64, min(FULL_ROWS, FULL_BYTES // (8 * (chunks.FIRST_VALUE + columns))))


def write_chunk(connection: sqlite3.Connection, stream: int, attempt: int, first_seq: int, part: chunks.Words) -> int:
    """Insert one chunk; returns its id."""
    step = part[chunks.STEP]
    head = (
        stream,
        attempt,
        first_seq,
        part.shape[1],
        int(step.min()),
        int(step.max()),
        chunks.checksums(part),
    )
    number = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM chunk").fetchone()[0]
    connection.execute(
        "INSERT INTO chunk VALUES (?,?,?,?,?,?,?,?,?,?)", (*schema.sealed(number, *head), part.tobytes())
    )
    return int(number)


def merge_newest(connection: sqlite3.Connection, pieces: tuple[Piece, ...], full: int) -> tuple[Piece, ...]:
    """Merge the newest chunks of a stream where enough have gathered; returns those still to be merged.

    Each row is rewritten about twice in its life: when 32 commits have gathered, and when a full chunk has.
    """
    fresh = [piece for piece in pieces if piece.fresh]
    while sum(piece.rows for piece in pieces) >= full:
        count, rows = 1, pieces[0].rows
        while count < len(pieces) and rows + pieces[count].rows <= full:
            rows += pieces[count].rows
            count += 1
        _merge(connection, [piece.chunk for piece in pieces[:count]])
        pieces, fresh = pieces[count:], []
    if len(fresh) >= MOST_FRESH:
        made = _merge(connection, [piece.chunk for piece in fresh])
        kept = tuple(piece for piece in pieces if not piece.fresh)
        return (*kept, Piece(made, sum(piece.rows for piece in fresh), False)) if made >= 0 else ()
    return pieces


def merge_all(connection: sqlite3.Connection, stream: int, rows: int) -> None:
    """Merge neighbours of one attempt wherever they fit into a full chunk, for good."""
    group: list[tables.Chunk] = []
    for chunk in tables.chunk_list(connection, stream, rows):
        full = full_rows(len(chunk.crcs) // 4 - chunks.FIRST_VALUE)
        fits = sum(entry.rows for entry in group) + chunk.rows <= full
        if group and (not fits or chunk.attempt != group[0].attempt):
            _merge(connection, [entry.id for entry in group])
            group = []
        group.append(chunk)
    _merge(connection, [entry.id for entry in group])


def visible_rows(connection: sqlite3.Connection, stream: int, count: int, columns: Sequence[int]) -> Rows:
    """Rows of a stream that no later attempt superseded, ascending in step.

    Args:
        connection: inside a transaction.
        stream: which.
        count: rows it has.
        columns: which value columns to read.
    """
    cut = tables.hidden_from(tables.attempts(connection))
    parts = [
        visible(read_rows(connection, chunk, columns), cut[chunk.attempt], None, None)
        for chunk in tables.chunk_list(connection, stream, count)
        if chunk.step_low < cut[chunk.attempt]
    ]
    return settled(parts, len(columns))


def read_rows(connection: sqlite3.Connection, chunk: tables.Chunk, columns: Sequence[int]) -> Rows:
    """Rows of a chunk with some value columns, verified."""
    wanted = [chunks.STEP, chunks.EPOCH, chunks.SECONDS, *(chunks.FIRST_VALUE + column for column in columns)]
    step, epoch, seconds, *values = tables.segments(connection, chunk, wanted)
    return Rows(step, epoch, seconds.view(np.float64), tuple(column.view(np.float64) for column in values))


def _merge(connection: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Replace neighbours by one chunk; returns its id, or -1 where one is damaged and stays."""
    if len(ids) < 2:
        return ids[0] if ids else -1
    marks = ",".join("?" * len(ids))
    rows = connection.execute(
        f"SELECT {tables.CHUNK_COLUMNS} FROM chunk WHERE id IN ({marks}) ORDER BY first_seq",
        ids,
    ).fetchall()
    try:
        listed = [tables.Chunk(*schema.checked(row, f"chunk {row[0]}")) for row in rows]
        joined = chunks.join([tables.block(connection, chunk) for chunk in listed])
    except DamagedRunError:
        return -1
    connection.execute(f"DELETE FROM chunk WHERE id IN ({marks})", ids)
    return write_chunk(connection, listed[0].stream, listed[0].attempt, listed[0].first_seq, joined)
