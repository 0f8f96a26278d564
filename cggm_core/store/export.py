"""A run as CSV: one line a value, every float64 exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from cggm_core.names import MetricKey
from cggm_core.store.protocols import RunReader, Series

COLUMNS = ("step", "epoch", "metric", "modality", "value")
_LINES = 10_000
# A spreadsheet would run a text cell that begins so as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(
    reader: RunReader, file: TextIO, *, keys: Sequence[MetricKey] | None = None, first: int | None = None,
    last: int | None = None,
) -> int:  # fmt: skip
    """Write the histories of a run, one series after the other, each ascending in step.

    Values are written by `repr`, which names every float64 exactly; others are `nan`, `inf` and `-inf`. Names
    that begin like a spreadsheet formula get a leading apostrophe; numbers are left alone.

    Args:
        reader: the run.
        file: open for text with newline="" (so that nothing is translated).
        keys: series to write, None for all.
        first: lowest step, None for the beginning.
        last: highest step, None for the end.

    Returns:
        Lines written, the heading apart.

    Raises:
        DamagedRunError: if a checksum does not fit; lines of the series before are written by then.
    """
    file.write(",".join(COLUMNS) + "\n")
    written = 0
    for key in reader.keys() if keys is None else keys:
        series = reader.series([key], first=first, last=last)[MetricKey(*key)]
        names = f"{_cell(key[0])},{_cell(key[1])}"
        for start in range(0, len(series.step), _LINES):
            file.write(_lines(series, slice(start, start + _LINES), names))
        written += len(series.step)
    return written


def _lines(series: Series, part: slice, names: str) -> str:
    rows = zip(series.step[part].tolist(), series.epoch[part].tolist(), series.value[part].tolist(), strict=True)
    return "".join(f"{step},{epoch},{names},{value!r}\n" for step, epoch, value in rows)


def _cell(text: str) -> str:
    # Half a character cannot be written as UTF-8; a name that holds one is shown with a question mark.
    plain = text.encode("utf-8", "replace").decode()
    guarded = f"'{plain}" if plain.startswith(_FORMULA) else plain
    if any(letter in guarded for letter in ',"\r\n'):
        return '"' + guarded.replace('"', '""') + '"'
    return guarded
