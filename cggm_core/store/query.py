"""The streams of a run as one transaction sees them: whole histories, and what is new since a place.

A place counts rows, never chunks, so it stays right while the writer merges chunks or seals the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cggm_core.names import MetricKey
from cggm_core.store import tables
from cggm_core.store.compaction import read_rows
from cggm_core.store.protocols import News, Series
from cggm_core.store.rows import Rows, as_series, settled, visible

_NOTHING = (0, -(2**63))


@dataclass(frozen=True)
class Place:
    """How far a consumer has read: by stream its rows and their highest step; the attempt; the last event."""

    attempt: int = 0
    streams: tuple[tuple[int, int], ...] = ()
    event: int = -1


class Query:
    """One transaction's view of the streams.

    Args:
        connection: inside a transaction.
        keys: series wanted, None for all.
    """

    def __init__(self, connection: sqlite3.Connection, keys: Sequence[MetricKey] | None) -> None:
        self._connection = connection
        self._run = tables.run_row(connection)
        self._streams = tables.streams(connection, self._run.streams)
        self._counts = tables.row_counts(connection)
        self._lives = tables.attempts(connection, self._run.attempt)
        self._cut = tables.hidden_from(self._lives)
        self._columns = {
            stream.id: [i for i, key in enumerate(stream.columns) if keys is None or key in keys]
            for stream in self._streams
        }

    def series(self, first: int | None = None, last: int | None = None) -> dict[MetricKey, Series]:
        """Every wanted series that the run has."""
        return self._joined({stream: self._rows(stream, 0, first, last) for stream in self._wanted()})

    def news(self, place: Place) -> News:
        """What is new since a place."""
        parts = {s: self._rows(s, self._handed_out(place, s)[0], None, None) for s in self._wanted()}
        restart_from = self._superseded_from(place, parts)
        if restart_from is not None:
            parts = {stream: self._rows(stream, 0, restart_from, None) for stream in self._wanted()}
        run = self._run
        return News(
            {key: series for key, series in self._joined(parts).items() if len(series.step)},
            tables.events(self._connection, place.event, run.events),
            Place(run.attempt, self._moved(place, parts, restart_from), run.events - 1),
            restart_from is not None,
            -1 if restart_from is None else restart_from,
        )

    def _superseded_from(self, place: Place, new: Mapping[int, Rows]) -> int | None:
        """Step from which a consumer must forget what it holds; None if all of that still stands."""
        highest = {stream: self._highest(place, stream) for stream in new}
        starts = {stream: int(rows.step[0]) for stream, rows in new.items() if len(rows.step)}
        lives = [life.first_step for life in self._lives if life.number > place.attempt > 0]
        again = [step for stream, step in starts.items() if step <= highest[stream]]
        again += [step for step in lives if highest and step <= max(highest.values())]
        # From there on everything is handed out anew, so it must lie before every new row as well.
        return min([*again, *starts.values()]) if again else None

    def _wanted(self) -> list[int]:
        return [stream for stream, columns in self._columns.items() if columns]

    def _handed_out(self, place: Place, stream: int) -> tuple[int, int]:
        return place.streams[stream] if stream < len(place.streams) else _NOTHING

    def _highest(self, place: Place, stream: int) -> int:
        """Highest step handed out of any series that this stream records too."""
        mine = set(self._streams[stream].columns)
        related = [other.id for other in self._streams if not mine.isdisjoint(other.columns)]
        return max(self._handed_out(place, other)[1] for other in related)

    def _moved(self, place: Place, parts: Mapping[int, Rows], stale: int | None) -> tuple[tuple[int, int], ...]:
        moved = []
        for stream in self._streams:
            high = self._handed_out(place, stream.id)[1]
            if stale is not None:
                high = min(high, stale - 1)
            rows = parts.get(stream.id)
            if rows is not None and len(rows.step):
                high = max(high, int(rows.step[-1]))
            moved.append((self._counts.get(stream.id, 0), high))
        return tuple(moved)

    def _rows(self, stream: int, after: int, first: int | None, last: int | None) -> Rows:
        columns = self._columns[stream]
        parts = []
        for chunk in tables.chunk_list(self._connection, stream, self._counts.get(stream, 0), after):
            cut = self._cut[chunk.attempt]
            outside = (first is not None and chunk.step_high < first) or (last is not None and chunk.step_low > last)
            if outside or chunk.step_low >= cut:
                continue
            rows = read_rows(self._connection, chunk, columns)
            rows = rows.take(slice(max(0, after - chunk.first_seq), None))
            parts.append(visible(rows, cut, first, last))
        return settled(parts, len(columns))

    def _joined(self, parts: Mapping[int, Rows]) -> dict[MetricKey, Series]:
        places: dict[MetricKey, list[Rows]] = {}
        for stream, rows in parts.items():
            for place, column in enumerate(self._columns[stream]):
                key = self._streams[stream].columns[column]
                places.setdefault(key, []).append(rows._replace(values=(rows.values[place],)))
        return {key: as_series(key, settled(found, 1), 0) for key, found in places.items()}
