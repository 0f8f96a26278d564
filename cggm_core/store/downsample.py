"""Fewer points that show the same line: the extremes of buckets that stay where they are.

Buckets are powers of two wide and aligned to the absolute step, never to the window or to the last row. So a
point once drawn stays while rows arrive; only its newest bucket changes, and once in a doubling of the run
the width doubles. Largest-triangle-three-buckets (LTTB) draws prettier lines, but its buckets depend on the
number
of rows: each new row moves earlier points, a live line trembles, and peaks appear and vanish.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cggm_core.errors import StoreError
from cggm_core.store.protocols import FloatArray, IntArray, Series

FEWEST = 8


def kept_indices(step: IntArray, value: FloatArray, max_points: int) -> IntArray:
    """Which rows to draw; cut several arrays alike by indexing each with the answer.

    Kept: the first and the last row, the lowest and the highest finite value of every bucket (of equals the
    earliest), and the first non-finite value of every bucket that has one. Same input, same answer.

    Args:
        step: shape [rows], strictly ascending.
        value: shape [rows].
        max_points: at least 8; up to this many rows all are kept.

    Returns:
        Ascending indices into the rows, at most `max_points`.

    Raises:
        StoreError: if `max_points` is below 8.
    """
    if max_points < FEWEST:
        raise StoreError(f"max_points is {max_points}; take 0 for every point, or at least {FEWEST}")
    rows = len(step)
    if rows <= max_points:
        return np.arange(rows)
    finite = np.isfinite(value)
    starts = _bucket_starts(step, ~finite, max_points)
    lengths = np.diff(starts, append=rows)
    low = np.where(finite, value, np.inf) if not finite.all() else value
    high = np.where(finite, value, -np.inf) if low is not value else value
    keep = [
        np.array([0, rows - 1]),
        _first_per_bucket(finite & (low == np.repeat(np.minimum.reduceat(low, starts), lengths)), starts),
        _first_per_bucket(finite & (high == np.repeat(np.maximum.reduceat(high, starts), lengths)), starts),
    ]
    if low is not value:
        keep.append(_first_per_bucket(~finite, starts))
    return np.unique(np.concatenate(keep))


def downsampled(series: Series, max_points: int) -> Series:
    """A series cut to at most `max_points` rows (0: left whole); `total` keeps saying how many there were.

    Raises:
        StoreError: if `max_points` is between 1 and 7.
    """
    if max_points == 0:
        return series
    kept = kept_indices(series.step, series.value, max_points)
    if len(kept) == len(series.step):
        return series
    return Series(
        series.key,
        series.step[kept],
        series.epoch[kept],
        series.seconds[kept],
        series.value[kept],
        series.total,
    )


def _bucket_starts(step: IntArray, strange: NDArray[np.bool_], max_points: int) -> IntArray:
    """First row of every bucket, for the smallest power of two as width that keeps few enough rows."""
    # No width below this can do: a bucket holds at most as many rows as it is wide.
    shift = max(0, int(np.ceil(np.log2(2 * len(step) / max_points))))
    starts = np.arange(len(step))
    marks = np.flatnonzero(strange)
    while True:
        bucket = step[starts] >> shift
        starts = starts[np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))]
        marked = len(np.unique(step[marks] >> shift)) if len(marks) else 0
        if 2 * len(starts) + marked + 2 <= max_points:
            return starts
        shift += 1


def _first_per_bucket(wanted: NDArray[np.bool_], starts: IntArray) -> IntArray:
    rows = np.flatnonzero(wanted)
    bucket = np.searchsorted(starts, rows, side="right")
    return rows[np.flatnonzero(np.diff(bucket, prepend=-1))]
