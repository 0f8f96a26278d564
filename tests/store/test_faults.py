"""What must be true after a writer was killed, stopped, starved or doubled."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cggm_core.errors import StoreError, WriterConflictError
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_reader, open_writer, run_folder
from tests.store import processes

LOSS, SCORE = MetricKey("loss"), MetricKey("score", "audio")


def steps(folder: Path) -> list[int]:
    series = open_reader(folder).series([LOSS, SCORE])
    assert series[LOSS].value.tolist() == (series[LOSS].step * 0.5).tolist()
    assert series[SCORE].value.tolist() == (-series[LOSS].step).astype(float).tolist()
    return series[LOSS].step.tolist()


def await_state(folder: Path, state: str) -> None:
    deadline = time.monotonic() + 10
    while open_reader(folder).info().state != state:
        assert time.monotonic() < deadline, f"{open_reader(folder).info().state} is not {state}"
        time.sleep(0.01)


@pytest.mark.slow
def test_kill_at_twenty_random_moments(tmp_path: Path) -> None:
    moments, lost_seconds = random.Random(20240), []
    for _ in range(20):
        folder = run_folder(tmp_path, create_run(tmp_path, "{}"))
        writer = processes.start(processes.STEADY, folder)
        assert processes.read_line(writer)[0] == "ready"
        time.sleep(moments.uniform(0.0, 0.7))
        killed_at = time.monotonic()
        said = [line.split() for line in processes.end(writer).splitlines() if line.count(" ") >= 1]
        flushed = max((int(words[1]) for words in said if words[0] == "flushed"), default=-1)
        logged = {int(words[1]): float(words[2]) for words in said if words[0] == "logged" and len(words) == 3}
        found = steps(folder)
        assert found == list(range(len(found)))
        assert len(found) > flushed
        missing = [at for step, at in logged.items() if step >= len(found)]
        lost_seconds.append(killed_at - min(missing) if missing else 0.0)
        reader = open_reader(folder)
        info = reader.info()
        assert (info.state, info.damaged) == ("died", "")
        assert "is gone" in info.reason
        connection = sqlite3.connect(folder / "run.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        resumed = open_writer(folder, resume_at=len(found) // 2)
        resumed.log(
            resumed.stream("step", [LOSS, SCORE]),
            len(found) // 2,
            0,
            [len(found) // 2 / 2, -(len(found) // 2)],
        )
        resumed.finish("finished")
        assert steps(folder) == list(range(len(found) // 2 + 1))
        assert [life.ended for life in reader.attempts()] == ["died", "finished"]
    assert statistics.median(lost_seconds) <= 0.25
    assert max(lost_seconds) <= 1.0  # room for a machine that gave the thread no processor


def test_a_second_process_reads_live(folder: Path) -> None:
    writer = processes.start(processes.STEADY, folder)
    try:
        assert processes.read_line(writer)[0] == "ready"
        script = (
            "import sys, time\nfrom cggm_core.names import MetricKey\n"
            "from cggm_core.store import open_reader\n"
            f"reader = open_reader({str(folder)!r}); cursor, held, tokens = None, [], set()\n"
            "end = time.monotonic() + 1.5\n"
            "while time.monotonic() < end:\n"
            "    tokens.add(reader.change_token()); news = reader.news(cursor); cursor = news.cursor\n"
            "    assert not news.restart\n"
            "    if news.series: held += news.series[MetricKey('loss')].step.tolist()\n"
            "    time.sleep(0.02)\n"
            "assert held == list(range(len(held))), held\n"
            "assert reader.info().state == 'running'\n"
            "print(len(held), len(tokens))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
        assert done.stderr == ""
        held, tokens = map(int, done.stdout.split())
        assert held > 100
        assert tokens >= 4
    finally:
        processes.end(writer)


def test_two_writers_are_refused_and_the_first_is_named(folder: Path) -> None:
    first = processes.start(processes.STEADY, folder)
    try:
        pid = int(processes.read_line(first)[1])
        with pytest.raises(WriterConflictError, match=f"process {pid} on "):
            open_writer(folder)
        await_state(folder, "running")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.4)
        assert open_reader(folder).info().state == "running"
        before = len(steps(folder))
        with pytest.raises(WriterConflictError):
            open_writer(folder)
        os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while len(steps(folder)) <= before + 50:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        processes.end(first)
    assert steps(folder) == list(range(len(steps(folder))))
    assert open_reader(folder).info().state == "died"
    open_writer(folder).finish("stopped")


def test_an_owner_that_holds_no_lock_is_still_the_owner(folder: Path) -> None:
    first = processes.start(processes.STEADY, folder)
    try:
        processes.read_line(first)
        await_state(folder, "running")
        (folder / "run.lock").unlink()  # as on a file system without locks
        with pytest.raises(WriterConflictError, match="stop that one first"):
            open_writer(folder)
    finally:
        processes.end(first)


def test_a_writer_that_was_taken_over_stops_writing(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    writer.log(stream, 0, 0, [1.0])
    assert writer.flush()
    connection = sqlite3.connect(folder / "run.db")
    connection.execute("PRAGMA busy_timeout = 5000")
    from cggm_core.store import stream_state, tables

    stolen = tables.run_row(connection)
    stream_state.write_run(connection, stolen._replace(beat=stolen.beat + 7))
    connection.commit()
    connection.close()
    writer.log(stream, 1, 0, [2.0])
    assert not writer.flush(5.0)
    writer.finish("finished")
    assert open_reader(folder).series([LOSS])[LOSS].value.tolist() == [1.0]


def test_an_exit_without_finish_commits_and_claims_nothing(folder: Path) -> None:
    process = processes.start("for step in range(1234): log(step)\n", folder)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert steps(folder) == list(range(1234))
    assert open_reader(folder).info().state == "died"
    assert open_reader(folder).attempts()[0].ended == "died"


def test_a_forked_child_never_writes(folder: Path) -> None:
    body = """
