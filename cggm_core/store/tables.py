"""Reading the tables of a run.db, each row verified; shared by the writer (which resumes) and the reader.

Every function works inside the caller's transaction, so what it sees belongs to one moment.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cggm_core.errors import DamagedRunError
from cggm_core.names import MetricKey
from cggm_core.store import chunks, summaries
from cggm_core.store.looks import LookTable
from cggm_core.store.protocols import Attempt, Event, Snapshot
from cggm_core.store.schema import checked

RUN_COLUMNS = "run_id, state, reason, owner, attempt, beat, step, epoch, steps, epochs, streams, events, snapshots, "
RUN_COLUMNS += "started_at, updated_at, seconds"
CHUNK_COLUMNS = "id, stream, attempt, first_seq, rows, step_low, step_high, crcs, crc"
# Below this a blob is read whole: opening it for slices costs more than the bytes saved.
_SLICED_FROM = 65_536
EVER = 2**63 - 1


class RunRow(NamedTuple):
    """The one row of table `run`; texts as JSON where a user may have written them."""

    run_id: str
    state: Any
    reason: str
    owner: str
    attempt: int
    beat: int
    step: int
    epoch: int
    steps: int
    epochs: int
    streams: int
    events: int
    snapshots: int
    started_at: float
    updated_at: float
    seconds: float


class Chunk(NamedTuple):
    """Where a run of consecutive rows of one stream lies; `first_seq` counts the stream's rows from 0."""

    id: int
    stream: int
    attempt: int
    first_seq: int
    rows: int
    step_low: int
    step_high: int
    crcs: bytes

    @property
    def end(self) -> int:
        """Number after that of the last row."""
        return self.first_seq + self.rows


@dataclass(frozen=True)
class Stream:
    """Columns recorded together."""

    id: int
    name: str
    columns: tuple[MetricKey, ...]


def run_row(connection: sqlite3.Connection) -> RunRow:
    """The run's own row."""
    row = connection.execute(f"SELECT {RUN_COLUMNS}, crc FROM run WHERE id = 1").fetchone()
    if row is None:
        raise DamagedRunError("the row of the run itself is missing")
    return RunRow(*checked(row, "the row of the run"))


def attempts(connection: sqlite3.Connection, recorded: int | None = None) -> tuple[Attempt, ...]:
    """Every life of the writer.

    Raises:
        DamagedRunError: if they are not as many as were recorded.
    """
    rows = connection.execute("SELECT number, first_step, started_at, ended, crc FROM attempt ORDER BY number")
    found = tuple(Attempt(*checked(row, f"attempt {row[0]}")) for row in rows)
    if recorded is not None and len(found) != recorded:
        raise DamagedRunError(f"{recorded} attempts were recorded, but {len(found)} are there")
    return found


def hidden_from(lives: Sequence[Attempt]) -> dict[int, int]:
    """By attempt, the step from which a later one won over it; `EVER` for the last."""
    cut, lowest = {}, EVER
    for life in reversed(lives):
        cut[life.number] = lowest
        lowest = min(lowest, life.first_step)
    return cut


def streams(connection: sqlite3.Connection, recorded: int | None = None) -> tuple[Stream, ...]:
    """Every stream in the order declared.

    Raises:
        DamagedRunError: if they are not as many as were recorded.
    """
    found: list[Stream] = []
    for row in connection.execute("SELECT id, name, columns, crc FROM stream ORDER BY id"):
        number, name, columns = checked(row, f"stream {row[0]}")
        if number != len(found):
            raise DamagedRunError(f"stream {len(found)} is missing")
        found.append(Stream(number, json.loads(name), tuple(MetricKey(*key) for key in json.loads(columns))))
    if recorded is not None and len(found) != recorded:
        raise DamagedRunError(f"{recorded} streams were recorded, but {len(found)} are there")
    return tuple(found)


def stream_summaries(connection: sqlite3.Connection) -> dict[int, tuple[int, summaries.SummaryArray]]:
    """By stream: rows recorded so far, and the packed summaries of its columns."""
    found = {}
    for row in connection.execute("SELECT stream, rows, series, crc FROM summary"):
        stream, rows, packed = checked(row, f"the summary of stream {row[0]}")
        found[stream] = (rows, np.frombuffer(packed, summaries.SUMMARY))
    return found


def row_counts(connection: sqlite3.Connection) -> dict[int, int]:
    """By stream, rows recorded so far."""
    return {stream: rows for stream, (rows, _) in stream_summaries(connection).items()}


def chunk_list(connection: sqlite3.Connection, stream: int, rows: int, after: int = 0) -> list[Chunk]:
    """Chunks that hold rows from number `after` on, in order.

    Args:
        connection: inside a transaction.
        stream: which.
        rows: how many rows the stream has, from its summary.
        after: number of the first row wanted.

    Raises:
        DamagedRunError: if a row number is covered twice or not at all.
    """
    if after >= rows:
        return []
    found = connection.execute(
        f"SELECT {CHUNK_COLUMNS} FROM chunk WHERE stream = ?1 AND first_seq >= coalesce("
        "(SELECT max(first_seq) FROM chunk WHERE stream = ?1 AND first_seq <= ?2), 0) ORDER BY first_seq",
        (stream, after),
    )
    listed = [Chunk(*checked(row, f"chunk {row[0]} of stream {stream}")) for row in found]
    at = listed[0].first_seq if listed else 0
    for chunk in listed:
        if chunk.first_seq != at or chunk.rows <= 0:
            raise DamagedRunError(f"rows {at} to {chunk.first_seq} of stream {stream} are missing")
        at = chunk.end
    if at != rows or not listed or listed[0].first_seq > after:
        raise DamagedRunError(f"stream {stream} holds rows up to {at}, but {rows} were recorded")
    return listed


