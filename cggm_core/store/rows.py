"""Which recorded rows count: superseded ones left out, of equal steps the last, ascending in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cggm_core.names import MetricKey
from cggm_core.store.protocols import FloatArray, IntArray, Series


class Rows(NamedTuple):
    """Rows of one stream: step, epoch, seconds, and one array of values a column, each of shape [rows]."""

    step: IntArray
    epoch: IntArray
    seconds: FloatArray
    values: tuple[FloatArray, ...]

    def take(self, kept: IntArray | slice) -> Rows:
        """Some of the rows."""
        return Rows(
            self.step[kept],
            self.epoch[kept],
            self.seconds[kept],
            tuple(column[kept] for column in self.values),
        )


def no_rows(columns: int) -> Rows:
    """Rows of a stream that has none."""
    nothing = np.empty(0)
    return Rows(np.empty(0, np.int64), np.empty(0, np.int64), nothing, (nothing,) * columns)


def settled(parts: Sequence[Rows], columns: int) -> Rows:
    """Parts in the order recorded, as one: ascending in step, of equal steps the row recorded last."""
    parts = [part for part in parts if len(part.step)]
    if not parts:
        return no_rows(columns)
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    if np.all(whole.step[1:] > whole.step[:-1]):
        return whole
    order = np.argsort(whole.step, kind="stable")
    ordered = whole.step[order]
    return whole.take(order[np.append(ordered[1:] != ordered[:-1], True)])


def visible(part: Rows, cut: int, first: int | None, last: int | None) -> Rows:
    """Rows below the step `cut` from which a later attempt won, from `first` to `last`, both inclusive."""
    low = -(2**63) if first is None else first
    high = cut - 1 if last is None else min(last, cut - 1)
    if not len(part.step) or (part.step.min() >= low and part.step.max() <= high):
        return part
    return part.take(np.flatnonzero((part.step >= low) & (part.step <= high)))


def as_series(key: MetricKey, rows: Rows, column: int) -> Series:
    """One column as a series nobody can change by accident."""
    value = rows.values[column]
    for array in (rows.step, rows.epoch, rows.seconds, value):
        array.flags.writeable = False
    return Series(key, rows.step, rows.epoch, rows.seconds, value, len(value))


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([part.step for part in parts]),
        np.concatenate([part.epoch for part in parts]),
        np.concatenate([part.seconds for part in parts]),
        tuple(np.concatenate(column) for column in zip(*(part.values for part in parts), strict=True)),
    )