log(0)
child = os.fork()
if child == 0:
    for step in range(100, 200): log(step)
    writer.event(0, "child", "x")
    writer.state("paused")
    writer.flush(0.1)
    writer.finish("failed", "by the child")
    sys.exit(0)
os.waitpid(child, 0)
log(1)
say("flushed", writer.flush())
child = os.fork()
if child == 0:
    say("orphan", os.getpid())
    time.sleep(30)
    os._exit(0)
os._exit(0)
"""
    process = processes.start(body, folder)
    assert processes.read_line(process) == ["flushed", "True"]
    orphan = int(processes.read_line(process)[1])
    process.wait(20)
    try:
        assert steps(folder) == [0, 1]
        info = open_reader(folder).info()
        assert (info.state, open_reader(folder).events()) == ("died", ())
        # A data loader's worker that outlives its parent must not keep the run locked.
        open_writer(folder).finish("finished")
    finally:
        os.kill(orphan, signal.SIGKILL)
        processes.end(process)


@contextlib.contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", *options, place], capture_output=True).returncode:
        pytest.skip("no right to mount here")
    try:
        yield place
    finally:
        gc.collect()
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_stops_nothing_and_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as root:
        folder = run_folder(root, create_run(root, "{}"))
        writer = open_writer(folder)
        stream = writer.stream("step", [LOSS, SCORE])
        ballast = root / "ballast"
        ballast.write_bytes(b"")
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        slowest = 0.0
        for step in range(20_000):
            begun = time.perf_counter()
            writer.log(stream, step, step // 100, (step * 0.5, -float(step)))
            slowest = max(slowest, time.perf_counter() - begun)
        assert not writer.flush(1.0)
        assert slowest < 2.0
        assert open_reader(folder).info().damaged == ""
        ballast.unlink()
        assert writer.flush(10.0)
        assert writer.flush(10.0)
        assert steps(folder) == list(range(20_000))
        assert [event.kind for event in open_reader(folder).events()] == ["store_recovered"]
        writer.finish("finished")
        warned = [r for r in caplog.records if "cannot be written" in r.getMessage()]
        assert len(warned) == 1


def test_a_store_that_stays_away_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cggm_core.store.sqlite_writer.FINISH_SECONDS", 0.5)
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS])
    assert writer.flush()
    shutil.rmtree(folder)
    for step in range(100):
        writer.log(stream, step, 0, [1.0])
    assert not writer.flush(0.5)
    begun = time.monotonic()
    writer.finish("finished")
    assert time.monotonic() - begun < 20
    messages = [record.getMessage() for record in caplog.records]
    assert sum("cannot be written" in text for text in messages) == 1
    assert sum("the last 100 rows are lost" in text for text in messages) == 1
    assert not folder.exists()


def test_a_folder_that_comes_back_gets_everything(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    writer.log(stream, 0, 0, [0.0, 0.0])
    assert writer.flush()
    away = folder.with_name("away")
    folder.rename(away)
    writer.log(stream, 1, 0, [0.5, -1.0])
    assert not writer.flush(0.4)
    away.rename(folder)
    assert writer.flush(10.0)
    writer.finish("finished")
    assert steps(folder) == [0, 1]


def test_a_locked_file_is_waited_for(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    other = sqlite3.connect(folder / "run.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for step in range(50):
        writer.log(stream, step, 0, [step * 0.5, -step])
    assert not writer.flush(1.5)
    other.execute("ROLLBACK")
    other.close()
    assert writer.flush(10.0)
    assert steps(folder) == list(range(50))
    writer.finish("finished")


def test_an_answer_lost_after_its_commit_writes_nothing_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cggm_core.store.run_file import RunFile

    real, lost = RunFile._adopt, itertools.count()

    def forgetful(self: RunFile) -> None:
        if next(lost) % 3 == 0:
            raise sqlite3.OperationalError("disk I/O error")
        real(self)

    monkeypatch.setattr(RunFile, "_adopt", forgetful)
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(12):
        writer.log(stream, step, 0, [step * 0.5, -step])
        assert writer.flush(20.0)
    monkeypatch.setattr(RunFile, "_adopt", real)
    writer.finish("finished")
    found = open_reader(folder)
    assert steps(folder) == list(range(12))
    assert found.info().summary[LOSS].count == 12
    assert next(lost) > 12


def test_too_many_rows_drop_the_oldest_and_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cggm_core.store import buffer

    monkeypatch.setattr(buffer, "MOST_VALUES", 100)
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    assert writer.flush()
    away = folder.with_name("away")
    folder.rename(away)
    for step in range(400):
        writer.log(stream, step, 0, [step * 0.5, -step])
        if step % 10 == 0:
            writer.flush(0.02)
    away.rename(folder)
    assert writer.flush(10.0)
    writer.finish("finished")
    found = steps(folder)
    assert found[-1] == 399
    dropped = [event for event in open_reader(folder).events() if event.kind == "store_dropped"]
    assert sum(event.data["rows"] for event in dropped) == 400 - len(found) > 0


def test_the_raw_buffer_counts_what_it_pushed_out() -> None:
    from cggm_core.store.buffer import MOST_ROWS, RowBuffer

    buffer = RowBuffer()
    for step in range(MOST_ROWS + 10):
        buffer.put((0, step, 0, 0.0, (1.0,)))
    buffer.gather(lambda stream: 1)
    blocks = buffer.hand_out()
    assert buffer.dropped == 10
    assert blocks[0].step[0] == 10
    buffer.put((0, 7, 0, 0.0, (1.0,)))
    buffer.gather(lambda stream: 1)
    assert (buffer.dropped, len(buffer.hand_out()[0].step)) == (10, 1)


def test_a_function_that_fails_costs_its_row_only(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def values(step: int) -> np.ndarray:
        calls.append(step)
        if step == 3:
            raise RuntimeError("the device went away")
        return np.array([step * 0.5, -step] if step != 5 else [1.0, 2.0, 3.0])

    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(8):
        writer.log(stream, step, 0, lambda step=step: values(step))
    writer.finish("finished")
    assert steps(folder) == [0, 1, 2, 4, 6, 7]
    event = open_reader(folder).events()[0]
    assert event.kind == "store_refused"
    assert "the device went away" in event.text
    assert event.data["count"] == 2
    assert sorted(set(calls)) == list(range(8))


def test_a_read_only_folder_is_refused_at_the_start_and_read_anyway(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    folder = run_folder(source, create_run(source, "{}"))
    writer = open_writer(folder)
    writer.log(writer.stream("step", [LOSS, SCORE]), 0, 0, [0.0, 0.0])
    writer.finish("finished")
    fresh = run_folder(source, create_run(source, "{}"))
    with mounted(tmp_path / "view", "--bind", str(source)) as view:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        assert steps(view / folder.name) == [0]
        assert open_reader(view / folder.name).info().state == "finished"
        for closed in (folder, fresh):
            with pytest.raises(StoreError, match="cannot be written"):
                open_writer(view / closed.name)


def test_an_unsealed_run_on_read_only_media(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    folder = run_folder(source, create_run(source, "{}"))
    process = processes.start("for step in range(50): log(step)\n", folder)
    process.communicate(timeout=30)
    assert not (folder / "run.db-wal").exists()
    with mounted(tmp_path / "view", "--bind", str(source)) as view:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        assert steps(view / folder.name) == list(range(50))
        assert open_reader(view / folder.name).info().state == "died"


def test_a_writer_killed_in_its_very_last_write_is_read(folder: Path) -> None:
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(3000):
        writer.log(stream, step, 0, [step * 0.5, -step])
    writer.finish("finished")
    hot = sqlite3.connect(folder / "run.db", isolation_level=None)
    hot.execute("PRAGMA cache_size = 1")
    hot.execute("BEGIN IMMEDIATE")
    hot.execute("UPDATE chunk SET data = zeroblob(length(data))")
    copy = folder.with_name("0" * 26)
    shutil.copytree(folder, copy)
    hot.execute("ROLLBACK")
    hot.close()
    assert (copy / "run.db-journal").stat().st_size > 512
    assert steps(copy) == list(range(3000))


def test_a_clock_that_jumps_changes_no_order(folder: Path) -> None:
    times = iter(itertools.chain([1e9, 1e9 + 3600, 1e9 - 7200, 1e9 + 5], itertools.repeat(5.0)))
    writer = open_writer(folder, wall=lambda: next(times))
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(30):
        writer.log(stream, step, 0, [step * 0.5, -step])
        writer.event(step, "tick", str(step))
        writer.flush()
    assert open_reader(folder).info().state == "running"
    writer.finish("stopped")
    again = open_writer(folder, wall=lambda: -1e6)
    stream = again.stream("step", [LOSS, SCORE])
    again.log(stream, 30, 0, [15.0, -30.0])
    again.finish("finished")
    assert steps(folder) == list(range(31))
    seconds = open_reader(folder).series([LOSS])[LOSS].seconds
    assert np.all(np.diff(seconds) >= 0)
    assert seconds[0] >= 0
    assert [event.text for event in open_reader(folder).events()][:30] == [str(step) for step in range(30)]


@pytest.fixture(autouse=True)
def store_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="cggm_core.store")