def segments(connection: sqlite3.Connection, chunk: Chunk, columns: Sequence[int]) -> list[chunks.Words]:
    """Some columns of a chunk (0 step, 1 epoch, 2 seconds, then the values), verified.

    Raises:
        DamagedRunError: if a checksum does not fit; the message names the steps.
    """
    size, all_columns = 8 * chunk.rows, len(chunk.crcs) // 4
    if size * all_columns <= _SLICED_FROM or 2 * len(columns) >= all_columns:
        row = connection.execute("SELECT data FROM chunk WHERE id = ?", (chunk.id,)).fetchone()
        view = memoryview(row[0])
        pieces: list[bytes | memoryview] = [view[column * size : (column + 1) * size] for column in columns]
    else:
        with connection.blobopen("chunk", "data", chunk.id, readonly=True) as blob:
            pieces = [bytes(blob[column * size : (column + 1) * size]) for column in columns]
    for piece, column in zip(pieces, columns, strict=True):
        if len(piece) != size or not chunks.is_sound(piece, column, chunk.crcs):
            raise DamagedRunError(
                f"column {column} of stream {chunk.stream}, steps {chunk.step_low} to {chunk.step_high}, "
                "does not fit its checksum; other ranges of steps may still be read"
            )
    return [chunks.words(piece) for piece in pieces]


def block(connection: sqlite3.Connection, chunk: Chunk) -> chunks.Words:
    """A whole chunk, verified."""
    return np.stack(segments(connection, chunk, range(len(chunk.crcs) // 4)))


def events(connection: sqlite3.Connection, after: int, recorded: int) -> tuple[Event, ...]:
    """Events numbered above `after`, of `recorded` in all.

    Raises:
        DamagedRunError: if one is missing.
    """
    found = []
    rows = connection.execute("SELECT seq, step, seconds, body, crc FROM event WHERE seq > ? ORDER BY seq", (after,))
    for row in rows:
        seq, step, seconds, body = checked(row, f"event {row[0]}")
        said = json.loads(body)
        found.append(Event(seq, step, said["kind"], said["text"], said["data"], seconds))
    if [event.seq for event in found] != list(range(max(after, -1) + 1, recorded)):
        raise DamagedRunError(f"{recorded} events were recorded, but not all of them are there")
    return tuple(found)


def snapshots(connection: sqlite3.Connection, kind: str, modality: str, recorded: int) -> tuple[Snapshot, ...]:
    """Stored arrays that later attempts did not supersede; the last of equal places wins.

    Raises:
        DamagedRunError: if one is missing or does not fit its checksum.
    """
    cut = hidden_from(attempts(connection))
    heads = connection.execute("SELECT id, attempt, step, batch, body, data_crc, crc FROM snapshot ORDER BY id")
    seen, places = 0, {}
    for row in heads.fetchall():
        number, attempt, step, batch, body, crc = checked(row, f"snapshot {row[0]}")
        said = json.loads(body)
        seen += 1
        if step < cut[attempt] and kind in ("", said["kind"]) and modality in ("", said["modality"]):
            places[step, batch, said["kind"], said["modality"]] = (number, said, crc)
    if seen != recorded:
        raise DamagedRunError(f"{recorded} snapshots were recorded, but {seen} are there")
    return tuple(_snapshot(connection, place, *places[place]) for place in sorted(places, key=lambda p: p[:2]))


def look_count(connection: sqlite3.Connection, table: LookTable) -> int:
    """Rows of a table of looks; 0 in a file from before there were any."""
    if connection.execute("PRAGMA user_version").fetchone()[0] < 2:
        return 0
    row = connection.execute("SELECT name, rows, crc FROM tally WHERE name = ?", (table,)).fetchone()
    return int(checked(row, f"the tally of {table}")[1]) if row else 0


def looked(connection: sqlite3.Connection, table: LookTable) -> list[tuple[int, str]]:
    """Step and JSON of every look that later attempts did not supersede, in the order recorded.

    Raises:
        DamagedRunError: if one is missing or does not fit its checksum.
    """
    recorded = look_count(connection, table)
    if recorded == 0 and connection.execute("PRAGMA user_version").fetchone()[0] < 2:
        return []
    cut, found, seen = hidden_from(attempts(connection)), [], 0
    for row in connection.execute(f"SELECT seq, attempt, step, body, crc FROM {table} ORDER BY seq"):
        seq, attempt, step, said = checked(row, f"{table} {row[0]}")
        if seq != seen:
            raise DamagedRunError(f"{table} {seen} is missing")
        seen += 1
        if step < cut[attempt]:
            found.append((step, said))
    if seen != recorded:
        raise DamagedRunError(f"{recorded} rows of {table} were recorded, but {seen} are there")
    return found


def _snapshot(
    connection: sqlite3.Connection,
    place: tuple[int, int, str, str],
    number: int,
    said: dict[str, Any],
    crc: int,
) -> Snapshot:
    data = connection.execute("SELECT data FROM snapshot WHERE id = ?", (number,)).fetchone()[0]
    if zlib.crc32(data) != crc:
        raise DamagedRunError(f"the snapshot of step {place[0]} does not fit its checksum")
    array = np.frombuffer(data, np.dtype(said["dtype"])).reshape(said["shape"])
    return Snapshot(*place, array=array, data=said["data"])
