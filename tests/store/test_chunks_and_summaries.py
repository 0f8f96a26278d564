from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cggm_core.store import chunks, summaries
from cggm_core.store.protocols import Summary

MATRIX = arrays.arrays(np.uint64, st.tuples(st.integers(1, 8), st.integers(0, 5)))


@given(MATRIX)
def test_packing_keeps_every_bit(patterns: np.ndarray) -> None:
    rows = len(patterns)
    step, epoch, seconds = np.arange(rows) - 3, np.arange(rows) * 2, np.arange(rows) / 3
    block = chunks.pack(step, epoch, seconds, patterns.view(np.float64))
    crcs, data = chunks.checksums(block), block.tobytes()
    again = chunks.unpack(data, rows, crcs)
    assert again is not None
    assert np.array_equal(again, block)
    assert np.array_equal(again[chunks.FIRST_VALUE :].view(np.uint64).T, patterns)
    assert again[chunks.SECONDS].view(np.float64).tolist() == seconds.tolist()


def test_any_flipped_bit_is_noticed() -> None:
    block = chunks.pack(np.arange(4), np.zeros(4, int), np.zeros(4), np.ones((4, 2)))
    crcs, data = chunks.checksums(block), bytearray(block.tobytes())
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        assert chunks.unpack(bytes(data), 4, crcs) is None
        column = bit // 8 // 32
        segment = bytes(data[column * 32 : column * 32 + 32])
        assert not chunks.is_sound(segment, column, crcs)
        data[bit // 8] ^= 1 << bit % 8
    assert chunks.unpack(bytes(data), 5, crcs) is None
    assert not chunks.is_sound(b"", 99, crcs)


def test_a_series_lies_in_one_piece() -> None:
    block = chunks.pack(np.arange(3), np.zeros(3, int), np.zeros(3), np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]))
    second = block.tobytes()[4 * 24 : 5 * 24]
    assert np.frombuffer(second).tolist() == [4.0, 5.0, 6.0]


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_summaries_do_not_depend_on_how_rows_are_cut(parts: list[list[float]]) -> None:
    flat = [value for part in parts for value in part]
    whole = summaries.extended(summaries.empty(1), np.arange(len(flat)), np.array(flat)[:, None])
    piecewise, at = summaries.empty(1), 0
    for part in parts:
        piecewise = summaries.extended(piecewise, np.arange(at, at + len(part)), np.array(part)[:, None])
        at += len(part)
    assert whole.tobytes() == piecewise.tobytes()
    finite = [value for value in flat if math.isfinite(value)]
    found = summaries.read(whole)[0]
    assert found.count == len(flat)
    assert found.nonfinite == len(flat) - len(finite)
    if finite:
        assert (found.low, found.high) == (min(finite), max(finite))
        assert flat[found.low_step] == found.low
    else:
        assert math.isnan(found.low)
        assert found.low_step == -1


def test_extending_leaves_the_old_summary_alone() -> None:
    before = summaries.empty(1)
    summaries.extended(before, np.array([0]), np.array([[1.0]]))
    assert summaries.read(before)[0].count == 0


def test_merging_summaries_of_one_series() -> None:
    first = Summary(3.0, 9, 1.0, 2, 8.0, 4, 10, 0)
    second = Summary(2.0, 20, 0.5, 15, 3.0, 12, 5, 1)
    nothing = summaries.read(summaries.empty(1))[0]
    assert summaries.merged([first, second]) == Summary(2.0, 20, 0.5, 15, 8.0, 4, 15, 1)
    assert summaries.merged([nothing, first, nothing]) == first
    only_nan = Summary(math.nan, 30, math.nan, -1, math.nan, -1, 1, 1)
    both = summaries.merged([only_nan, first])
    assert (both.low, both.high, both.count) == (1.0, 8.0, 11)
