"""Truncated and altered files: said to be damaged, or read right; never a wrong curve, never a crash."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cggm_core.errors import DamagedRunError, SchemaTooNewError, StoreError
from cggm_core.names import MetricKey
from cggm_core.store import Catalogue, Contribution, create_run, open_reader, open_writer, run_folder, schema
from tests.store import processes

LOSS, SCORE = MetricKey("loss"), MetricKey("score", "audio")
ROWS = 600


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sealed")
    folder = run_folder(root, create_run(root, "{}"))
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(ROWS):
        writer.log(stream, step, step // 100, (step * 0.5, -float(step)))
        if step % 100 == 0:
            writer.event(step, "mark", f"at {step}", {"step": step})
            writer.snapshot(step, 0, "fused", "", np.full(50, float(step)))
    writer.finish("finished", "all done")
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed")
    folder = run_folder(root, create_run(root, "{}"))
    body = f"for step in range({ROWS}):\n    log(step)\n    if step % 50 == 0: writer.flush()\n"
    process = processes.start(body + "say(writer.flush()); sys.stdin.read()\n", folder)
    assert processes.read_line(process) == ["True"]
    processes.end(process)
    assert (folder / "run.db-wal").stat().st_size > 50_000
    return folder


def names_the_run(error: StoreError, folder: Path) -> None:
    assert folder.name in str(error)


def right_or_refused(folder: Path, *, events: int = 6) -> tuple[str, int]:
    """What became of a file: "damaged" or "read", and the rows read; fails for anything untrue."""
    reader = open_reader(folder)
    info = reader.info()
    fate, rows = "damaged" if info.damaged else "read", 0
    if info.damaged:
        assert folder.name in info.damaged
    else:
        assert info.summary[LOSS].low in (0.0,)
        assert info.summary[SCORE].high in (0.0,)
        assert info.step in range(ROWS)
    try:
        series = reader.series([LOSS, SCORE])
        rows = len(series[LOSS].step)
        assert series[LOSS].step.tolist() == list(range(rows))
        assert series[LOSS].epoch.tolist() == [step // 100 for step in range(rows)]
        assert series[LOSS].value.tolist() == [step * 0.5 for step in range(rows)]
        assert series[SCORE].value.tolist() == [-float(step) for step in range(rows)]
        assert np.all(np.diff(series[LOSS].seconds) >= 0)
    except StoreError as error:
        names_the_run(error, folder)
        fate = "damaged"
    calls: list[Callable[[], object]] = [
        reader.news,
        reader.events,
        reader.attempts,
        reader.snapshots,
        reader.keys,
    ]
    for call in calls:
        try:
            found = call()
        except StoreError as error:
            names_the_run(error, folder)
            fate = "damaged"
            continue
        if call == reader.events:
            assert [event.text for event in found] == [f"at {n * 100}" for n in range(events)]  # type: ignore[attr-defined]
        if call == reader.snapshots:
            assert [s.array.tolist() for s in found] == [[n * 100.0] * 50 for n in range(events)]  # type: ignore[attr-defined]
    reader.change_token()
    return fate, rows


def altered(source: Path, target: Path, change: Callable[[Path], None]) -> Path:
    shutil.copytree(source, target / source.name)
    change(target / source.name)
    return target / source.name


def test_the_sound_files_are_read(sealed: Path, killed: Path) -> None:
    assert right_or_refused(sealed) == ("read", ROWS)
    assert right_or_refused(killed, events=0) == ("read", ROWS)


def test_a_truncated_file_is_damaged(sealed: Path, tmp_path: Path) -> None:
    whole = (sealed / "run.db").read_bytes()
    sizes = [*range(0, len(whole), len(whole) // 25), 1, 15, 16, 99, 100, 101, 512, len(whole) - 1]
    for number, size in enumerate(sizes):
        folder = altered(
            sealed, tmp_path / str(number), lambda f, n=size: (f / "run.db").write_bytes(whole[:n]) and None
        )
        assert right_or_refused(folder)[0] == "damaged", f"cut to {size} bytes"
        assert len(Catalogue(folder.parent).runs()) == 1


def test_flipped_bytes_never_draw_a_wrong_curve(sealed: Path, tmp_path: Path) -> None:
    whole, dice = (sealed / "run.db").read_bytes(), random.Random(7)
    folder = altered(sealed, tmp_path, lambda f: None)
    fates = []
    for _ in range(300):
        spoiled = bytearray(whole)
        for _ in range(dice.choice([1, 1, 1, 16])):
            spoiled[dice.randrange(len(spoiled))] ^= 1 << dice.randrange(8)
        (folder / "run.db").write_bytes(spoiled)
        fates.append(right_or_refused(folder)[0])
    # Most of the file is payload and indexes; what is neither noticed nor wrong are free bytes of pages.
    assert fates.count("damaged") > 100


def test_every_byte_of_a_payload_counts(sealed: Path, tmp_path: Path) -> None:
    whole = (sealed / "run.db").read_bytes()
    needle = np.array([200.0, 200.5, 201.0]).tobytes()
    at = whole.index(needle)
    spoiled = bytearray(whole)
    spoiled[at] ^= 1
    folder = altered(sealed, tmp_path, lambda f: (f / "run.db").write_bytes(spoiled) and None)
    with pytest.raises(DamagedRunError, match=rf"run {folder.name}: .*steps 0 to 599"):
        open_reader(folder).series([LOSS])
    assert open_reader(folder).series([SCORE])[SCORE].total == ROWS
    assert open_reader(folder).info().damaged == ""


def test_a_spoiled_wal_gives_a_beginning_or_is_damaged(killed: Path, tmp_path: Path) -> None:
    wal, dice = (killed / "run.db-wal").read_bytes(), random.Random(8)
    folder = altered(killed, tmp_path, lambda f: None)
    base = (folder / "run.db").read_bytes()
    for turn in range(80):
        spoiled = bytearray(wal)
        if turn % 2:
            spoiled = spoiled[: dice.randrange(len(wal))]
        else:
            spoiled[dice.randrange(len(wal))] ^= 1 << dice.randrange(8)
        (folder / "run.db-shm").unlink(missing_ok=True)
        (folder / "run.db").write_bytes(base)
        (folder / "run.db-wal").write_bytes(spoiled)
        if (info := open_reader(folder).info()).summary:
            right_or_refused(folder, events=0)
        else:
            assert info.damaged or info.step == -1
            assert open_reader(folder).news().series == {} or info.damaged


def test_a_missing_row_is_noticed_everywhere(sealed: Path, tmp_path: Path) -> None:
    for number, statement in enumerate(
        ["DELETE FROM chunk", "DELETE FROM event WHERE seq = 5", "DELETE FROM snapshot WHERE id = 5",
         "DELETE FROM run", "DELETE FROM stream", "UPDATE chunk SET step_high = 5",
         "UPDATE summary SET rows = 3", "UPDATE attempt SET first_step = -50",
         "UPDATE run SET state = 'failed'", "DROP TABLE chunk",
         "UPDATE event SET body = '{}'",
         "UPDATE snapshot SET step = step + 1", "UPDATE stream SET name = '\"x\"'"]
    ):  # fmt: skip
        folder = altered(sealed, tmp_path / str(number), lambda f: None)
        connection = sqlite3.connect(folder / "run.db")
        connection.execute(statement)
        connection.commit()
        connection.close()
        assert right_or_refused(folder)[0] == "damaged", statement


def test_a_newer_file_is_refused_politely(sealed: Path, tmp_path: Path) -> None:
    folder = altered(sealed, tmp_path, lambda f: None)
    connection = sqlite3.connect(folder / "run.db")
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(SchemaTooNewError, match=f"format {schema.VERSION + 1}, this one reads up to {schema.VERSION}"):
        open_reader(folder).series([LOSS])
    with pytest.raises(SchemaTooNewError):
        open_writer(folder)
    assert "update to open it" in open_reader(folder).info().damaged
    assert "update to open it" in Catalogue(tmp_path).runs()[0].damaged


def test_another_program_s_database_is_no_run(sealed: Path, tmp_path: Path) -> None:
    folder = altered(sealed, tmp_path, lambda f: (f / "run.db").unlink())
    sqlite3.connect(folder / "run.db").execute("CREATE TABLE x(y)").connection.close()
    assert "not a run file" in open_reader(folder).info().damaged
    with pytest.raises(DamagedRunError, match="not a run file"):
        open_writer(folder)


def test_an_older_file_is_migrated_by_the_writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_writer(folder).finish("stopped")
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setitem(schema.MIGRATIONS, 3, "CREATE TABLE added(x);")
    assert open_reader(folder).info().damaged == ""
    open_writer(folder).finish("finished")
    assert open_reader(folder).info().damaged == ""
    connection = sqlite3.connect(folder / "run.db")
    assert connection.execute("SELECT count(*) FROM added").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    connection.close()


def test_resuming_a_damaged_run_is_refused(sealed: Path, tmp_path: Path) -> None:
    folder = altered(
        sealed, tmp_path, lambda f: (f / "run.db").write_bytes((f / "run.db").read_bytes()[:9000]) and None
    )
    with pytest.raises(StoreError, match=folder.name):
        open_writer(folder, resume_at=10)
    with pytest.raises(StoreError, match=folder.name):  # and the lock was let go
        open_writer(folder, resume_at=10)


def with_looks(folder: Path) -> None:
    writer = open_writer(folder)
    for step in range(3):
        writer.contribution(Contribution(
            step, 0, ("a", "b"), "accuracy", 9, True, 1.0, 0.0, (0.4, 0.4), (0.4, 0.4), (0.5, 0.5),
            ((0.1, 0.0), (0.0, 0.1)),
        ))  # fmt: skip
    writer.finish("finished")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM contribution WHERE seq = 1",
        "DELETE FROM contribution WHERE seq = 2",
        "UPDATE contribution SET body = replace(body, '0.5', '0.6')",
        "UPDATE tally SET rows = 2",
    ],
)
def test_a_changed_or_missing_look_is_noticed(folder: Path, statement: str) -> None:
    with_looks(folder)
    assert len(open_reader(folder).contributions()) == 3
    connection = sqlite3.connect(folder / "run.db")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(DamagedRunError, match=folder.name):
        open_reader(folder).contributions()


def test_a_file_from_before_looks_is_read_and_goes_on_with_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", 1)
    open_writer(folder).finish("stopped")
    monkeypatch.undo()
    assert open_reader(folder).info().damaged == ""
    assert open_reader(folder).contributions() == open_reader(folder).robustness() == ()
    with_looks(folder)
    assert len(open_reader(folder).contributions()) == 3
