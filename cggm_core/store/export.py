"""A run as CSV: one line a value, every float64 exactly; and what every export of a run's numbers shares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TextIO

import cggm_core
from cggm_core.names import MetricKey
from cggm_core.store.bundle import scrubbed
from cggm_core.store.protocols import RunInfo, RunReader, Series

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
    for key, part in histories(reader, keys, first=first, last=last, rows=_LINES):
        names = f"{_cell(key[0])},{_cell(key[1])}"
        rows = zip(part.step.tolist(), part.epoch.tolist(), part.value.tolist(), strict=True)
        file.write("".join(f"{step},{epoch},{names},{value!r}\n" for step, epoch, value in rows))
        written += len(part.step)
    return written


def histories(
    reader: RunReader, keys: Sequence[MetricKey] | None = None, *, first: int | None = None, last: int | None = None,
    rows: int,
) -> Iterator[tuple[MetricKey, Series]]:  # fmt: skip
    """Every series of a run, one after the other, in parts of at most `rows` rows; one is in memory at a time.

    Raises:
        DamagedRunError: if a checksum does not fit.
    """
    for given in reader.keys() if keys is None else keys:
        key = MetricKey(*given)
        whole = reader.series([key], first=first, last=last)[key]
        for start in range(0, len(whole.step), rows):
            cut = slice(start, start + rows)
            yield key, replace(
                whole, step=whole.step[cut], epoch=whole.epoch[cut], seconds=whole.seconds[cut], value=whole.value[cut]
            )  # fmt: skip


def origin(reader: RunReader) -> dict[str, Any]:
    """What made a run: its id, name, end and configuration without folders, and the versions it ran on."""
    info = reader.info()
    start = next((event.data for event in reader.events() if event.kind == "start"), {})
    ran_on = {name: str(start[name]) for name in ("torch", "python") if name in start}
    return {
        "run": info.id, "name": info.name, "state": info.state, "config": scrubbed(dict(info.config)),
        "versions": {"cggm-lab": cggm_core.__version__, **ran_on},
    }  # fmt: skip


def folder_name(info: RunInfo) -> str:
    """A name for a file or folder of this run: what its own name has of plain letters, and the end of its id."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", info.name).strip("-._")[:60]
    return f"{plain or 'run'}-{info.id[-6:]}"


def storable(text: str) -> str:
    """The text with a question mark for each half of a character, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _cell(text: str) -> str:
    plain = storable(text)
    guarded = f"'{plain}" if plain.startswith(_FORMULA) else plain
    if any(letter in guarded for letter in ',"\r\n'):
        return '"' + guarded.replace('"', '""') + '"'
    return guarded
