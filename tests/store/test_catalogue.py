from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from cggm_core.errors import RunNotFoundError
from cggm_core.names import MetricKey
from cggm_core.store import (
    Catalogue,
    create_run,
    layout,
    note_launch,
    open_reader,
    open_writer,
    own_identity,
    run_folder,
    sqlite_reader,
    trash,
    update_marks,
)
from tests.store import processes

LOSS = MetricKey("loss")


def finished_run(root: Path, value: float = 1.0, columns: int = 1) -> str:
    run_id = create_run(root, json.dumps({"name": f"value {value}", "method": "joint"}))
    writer = open_writer(run_folder(root, run_id))
    stream = writer.stream("step", [MetricKey("loss", "m" * (i > 0) + str(i) * (i > 0)) for i in range(columns)])
    writer.log(stream, 0, 0, [value] * columns)
    writer.finish("finished")
    return run_id


def copies(root: Path, run_id: str, count: int) -> list[str]:
    """Many folders of one run; their ids differ, which is enough for a list."""
    made = []
    for _ in range(count):
        made.append(layout.new_run_id())
        shutil.copytree(root / run_id, root / made[-1])
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def settle() -> None:
    """Files written in this tick are not remembered; wait until they are old enough."""
    time.sleep(0.05)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    real = sqlite_reader.SqliteRunReader.info

    def counting(self: sqlite_reader.SqliteRunReader) -> object:
        seen.append(self.run_id)
        return real(self)

    monkeypatch.setattr(sqlite_reader.SqliteRunReader, "info", counting)
    return seen


def test_runs_come_newest_first_and_equal_what_a_reader_says(root: Path) -> None:
    ids = [finished_run(root, float(i), columns=3) for i in range(4)]
    (root / "not a run").mkdir()
    (root / "file").write_text("")
    settle()
    Catalogue(root).runs()
    for catalogue in (Catalogue(root), Catalogue(root)):
        runs = catalogue.runs()
        assert [info.id for info in runs] == ids[::-1]
        for info in runs:
            assert info == open_reader(root / info.id).info()


def test_a_root_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert Catalogue(tmp_path / "runs").runs() == ()
    assert not (tmp_path / "runs").exists()


