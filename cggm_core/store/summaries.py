"""Every series of a stream in eight numbers, kept up with each commit.

They are stored packed, not as SQLite numbers: SQLite turns NaN into NULL and loses the sign of zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from cggm_core.names import MetricKey
from cggm_core.store.protocols import FloatArray, IntArray, Summary

SUMMARY = np.dtype(
    [("last", "<f8"), ("last_step", "<i8"), ("low", "<f8"), ("low_step", "<i8"),
     ("high", "<f8"), ("high_step", "<i8"), ("count", "<i8"), ("nonfinite", "<i8")]
)  # fmt: skip
SummaryArray = NDArray[np.void]


def empty(columns: int) -> SummaryArray:
    """Summaries of series that have no value yet."""
    made = np.zeros(columns, SUMMARY)
    for name in ("last", "low", "high"):
        made[name], made[f"{name}_step"] = np.nan, -1
    return made


def extended(before: SummaryArray, step: IntArray, values: FloatArray) -> SummaryArray:
    """Summaries after more rows; `before` is left as it is.

    Args:
        before: shape [columns].
        step: shape [rows], any order; the newest value is the one at the highest step, of equals the later.
        values: shape [rows, columns].
    """
    made = before.copy()
    if len(step) == 0 or len(before) == 0:
        return made
    newest = len(step) - 1 - int(np.argmax(step[::-1]))
    if made["count"][0] == 0 or step[newest] >= made["last_step"][0]:
        made["last"], made["last_step"] = values[newest], step[newest]
    finite = np.isfinite(values)
    made["count"] += len(step)
    made["nonfinite"] += len(step) - finite.sum(axis=0)
    columns = np.arange(values.shape[1])
    for name, away, pick, beats in (
        ("low", np.inf, np.argmin, np.less),
        ("high", -np.inf, np.argmax, np.greater),
    ):
        shown = np.where(finite, values, away)
        row = pick(shown, axis=0)
        best = shown[row, columns]
        better = np.isfinite(best) & (beats(best, made[name]) | np.isnan(made[name]))
        made[name][better], made[f"{name}_step"][better] = best[better], step[row][better]
    return made


def read(packed: SummaryArray) -> list[Summary]:
    """Packed summaries as values."""
    return [Summary(*entry) for entry in packed.tolist()]


class PackedSummaries(Mapping[MetricKey, Summary]):
    """Summaries by series, unpacked when asked for: a list of 10,000 runs shows few of them.

    Args:
        keys: the series.
        packed: their summaries, shape [len(keys)].

    Raises:
        ValueError: if the two differ in length.
    """

    def __init__(self, keys: tuple[MetricKey, ...], packed: SummaryArray) -> None:
        if len(keys) != len(packed):
            raise ValueError(f"{len(keys)} series, but {len(packed)} summaries")
        self._keys, self._packed = keys, packed

    def __getitem__(self, key: MetricKey) -> Summary:
        try:
            return Summary(*self._packed[self._keys.index(key)].tolist())
        except ValueError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[MetricKey]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def merged(parts: Iterable[Summary]) -> Summary:
    """One summary over the same series recorded in several streams, the later declared last."""
    made: Summary | None = None
    for part in parts:
        made = part if made is None or made.count == 0 else made if part.count == 0 else _both(made, part)
    return made or read(empty(1))[0]


def _both(first: Summary, second: Summary) -> Summary:
    newest = second if second.last_step >= first.last_step else first
    lowest = first if not second.low < first.low and not np.isnan(first.low) else second
    highest = first if not second.high > first.high and not np.isnan(first.high) else second
    return Summary(
        newest.last, newest.last_step, lowest.low, lowest.low_step, highest.high, highest.high_step,
        first.count + second.count, first.nonfinite + second.nonfinite,
    )  # fmt: skip
