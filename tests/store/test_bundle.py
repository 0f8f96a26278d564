"""Runs as one file: what comes back is what was packed, and a hostile archive changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import pickle
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cggm_core.errors import CggmError, RunNotFoundError, SchemaTooNewError, StoreError
from cggm_core.names import MetricKey
from cggm_core.store import (
    create_run,
    open_reader,
    open_writer,
    own_identity,
    pack,
    run_folder,
    schema,
    unpack,
    update_marks,
)
from cggm_core.store.bundle import without_folders

LOSS, SCORE = MetricKey("loss"), MetricKey("unimodal_score", "audio")
SECRET = "/home/somebody/secret place/tables/mosi.npz"


def make_run(root: Path, *, end: str | None = "finished", steps: int = 40) -> Path:
    root.mkdir(exist_ok=True)
    config = {"dataset": "/home/somebody/tables/mosi.npz", "name": "a/b <i>"}
    folder = run_folder(root, create_run(root, json.dumps(config)))
    writer = open_writer(folder)
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(steps):
        writer.log(stream, step, 0, (math.nan if step == 3 else step / 3, -step))
    writer.event(4, "note", "read /home/somebody/tables/mosi.npz", {"file": "/root/x/y.txt"})
    writer.snapshot(5, 0, "classifier", "audio", np.arange(4.0))
    writer.flush()
    if end == "failed":
        writer.finish("failed", "no such file /home/somebody/tables/mosi.npz")
    elif end:
        writer.finish(end)
    return folder


def listing(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_run_comes_back_bit_for_bit(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a"), make_run(tmp_path / "a", steps=7)]
    update_marks(folders[0], name="mine", tags=["x"], notes="n", pinned=True)
    (tmp_path / "b").mkdir()
    pack(folders, tmp_path / "two.zip")
    assert sorted(unpack(tmp_path / "two.zip", tmp_path / "b")) == sorted(f.name for f in folders)
    for folder in folders:
        old, new = open_reader(folder), open_reader(tmp_path / "b" / folder.name)
        assert new.keys() == old.keys()
        for key in old.keys():  # noqa: SIM118
            assert old.series([key])[key].value.tobytes() == new.series([key])[key].value.tobytes()
            assert old.series([key])[key].step.tolist() == new.series([key])[key].step.tolist()
        assert new.snapshots()[0].array.tolist() == [0.0, 1.0, 2.0, 3.0]
        assert (new.info().state, new.info().damaged) == ("finished", "")
    assert open_reader(tmp_path / "b" / folders[0].name).info().name == "mine"
    assert sorted(p.name for p in (tmp_path / "b").iterdir() if not p.name.startswith(".")) == sorted(
        f.name for f in folders
    )


def test_packing_twice_gives_the_same_bytes_and_changes_no_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    before = listing(tmp_path / "a")
    pack([folder], tmp_path / "1.zip")
    pack([folder], tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert listing(tmp_path / "a") == before


def test_taking_in_what_is_there_already_changes_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    pack([folder], tmp_path / "1.zip")
    assert unpack(tmp_path / "1.zip", tmp_path / "a") == ()
    assert unpack(tmp_path / "1.zip", tmp_path / "b") == (folder.name,)
    before = listing(tmp_path / "b" / folder.name)
    assert unpack(tmp_path / "1.zip", tmp_path / "b") == ()
    assert listing(tmp_path / "b" / folder.name) == before


def test_a_run_of_the_same_id_with_other_rows_is_not_overwritten(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", end="stopped")
    pack([folder], tmp_path / "1.zip")
    writer = open_writer(folder)
    writer.log(writer.stream("step", [LOSS, SCORE]), 40, 1, (1.0, 1.0))
    writer.finish("finished")
    before = listing(tmp_path / "a")
    with pytest.raises(StoreError, match="other contents is there already"):
        unpack(tmp_path / "1.zip", tmp_path / "a")
    assert {k: v for k, v in listing(tmp_path / "a").items() if "lock" not in k} == {
        k: v for k, v in before.items() if "lock" not in k
    }


def test_a_living_run_is_packed_as_of_one_moment_and_goes_on(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", end=None)
    assert open_reader(folder).info().state in ("starting", "running")
    pack([folder], tmp_path / "1.zip")
    (tmp_path / "b").mkdir()
    unpack(tmp_path / "1.zip", tmp_path / "b")
    info = open_reader(tmp_path / "b" / folder.name).info()
    assert (info.state, info.reason) == ("stopped", "packed before it had ended")
    assert open_reader(folder).info().state in ("starting", "running")


@pytest.mark.parametrize("end", ["finished", "failed", None])
def test_no_folder_host_or_process_leaves_the_machine(tmp_path: Path, end: str | None) -> None:
    folder = make_run(tmp_path / "a", end=end)
    pack([folder], tmp_path / "1.zip")
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        archive.extractall(tmp_path / "out")
    everything = b"".join(listing(tmp_path / "out").values())
    # A host may be called "vm", and two letters occur in any number: the identity is looked for as it is written.
    for secret in (b"somebody", b"/root/x", b'"host"', own_identity().boot.encode(), str(tmp_path).encode()):
        assert secret not in everything
    assert b"mosi.npz" in everything


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/a/b.npz", "b.npz"),
        (r"C:\Users\a\b.npz is", "b.npz is"),
        ("~/data/x.npz", "x.npz"),
        ("file:///srv/data/x.npz", "x.npz"),
        ("a/b <i>", "a/b <i>"),
        ("accuracy 3/4, and/or", "accuracy 3/4, and/or"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("/Users/Jane Doe/data/x.npz", "x.npz"),
        (r"C:\Users\Jane Doe\x.npz", "x.npz"),
        ("/home/u,v/secret/x.npz", "x.npz"),
        ("no such file /home/Jane Doe/x.npz; name another", "no such file x.npz; name another"),
        ("host:/home/u/y.npz", "host:y.npz"),
        ("read 'C:\\Users\\Jane Doe\\x.npz'", "read 'x.npz'"),
        ("/", ""),
    ],
)
def test_without_folders(text: str, left: str) -> None:
    assert without_folders(text) == left


def test_nothing_recorded_or_nothing_named_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="at least one run"):
        pack([], tmp_path / "x.zip")
    folder = run_folder(tmp_path, create_run(tmp_path, "{}"))
    with pytest.raises(RunNotFoundError, match="nothing recorded"):
        pack([folder], tmp_path / "x.zip")
    assert not list(tmp_path.glob("*.zip"))


# What follows is hostile. Each case takes a sound archive's parts and spoils one thing.

Parts = dict[str, bytes]


def parts_of(archive: Path) -> Parts:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write(parts: Parts, file: Path, change: Callable[[zipfile.ZipFile], None] | None = None) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        if change:
            change(archive)


def relisted(parts: Parts) -> Parts:
    """The manifest made to agree with the parts, as whoever forges an archive would."""
    said = json.loads(parts["manifest.json"])
    for run in said["runs"]:
        for name in run["files"]:
            data = parts[f"runs/{run['id']}/{name}"]
            run["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {**parts, "manifest.json": json.dumps(said).encode()}


@pytest.fixture
def sound(tmp_path: Path) -> tuple[Parts, str]:
    folder = make_run(tmp_path / "a")
    pack([folder], tmp_path / "sound.zip")
    return parts_of(tmp_path / "sound.zip"), folder.name


def refused(file: Path, tmp_path: Path, error: type[CggmError] = StoreError, **limits: int) -> str:
    """Try to take it in; nothing may be there afterwards, inside the runs folder or beside it."""
    root = tmp_path / "target" / "runs"
    root.mkdir(parents=True, exist_ok=True)
    before = {p for p in tmp_path.rglob("*") if p.name != ".import.lock"}
    with pytest.raises(error) as raised:
        unpack(file, root, **limits)
    assert {p for p in tmp_path.rglob("*") if p.name != ".import.lock"} == before
    return str(raised.value)


TRAVERSALS = (
    "../escape", "runs/../../escape", "/tmp/escape", "runs\\..\\escape", "C:\\escape", "//server/share/x",
    "runs/%2e%2e/escape", "runs/%252e%252e/escape",
    "runs/x\0.db", "CON", "runs/00000000000000000000000000/run.db", "RUNS/config.json",
)  # fmt: skip


@pytest.mark.parametrize("name", TRAVERSALS)
def test_a_member_that_is_not_ours_is_refused(name: str, sound: tuple[Parts, str], tmp_path: Path) -> None:
    write(sound[0], tmp_path / "bad.zip", lambda archive: archive.writestr(name, b"x"))
    assert "nothing was changed" in refused(tmp_path / "bad.zip", tmp_path)


@pytest.mark.parametrize("run_id", ["../../up", "short", "", None, 7, "0" * 25 + "\n"])
def test_a_run_id_that_is_none_is_refused(run_id: object, sound: tuple[Parts, str], tmp_path: Path) -> None:
    said = json.loads(sound[0]["manifest.json"])
    said["runs"][0]["id"] = run_id
    parts = {n.replace(sound[1], str(run_id)): d for n, d in sound[0].items()}
    with contextlib.suppress(ValueError):
        write({**parts, "manifest.json": json.dumps(said).encode()}, tmp_path / "bad.zip")
    assert "no run id" in refused(tmp_path / "bad.zip", tmp_path)


def test_links_folders_and_doubles_are_refused(sound: tuple[Parts, str], tmp_path: Path) -> None:
    parts, run_id = sound
    name = f"runs/{run_id}/run.db"

    def link(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, b"/etc/passwd")

    write({n: d for n, d in parts.items() if n != name}, tmp_path / "link.zip", link)
    assert "link" in refused(tmp_path / "link.zip", tmp_path)
    write(parts, tmp_path / "folder.zip", lambda archive: archive.writestr(f"runs/{run_id}/", b""))
    refused(tmp_path / "folder.zip", tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"):
        write(parts, tmp_path / "double.zip", lambda archive: archive.writestr(name, b"other"))
    assert "twice" in refused(tmp_path / "double.zip", tmp_path)


def test_bombs_are_refused_before_they_fill_the_disk(sound: tuple[Parts, str], tmp_path: Path) -> None:
    parts, run_id = sound
    bomb = relisted({**parts, f"runs/{run_id}/run.db": bytes(40_000_000)})
    write(bomb, tmp_path / "bomb.zip")
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    assert "more than the" in refused(tmp_path / "bomb.zip", tmp_path, most_bytes=10_000_000)
    # One that lies about its size: the central directory says little, the data unpack to much.
    raw = bytearray((tmp_path / "bomb.zip").read_bytes())
    said = json.loads(bomb["manifest.json"])
    said["runs"][0]["files"]["run.db"]["bytes"] = 1000
    write({**bomb, "manifest.json": json.dumps(said).encode()}, tmp_path / "liar.zip")
    raw = bytearray((tmp_path / "liar.zip").read_bytes())
    size = (40_000_000).to_bytes(4, "little")
    assert raw.count(size) == 2
    (tmp_path / "liar.zip").write_bytes(bytes(raw).replace(size, (1000).to_bytes(4, "little")))
    refused(tmp_path / "liar.zip", tmp_path)


def test_what_does_not_fit_its_promise_is_refused(sound: tuple[Parts, str], tmp_path: Path) -> None:
    parts, run_id = sound
    name = f"runs/{run_id}/run.db"
    flipped = bytearray(parts[name])
    flipped[len(flipped) // 2] ^= 4
    write({**parts, name: bytes(flipped)}, tmp_path / "sum.zip")
    assert "checksum" in refused(tmp_path / "sum.zip", tmp_path)
    write({n: d for n, d in parts.items() if n != name}, tmp_path / "missing.zip")
    assert "not there" in refused(tmp_path / "missing.zip", tmp_path)
    whole = (tmp_path / "sum.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert "no sound ZIP" in refused(tmp_path / "cut.zip", tmp_path)
    (tmp_path / "text.zip").write_bytes(b"hello")
    assert "no sound ZIP" in refused(tmp_path / "text.zip", tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"[" * 100_000, b"{}", b'{"format": "cggm-lab runs", "version": 1, "runs": []}',
     b'{"format": "cggm-lab runs", "version": "1", "runs": [{}]}'],
)  # fmt: skip
def test_a_manifest_of_another_kind_is_refused(manifest: bytes, sound: tuple[Parts, str], tmp_path: Path) -> None:
    write({**sound[0], "manifest.json": manifest}, tmp_path / "bad.zip")
    assert "manifest.json" in refused(tmp_path / "bad.zip", tmp_path)


def forged(sound: tuple[Parts, str], tmp_path: Path, change: Callable[[sqlite3.Connection], object]) -> Path:
    """An archive whose run.db was changed by somebody who also wrote its checksum."""
    parts, run_id = sound
    path = tmp_path / "forged.db"
    path.write_bytes(parts[f"runs/{run_id}/run.db"])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        change(connection)
    write(relisted({**parts, f"runs/{run_id}/run.db": path.read_bytes()}), tmp_path / "forged.zip")
    for left in tmp_path.glob("forged.db*"):
        left.unlink()
    return tmp_path / "forged.zip"


def test_a_newer_format_is_refused_with_what_to_do(sound: tuple[Parts, str], tmp_path: Path) -> None:
    newer = forged(sound, tmp_path, lambda c: c.execute("PRAGMA user_version = 99"))
    assert "update" in refused(newer, tmp_path, SchemaTooNewError)
    said = json.loads(sound[0]["manifest.json"]) | {"version": 2}
    write({**sound[0], "manifest.json": json.dumps(said).encode()}, tmp_path / "newer.zip")
    assert "update" in refused(tmp_path / "newer.zip", tmp_path, SchemaTooNewError)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM run; END",
        "CREATE VIEW v AS SELECT * FROM run",
        "CREATE TABLE extra(x)",
        "UPDATE run SET run_id = '00000000000000000000000000'",
        "UPDATE run SET state = 'running'",
        "UPDATE chunk SET data = zeroblob(length(data))",
        "PRAGMA journal_mode = WAL",
        "PRAGMA application_id = 5",
        "DELETE FROM event",
    ],
)
def test_a_database_the_lab_would_not_write_is_refused(
    statement: str, sound: tuple[Parts, str], tmp_path: Path
) -> None:
    refused(forged(sound, tmp_path, lambda c: c.execute(statement)), tmp_path)


def test_marks_and_configurations_that_are_no_objects_are_refused(sound: tuple[Parts, str], tmp_path: Path) -> None:
    parts, run_id = sound
    for data in (b"[1]", b"\xff\xfe", b"{" * 50_000):
        write(relisted({**parts, f"runs/{run_id}/config.json": data}), tmp_path / "bad.zip")
        assert "config.json" in refused(tmp_path / "bad.zip", tmp_path)


def test_many_thousand_entries_and_an_archive_in_an_archive_are_refused(
    sound: tuple[Parts, str], tmp_path: Path
) -> None:
    parts, run_id = sound
    write(parts, tmp_path / "many.zip", lambda archive: [archive.writestr(str(n), b"") for n in range(20_000)])
    assert "is not listed" in refused(tmp_path / "many.zip", tmp_path)
    inner = (tmp_path / "sound.zip").read_bytes()
    write(relisted({**parts, f"runs/{run_id}/run.db": inner}), tmp_path / "nested.zip")
    assert "not sealed, or no database" in refused(tmp_path / "nested.zip", tmp_path)


def test_a_stored_array_of_objects_is_refused_and_nothing_in_it_runs(sound: tuple[Parts, str], tmp_path: Path) -> None:
    """A pickle could hide where an array of objects is said to be: nobody may ever load it."""
    canary = tmp_path / "canary"
    raw = pickle.dumps(Canary(canary))

    def planted(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT id, attempt, step, batch, body FROM snapshot").fetchone()
        said = json.loads(row[4]) | {"dtype": "|O", "shape": [1]}
        head = (*row[:4], json.dumps(said), schema.payload_crc(raw))
        connection.execute("DELETE FROM snapshot")
        connection.execute("INSERT INTO snapshot VALUES (?,?,?,?,?,?,?,?)", (*schema.sealed(*head), raw))

    refused(forged(sound, tmp_path, planted), tmp_path)
    assert not canary.exists()
    pickle.loads(raw)
    assert canary.exists()


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_one_bad_run_among_good_ones_keeps_all_out(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a"), make_run(tmp_path / "a")]
    pack(folders, tmp_path / "two.zip")
    parts = parts_of(tmp_path / "two.zip")
    parts[f"runs/{folders[1].name}/config.json"] = b"3"
    write(relisted(parts), tmp_path / "bad.zip")
    refused(tmp_path / "bad.zip", tmp_path)
