"""Parquet holds the numbers of the CSV bit for bit, with types and with what made them."""

from __future__ import annotations

import csv
import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import cggm_core
from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun, create_run, open_reader, open_writer, run_folder, write_csv, write_parquet
from cggm_core.store.parquet import METADATA

STRANGE = (float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 1e308, 0.1, 2.0**53 + 2)


def both(run: MemoryRun) -> tuple[list[list[str]], pa.Table]:
    """The run as rows of CSV and as a table of Parquet."""
    text, raw = io.StringIO(newline=""), io.BytesIO()
    lines, rows = write_csv(run.reader(), text), write_parquet(run.reader(), raw)
    assert lines == rows
    return list(csv.reader(io.StringIO(text.getvalue(), newline="")))[1:], parquet.read_table(raw)


def bits(values: list[float]) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


@settings(deadline=None)  # the first example pays for the import
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_the_same_numbers_as_the_csv_bit_for_bit(values: list[float]) -> None:
    run = MemoryRun()
    writer = run.writer()
    stream = writer.stream("s", [MetricKey("loss"), MetricKey("score", "audio")])
    for step, value in enumerate([*STRANGE, *values]):
        writer.log(stream, step, step // 3, [value, -value])
    lines, table = both(run)
    columns = list(zip(*lines, strict=True))
    assert table.column("step").to_pylist() == [int(cell) for cell in columns[0]]
    assert table.column("epoch").to_pylist() == [int(cell) for cell in columns[1]]
    assert table.column("metric").to_pylist() == list(columns[2])
    assert table.column("modality").to_pylist() == list(columns[3])
    stored = np.asarray(table.column("value"))
    # CSV has one word for every NaN; all other numbers agree in each of their bits.
    there = ~np.isnan(stored)
    assert bits(stored[there].tolist()) == bits([float(c) for c in np.asarray(columns[4])[there]])
    assert [cell for cell, sound in zip(columns[4], there, strict=True) if not sound] == ["nan"] * int((~there).sum())


def test_a_nan_keeps_its_own_bits(tmp_path: Path) -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0123))[0]
    folder = run_folder(tmp_path, create_run(tmp_path, "{}"))
    writer = open_writer(folder)
    writer.log(writer.stream("s", [MetricKey("loss")]), 0, 0, np.array([odd]))
    writer.finish("finished")
    raw = io.BytesIO()
    write_parquet(open_reader(folder), raw)
    assert np.asarray(parquet.read_table(raw).column("value")).tobytes() == np.array([odd]).tobytes()


def test_types_and_what_made_the_run_stand_in_the_file(tmp_path: Path) -> None:
    config = {"name": "a run", "method": "cggm", "dataset": "/home/somebody/secret/mosi.npz"}
    folder = run_folder(tmp_path, create_run(tmp_path, json.dumps(config)))
    writer = open_writer(folder)
    writer.event(0, "start", "training starts", {"torch": "2.13.0", "python": "3.11", "device": "cpu"})
    writer.log(writer.stream("s", [MetricKey("=loss", "a|b")]), 0, 0, [1.0])
    writer.finish("finished")
    out = tmp_path / "run.parquet"
    with open(out, "wb") as file:
        assert write_parquet(open_reader(folder), file) == 1
    again = io.BytesIO()
    write_parquet(open_reader(folder), again)
    assert again.getvalue() == out.read_bytes()
    schema = parquet.read_schema(out)
    text = pa.dictionary(pa.int32(), pa.string())
    assert schema.names == ["step", "epoch", "metric", "modality", "value"]
    assert schema.types == [pa.int64(), pa.int64(), text, text, pa.float64()]
    assert parquet.read_table(out).to_pylist() == [
        {"step": 0, "epoch": 0, "metric": "=loss", "modality": "a|b", "value": 1.0}
    ]
    said = json.loads(schema.metadata[METADATA.encode()])
    assert (said["run"], said["name"], said["state"]) == (folder.name, "a run", "finished")
    assert said["config"] == {**config, "dataset": "mosi.npz"}
    assert said["versions"] == {"cggm-lab": cggm_core.__version__, "torch": "2.13.0", "python": "3.11"}
    assert b"somebody" not in out.read_bytes()


def test_a_run_without_numbers_and_names_of_any_letters() -> None:
    assert both(MemoryRun()) == ([], both(MemoryRun())[1])
    run = MemoryRun()
    writer = run.writer()
    names = ["\ud800", "\ud801", "🙂" * 2500, "", "'; DROP TABLE run; --"]
    stream = writer.stream("s", [MetricKey("m", name) for name in names])
    writer.log(stream, -1, 0, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert both(run)[1].column("modality").to_pylist() == ["?", "?", *names[2:]]


def test_many_values_come_in_groups_of_bounded_size(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, create_run(tmp_path, "{}"))
    writer = open_writer(folder)
    one, few = (
        writer.stream("long", [MetricKey("loss")]),
        writer.stream("short", [MetricKey("m", str(i)) for i in range(300)]),
    )
    for step in range(150_000):
        writer.log(one, step, 0, (float(step),))
    writer.log(few, 0, 0, [0.5] * 300)
    writer.finish("finished")
    raw = io.BytesIO()
    assert write_parquet(open_reader(folder), raw) == 150_300
    meta = parquet.ParquetFile(raw).metadata
    assert meta.num_rows == 150_300
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [131_072, 19_228]
    assert sys.getsizeof(raw.getvalue()) < 2_000_000
