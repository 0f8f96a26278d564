"""Packing: the rows of one flush become one blob, column by column.

Layout: int64 steps, int64 epochs, float64 seconds, then each value column as float64, all little-endian, each
segment `8 * rows` bytes. Columns lie one after the other so that one series is read by slices and the others
are never touched; each segment has a CRC32 of its own, so that such a part is still verified (SQLite's own
integrity check does not see a flipped bit in a payload). Values travel as 64-bit patterns: no NaN is altered.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cggm_core.store.protocols import FloatArray, IntArray

STEP, EPOCH, SECONDS, FIRST_VALUE = 0, 1, 2, 3
WORD = np.dtype("<i8")
_CRC = np.dtype("<u4")

Words = NDArray[np.int64]


def pack(step: IntArray, epoch: IntArray, seconds: FloatArray, values: FloatArray) -> Words:
    """Rows as one block of words.

    Args:
        step: shape [rows].
        epoch: shape [rows].
        seconds: shape [rows].
        values: shape [rows, columns].

    Returns:
        Shape [3 + columns, rows], C order: its bytes are the blob.
    """
    block = np.empty((FIRST_VALUE + values.shape[1], len(step)), WORD)
    block[STEP], block[EPOCH] = step, epoch
    block[SECONDS] = np.ascontiguousarray(seconds, "<f8").view(WORD)
    block[FIRST_VALUE:] = np.ascontiguousarray(values, "<f8").view(WORD).T
    return block


def checksums(block: Words) -> bytes:
    """CRC32 of every segment, four bytes each."""
    return np.array([zlib.crc32(segment) for segment in block], _CRC).tobytes()


def is_sound(segment: bytes | memoryview, column: int, crcs: bytes) -> bool:
    """Whether a segment's bytes fit the checksum of its column."""
    return len(crcs) >= 4 * (column + 1) and zlib.crc32(segment) == int(np.frombuffer(crcs, _CRC, 1, 4 * column)[0])


def words(segment: bytes | memoryview) -> Words:
    """A segment as integers; view it as float64 for seconds and values."""
    return np.frombuffer(segment, WORD)


def unpack(data: bytes, rows: int, crcs: bytes) -> Words | None:
    """A whole blob as its block; None if its size or any checksum does not fit."""
    columns = len(crcs) // 4
    if len(data) != 8 * rows * columns:
        return None
    block = np.frombuffer(data, WORD).reshape(columns, rows)
    return block if checksums(block) == crcs else None


def join(blocks: Sequence[Words]) -> Words:
    """Blocks of equal columns, one after the other in rows."""
    return np.ascontiguousarray(np.concatenate(blocks, axis=1))
