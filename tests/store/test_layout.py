from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from cggm_core.errors import RunNotFoundError, StoreError
from cggm_core.store import check_run_id, create_run, is_run_id, layout, run_folder
from cggm_core.store.files import atomic_write, locked


def test_ids_are_unique_ascending_and_tell_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [layout.new_run_id() for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(is_run_id(made) for made in ids)
    assert abs(layout.created_at(ids[0]) - layout.time.time()) < 60
    monkeypatch.setattr(layout.time, "time_ns", lambda: 1_000_000)
    assert layout.new_run_id() > ids[-1]


BAD = ["", "..", "../../etc/passwd", "/etc", "a" * 26, "0" * 25, "0" * 27, "8" + "0" * 25, "0" * 25 + "\n",
       "0" * 25 + "/", "%2e%2e", "\x00" * 26, "0" * 25 + "U", "０" * 26, "CON"]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_only_ids_become_paths(text: str, tmp_path: Path) -> None:
    assert not is_run_id(text)
    with pytest.raises(RunNotFoundError, match="is not a run id"):
        run_folder(tmp_path, text)
    with pytest.raises(RunNotFoundError):
        check_run_id(text)


def test_create_run_makes_a_private_folder_with_the_configuration(tmp_path: Path) -> None:
    run_id = create_run(tmp_path, '{"method": "cggm"}')
    folder = run_folder(tmp_path, run_id)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "config.json").read_text() == '{"method": "cggm"}'
    assert [entry.name for entry in tmp_path.iterdir()] == [run_id]


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000])
def test_a_configuration_is_an_object(text: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="JSON object"):
        create_run(tmp_path, text)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_missing_or_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        create_run(tmp_path / "none", "{}")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is not a folder"):
        create_run(tmp_path / "file", "{}")


def test_a_failure_leaves_no_half_made_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layout, "atomic_write", full)
    with pytest.raises(StoreError, match="No space left"):
        create_run(tmp_path, "{}")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_root_is_one_sentence(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
    elif subprocess.run(["chattr", "+i", tmp_path], capture_output=True).returncode:
        pytest.skip("root may write everywhere here, and the file system has no immutable flag")
    try:
        with pytest.raises(StoreError, match="no run can be made in"):
            create_run(tmp_path, "{}")
    finally:
        subprocess.run(["chattr", "-i", tmp_path], capture_output=True)
        tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_atomic_write_replaces_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.json"
    atomic_write(target, "old")
    atomic_write(target, b"new")
    assert target.read_text() == "new"

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        atomic_write(target, "newest")
    assert target.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "l"),
        pytest.raises(StoreError, match="held by another"),
        locked(tmp_path / "l", 0.05),
    ):
        pass
    with locked(tmp_path / "l", 0.05):
        pass