def test_nothing_is_read_again_without_a_change(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [finished_run(root) for _ in range(3)]
    settle()
    catalogue = Catalogue(root)
    seen = count_reads(monkeypatch)
    first = catalogue.runs()
    assert sorted(seen) == ids
    seen.clear()
    assert catalogue.runs() == first
    assert Catalogue(root).runs() == first
    assert seen == []
    update_marks(root / ids[1], name="renamed")
    assert [info.name for info in catalogue.runs()] == ["value 1.0", "renamed", "value 1.0"]
    assert set(seen) == {ids[1]}
    trash(root, ids[0])
    assert [info.id for info in catalogue.runs()] == [ids[2], ids[1]]
    assert [info.id for info in Catalogue(root).runs()] == [ids[2], ids[1]]


def test_a_live_run_is_followed_and_its_death_noticed(root: Path) -> None:
    folder = run_folder(root, create_run(root, "{}"))
    catalogue = Catalogue(root)
    assert catalogue.runs()[0].state == "starting"
    writer = processes.start(processes.STEADY, folder)
    try:
        assert processes.read_line(writer)[0] == "ready"
        deadline = time.monotonic() + 10
        while catalogue.runs()[0].step < 10:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert catalogue.runs()[0].state == "running"
    finally:
        processes.end(writer)
    settle()
    assert catalogue.runs()[0].state == "died"
    assert "is gone" in Catalogue(root).runs()[0].reason


def test_kill_is_in_the_change_token_and_in_the_catalogue_without_a_file_changing(root: Path) -> None:
    folder = run_folder(root, create_run(root, "{}"))
    writer = processes.start("say('ready'); log(0); writer.flush(); say('done'); sys.stdin.read()\n", folder)
    processes.read_line(writer)
    processes.read_line(writer)
    settle()
    reader, catalogue = open_reader(folder), Catalogue(root)
    before = reader.change_token()
    assert catalogue.runs()[0].state == "running"
    processes.end(writer)
    after = reader.change_token()
    assert before[:-2] == after[:-2]
    assert before != after
    assert catalogue.runs()[0].state == "died"


def test_a_damaged_run_is_listed_and_hurts_no_other(root: Path) -> None:
    ids = [finished_run(root, float(i)) for i in range(5)]
    (root / ids[0] / "run.db").write_bytes(b"this is no database" * 100)
    (root / ids[1] / "run.db").write_bytes(b"")
    (root / ids[2] / "config.json").write_text("{")
    (root / ids[3] / "run.db").unlink()
    (root / ids[3] / "run.db").mkdir()
    for catalogue in (Catalogue(root), Catalogue(root)):
        runs = {info.id: info for info in catalogue.runs()}
        assert len(runs) == 5
        for bad in ids[:4]:
            assert bad in runs[bad].damaged
        assert (runs[ids[4]].damaged, runs[ids[4]].state) == ("", "finished")
        assert runs[ids[2]].summary[LOSS].last == 2.0


@pytest.mark.parametrize("spoil", ["garbage", "empty", "folder", "other version", "flipped", "gone"])
def test_a_broken_cache_is_rebuilt_silently(root: Path, spoil: str) -> None:
    finished_run(root, 7.0)
    settle()
    expected = Catalogue(root).runs()
    cache = root / ".catalogue.db"
    if spoil == "garbage":
        cache.write_bytes(b"x" * 5000)
    elif spoil == "empty":
        cache.write_bytes(b"")
    elif spoil == "folder":
        cache.unlink()
        cache.mkdir()
    elif spoil == "gone":
        cache.unlink()
    else:
        connection = sqlite3.connect(cache)
        if spoil == "other version":
            connection.execute("PRAGMA user_version = 99")
        else:
            connection.execute("UPDATE run SET series = zeroblob(length(series))")
        connection.commit()
        connection.close()
    assert Catalogue(root).runs() == expected
    assert Catalogue(root).runs() == expected
    assert expected[0].summary[LOSS].last == 7.0


def test_samples_are_read_and_never_written(root: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    sample, own = finished_run(samples, 1.0), finished_run(root, 2.0)
    shutil.copytree(samples / sample, root / sample)
    other = finished_run(samples, 3.0)
    subprocess.run(["chattr", "+i", samples, *samples.iterdir()], capture_output=True)
    try:
        settle()
        before = sorted(path.name for path in samples.iterdir())
        for catalogue in (Catalogue(root, [samples]), Catalogue(root, [samples])):
            shown = {info.id: info.sample for info in catalogue.runs()}
            assert shown == {other: True, own: False, sample: False}
            assert catalogue.find(other).sample
            assert catalogue.folder(other) == samples / other
            assert catalogue.reader(other).info().summary[LOSS].last == 3.0
        assert sorted(path.name for path in samples.iterdir()) == before
        assert [info.id for info in Catalogue(tmp_path / "none", [samples]).runs()] == [other, sample]
    finally:
        subprocess.run(["chattr", "-i", samples, *samples.iterdir()], capture_output=True)


def test_an_unwritable_root_keeps_its_cache_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_run(root)
    if subprocess.run(["chattr", "+i", root], capture_output=True).returncode:
        pytest.skip("the file system has no immutable flag")
    try:
        settle()
        catalogue = Catalogue(root)
        seen = count_reads(monkeypatch)
        assert catalogue.runs() == catalogue.runs()
        assert len(seen) == 1
        assert not (root / ".catalogue.db").exists()
    finally:
        subprocess.run(["chattr", "-i", root], check=True)


def test_find_by_id_and_by_its_beginning(root: Path) -> None:
    first = finished_run(root)
    catalogue = Catalogue(root)
    assert catalogue.find(first).id == first
    assert catalogue.find(first[:12].lower()).id == first
    twin = copies(root, first, 1)[0]
    shared = next(i for i in range(26) if first[i] != twin[i])
    if shared >= 6:
        with pytest.raises(RunNotFoundError, match="2 runs begin so"):
            catalogue.find(first[:shared])
    assert catalogue.find(twin[: shared + 6]).id == twin
    for text, what in [("01", "at least 6"), ("0" * 26, "there is no run"), ("ZZZZZZZ", "list the runs"),
                       ("../../etc", "list the runs"), ("", "at least 6"),
                       ("x" * 10_000, "not found")]:  # fmt: skip
        with pytest.raises(RunNotFoundError, match=what):
            catalogue.find(text)


def test_a_linked_folder_is_no_run(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run_id = finished_run(outside)
    (root / run_id).symlink_to(outside / run_id)
    assert Catalogue(root).runs() == ()
    with pytest.raises(RunNotFoundError):
        Catalogue(root).folder(run_id)


def test_before_run_db_the_launcher_s_note_decides(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(root, create_run(root, "{}"))
    catalogue = Catalogue(root)
    assert catalogue.runs()[0].state == "starting"
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 61)
    assert (catalogue.runs()[0].state, open_reader(folder).info().state) == ("died", "died")
    assert "worker.log" in catalogue.runs()[0].reason
    note_launch(folder, own_identity())
    assert catalogue.runs()[0].state == "starting"
    child = subprocess.Popen(["sleep", "30"])
    from cggm_core.store import identity_of

    who = identity_of(child.pid)
    assert who is not None
    note_launch(folder, who)
    token = open_reader(folder).change_token()
    assert open_reader(folder).info().state == "starting"
    child.kill()
    child.wait()
    assert open_reader(folder).info().state == "died"
    assert open_reader(folder).change_token() != token


def test_a_thousand_runs_are_listed_quickly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies(root, finished_run(root, columns=40), 999)
    settle()
    assert len(Catalogue(root).runs()) == 1000
    seen = count_reads(monkeypatch)
    catalogue, times = Catalogue(root), []
    for _ in range(3):
        begun = time.perf_counter()
        assert len(catalogue.runs()) == 1000
        times.append(time.perf_counter() - begun)
    assert seen == []
    assert times[0] < 2.0
    assert min(times[1:]) < 0.5


def test_runs_never_read_before_are_left_for_the_next_call_when_patience_ends(root: Path) -> None:
    old, new = finished_run(root), finished_run(root)
    settle()
    catalogue = Catalogue(root)
    assert catalogue.runs(patience=-1.0) == ()
    assert catalogue.unread == 2
    assert [info.id for info in catalogue.runs(max_age=60.0)] == [new, old]
    assert catalogue.unread == 0
    # What was read once is looked at again however short the patience is.
    update_marks(run_folder(root, old), name="changed")
    assert [info.name for info in Catalogue(root).runs(patience=-1.0)] == ["value 1.0", "changed"]


def test_every_call_reads_on_however_long_the_known_runs_take(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        finished_run(root)
    catalogue = Catalogue(root)
    ticking = iter(range(1, 1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticking)))  # each look takes a second
    assert [len(catalogue.runs(patience=0.5)) for _ in range(3)] == [1, 2, 3]


def test_an_answer_is_given_again_only_within_its_age(root: Path) -> None:
    finished_run(root)
    catalogue = Catalogue(root)
    assert len(catalogue.runs()) == 1
    finished_run(root)
    assert len(catalogue.runs(max_age=60.0)) == 1
    assert len(catalogue.runs()) == 2
