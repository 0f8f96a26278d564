"""What was said and is not yet committed: bounded, packed early, and never silently shortened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cggm_core.store.looks import LookTable
from cggm_core.store.protocols import FloatArray, IntArray, State
from cggm_core.store.tables import Stream

MOST_ROWS = 250_000
MOST_VALUES = 8_000_000
MOST_ARRAY_BYTES = 256_000_000

# stream, step, epoch, seconds, values or a function that returns them
Row = tuple[int, int, int, float, Any]


class Block(NamedTuple):
    """Rows of one stream in the order recorded; `values` has shape [rows, columns]."""

    stream: int
    step: IntArray
    epoch: IntArray
    seconds: FloatArray
    values: FloatArray


class Said(NamedTuple):
    """An event before it has a number; `body` is JSON."""

    step: int
    seconds: float
    body: str


class Stored(NamedTuple):
    """A snapshot before it has a number; `body` is JSON."""

    step: int
    batch: int
    body: str
    data: bytes


class Looked(NamedTuple):
    """What a look found, before it has a number; `body` is JSON."""

    table: LookTable
    step: int
    body: str


@dataclass
class Batch:
    """What one transaction writes."""

    streams: list[Stream] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    events: list[Said] = field(default_factory=list)
    snapshots: list[Stored] = field(default_factory=list)
    looks: list[Looked] = field(default_factory=list)
    state: State | None = None
    reason: str = ""
    planned: tuple[int, int] | None = None
    seconds: float = 0.0

    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        said = self.streams or self.blocks or self.events or self.snapshots or self.looks
        return not (said or self.state or self.planned)


class RowBuffer:
    """Rows on their way from the training thread to the writer's thread.

    The training thread only appends a tuple. At most `MOST_ROWS` rows wait raw and `MOST_VALUES` numbers
    packed; beyond that the oldest go, and `dropped` says how many rows did.
    """

    def __init__(self) -> None:
        self.put_rows = 0
        self.dropped = 0
        self.refused: list[str] = []
        self._raw: deque[Row] = deque(maxlen=MOST_ROWS)
        self._taken = 0
        self._blocks: deque[Block] = deque()

    def put(self, row: Row) -> None:
        """Append a row; for one producer."""
        self._raw.append(row)
        self.put_rows += 1

    def waiting(self) -> int:
        """Rows not yet handed out."""
        return len(self._raw) + sum(len(block.step) for block in self._blocks)

    def gather(self, widths: Callable[[int], int]) -> None:
        """Pack what came in since the last call; on the writer's thread.

        Args:
            widths: number of columns of a stream.
        """
        said = self.put_rows
        taken = [self._raw.popleft() for _ in range(len(self._raw))]
        # What the bounded deque pushed out is the difference; a row put meanwhile belongs to the next call.
        overrun = max(0, said - self._taken - len(taken))
        self._taken += len(taken) + overrun
        self.dropped += overrun
        by_stream: dict[int, list[Row]] = {}
        for row in taken:
            by_stream.setdefault(row[0], []).append(row)
        for stream, rows in by_stream.items():
            if block := self._packed(stream, rows, widths(stream)):
                self._blocks.append(block)
        while sum(block.values.size for block in self._blocks) > MOST_VALUES:
            self.dropped += len(self._blocks.popleft().step)

    def hand_out(self) -> list[Block]:
        """Everything packed; the caller now keeps it."""
        blocks = list(self._blocks)
        self._blocks.clear()
        return blocks

    def _packed(self, stream: int, rows: list[Row], width: int) -> Block | None:
        try:
            return _block(stream, rows, width)
        except Exception:  # a user's function may raise anything; the row at fault is found one by one
            sound = [row for row in (self._resolved(row, width) for row in rows) if row]
            return _block(stream, sound, width) if sound else None

    def _resolved(self, row: Row, width: int) -> Row | None:
        stream, step, epoch, seconds, values = row
        try:
            given = values() if callable(values) else values
            found = np.asarray(given, np.float64).reshape(width)
            return (stream, int(np.int64(step)), int(np.int64(epoch)), seconds, found)
        except Exception as error:
            self.refused.append(f"a row of stream {stream} at step {step!r:.40} could not be read: {error!r:.300}")
            return None


def _block(stream: int, rows: list[Row], width: int) -> Block:
    # A function is called once only, so its answer replaces it before anything else can fail.
    for index, row in enumerate(rows):
        if callable(row[4]):
            rows[index] = (*row[:4], np.asarray(row[4](), np.float64).reshape(width))
    _, step, epoch, seconds, values = zip(*rows, strict=True)
    if all(isinstance(row, np.ndarray) for row in values):
        matrix = np.concatenate(values) if width else np.empty(0)
    else:
        matrix = np.array(values, np.float64)
    return Block(
        stream,
        np.array(step, np.int64),
        np.array(epoch, np.int64),
        np.array(seconds, np.float64),
        np.asarray(matrix, np.float64).reshape(len(rows), width),
    )
