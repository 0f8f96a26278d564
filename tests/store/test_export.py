from __future__ import annotations

import csv
import io
import math
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun, write_csv


def exported(run: MemoryRun, **named: object) -> list[list[str]]:
    file = io.StringIO(newline="")
    count = write_csv(run.reader(), file, **named)  # type: ignore[arg-type]
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert rows[0] == ["step", "epoch", "metric", "modality", "value"]
    assert count == len(rows) - 1
    return rows[1:]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_every_number_comes_back_exactly(values: list[float]) -> None:
    run = MemoryRun()
    writer = run.writer()
    stream = writer.stream("s", [MetricKey("loss")])
    for step, value in enumerate(values):
        writer.log(stream, step, step // 2, [value])
    rows = exported(run)
    assert [struct.pack("<d", float(row[4])) for row in rows] == [struct.pack("<d", value) for value in values]
    assert [int(row[0]) for row in rows] == list(range(len(values)))
    assert [int(row[1]) for row in rows] == [step // 2 for step in range(len(values))]


def test_strange_values_and_a_range() -> None:
    run = MemoryRun()
    writer = run.writer()
    stream = writer.stream("s", [MetricKey("a"), MetricKey("b", "m|n")])
    for step, value in enumerate([math.nan, math.inf, -math.inf, -0.0]):
        writer.log(stream, step, 0, np.array([value, 1.0]))
    rows = exported(run)
    assert [row[4] for row in rows[:4]] == ["nan", "inf", "-inf", "-0.0"]
    assert [row[2:4] for row in rows[4:]] == [["b", "m|n"]] * 4
    assert [row[0] for row in exported(run, keys=[MetricKey("b", "m|n")], first=1, last=2)] == ["1", "2"]


def test_formulas_are_guarded_and_numbers_are_not() -> None:
    run = MemoryRun()
    writer = run.writer()
    names = ["=1+1", "+x", "-x", "@x", "\tx", 'quote"d, comma', "line\nbreak", "plain=", "\ud800"]
    stream = writer.stream("s", [MetricKey("m", name) for name in names])
    writer.log(stream, -1, 0, [-1.5] * len(names))
    rows = exported(run)
    assert [row[3] for row in rows] == [
        "'=1+1", "'+x", "'-x", "'@x", "'\tx", 'quote"d, comma', "line\nbreak", "plain=", "?",
    ]  # fmt: skip
    assert {(row[0], row[4]) for row in rows} == {("-1", "-1.5")}
