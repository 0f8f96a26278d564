"""What only the SQLite store has: chunks that merge, a file that is sealed, readers beside the writer."""

from __future__ import annotations

import sqlite3
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cggm_core.errors import RunNotFoundError
from cggm_core.names import MetricKey
from cggm_core.store import compaction, open_reader, open_writer

LOSS = MetricKey("loss")


def chunk_rows(folder: Path) -> list[int]:
    connection = sqlite3.connect(folder / "run.db")
    try:
        return [rows for (rows,) in connection.execute("SELECT rows FROM chunk ORDER BY first_seq")]
    finally:
        connection.close()


def test_small_chunks_are_merged_as_they_gather(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FULL_ROWS", 100)
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    reader, cursor, held, most = open_reader(folder), None, [], 0
    for step in range(400):
        writer.log(stream, step, 0, [step])
        assert writer.flush()
        most = max(most, len(chunk_rows(folder)))
        news = reader.news(cursor)
        cursor = news.cursor
        assert not news.restart
        held += news.series[LOSS].step.tolist()
    assert held == list(range(400))
    assert most < compaction.MOST_FRESH + 15
    assert reader.series([LOSS])[LOSS].value.tolist() == list(range(400))
    writer.finish("finished")
    assert max(chunk_rows(folder)) <= 100
    assert len(chunk_rows(folder)) <= 5
    assert reader.series([LOSS])[LOSS].value.tolist() == list(range(400))
    assert reader.news(cursor).series == {}


def test_a_long_flush_is_cut_and_a_wide_stream_has_shorter_chunks(folder: Path) -> None:
    assert compaction.full_rows(40) == 4096
    assert compaction.full_rows(5000) < 200
    assert compaction.full_rows(10**6) == 64
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    for step in range(10_000):
        writer.log(stream, step, 0, (step,))
    writer.finish("finished")
    assert sum(chunk_rows(folder)) == 10_000
    assert max(chunk_rows(folder)) <= 4096
    assert len(chunk_rows(folder)) <= 5


def test_readers_beside_writer_merges_and_sealing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FULL_ROWS", 64)
    problems: list[str] = []
    done = threading.Event()

    def follow(ask_all: bool) -> None:
        reader, cursor, held = open_reader(folder), None, []
        try:
            while True:
                last = done.is_set()
                news = reader.news(cursor)
                cursor = news.cursor
                if LOSS in news.series:
                    held += news.series[LOSS].step.tolist()
                if news.restart or held != list(range(len(held))):
                    problems.append(f"restart {news.restart}, {len(held)} rows held")
                if ask_all:
                    found = reader.series([LOSS])[LOSS].step
                    if found.tolist() != list(range(len(found))) or len(found) < len(held):
                        problems.append(f"{len(found)} rows read, {len(held)} held")
                    if reader.info().damaged:
                        problems.append(reader.info().damaged)
                if last:
                    break
            if len(held) != 3000:
                problems.append(f"{len(held)} rows at the end")
        except Exception as error:
            problems.append(repr(error))

    readers = [threading.Thread(target=follow, args=(number == 0,)) for number in range(3)]
    for thread in readers:
        thread.start()
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    for step in range(3000):
        writer.log(stream, step, 0, (step,))
        if step % 25 == 0:
            assert writer.flush()
    writer.finish("finished")
    done.set()
    for thread in readers:
        thread.join()
    assert problems == []
    assert sorted(path.name for path in folder.iterdir() if "run.db" in path.name) == ["run.db"]


def test_a_sealed_run_is_one_private_file_that_opens_as_immutable(folder: Path) -> None:
    writer = open_writer(folder)
    writer.log(writer.stream("step", [LOSS]), 0, 0, [1.0])
    assert writer.flush()
    assert (folder / "run.db-wal").exists()
    writer.finish("finished")
    assert not (folder / "run.db-wal").exists()
    assert not (folder / "run.db-shm").exists()
    assert stat.S_IMODE((folder / "run.db").stat().st_mode) == 0o600
    connection = sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro&immutable=1", uri=True)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("SELECT owner FROM run").fetchone() == ("",)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert (folder / "run.lock").read_text() == ""


def test_readers_cannot_write(folder: Path) -> None:
    open_writer(folder).finish("finished")
    reader = open_reader(folder)
    with reader.reading() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM event")


def test_a_commit_comes_at_least_every_quarter_second(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    waits = []
    for step in range(8):
        time.sleep(0.03)
        begun = time.monotonic()
        writer.log(stream, step, 0, [1.0])
        reader = open_reader(folder)
        while reader.info().step < step and time.monotonic() < begun + 5:
            time.sleep(0.005)
        waits.append(time.monotonic() - begun)
    # The quickest shows the writer's pace, the middle one that a busy machine did not stop it.
    assert min(waits) <= 0.26
    assert sorted(waits)[len(waits) // 2] <= 1.0
    writer.finish("finished")


def test_logging_costs_little(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [MetricKey("m", str(i)) for i in range(40)])
    values, times = tuple(np.random.default_rng(0).normal(size=40).tolist()), []
    for step in range(5000):
        begun = time.perf_counter()
        writer.log(stream, step, 0, values)
        times.append(time.perf_counter() - begun)
    writer.finish("finished")
    assert sorted(times)[2500] < 60e-6


def test_a_long_read_does_not_wait_for_the_writer_nor_it_for_the_read(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    writer.log(stream, 0, 0, [1.0])
    assert writer.flush()
    with open_reader(folder).reading() as connection:
        connection.execute("SELECT * FROM run").fetchall()
        for step in range(1, 20):
            writer.log(stream, step, 0, [1.0])
            assert writer.flush(2.0)
        assert open_reader(folder).info().step == 19
    writer.finish("finished")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for bad in (tmp_path, tmp_path / ("0" * 26)):
        with pytest.raises(RunNotFoundError):
            open_writer(bad)
        with pytest.raises(RunNotFoundError):
            open_reader(bad)
