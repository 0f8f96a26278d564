from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cggm_core.errors import RunNotFoundError, StoreError, WriterConflictError
from cggm_core.store import (
    Marks,
    create_run,
    delete,
    open_reader,
    open_writer,
    read_marks,
    restore,
    trash,
    trashed,
    update_marks,
)


def test_marks_change_one_by_one_and_show_in_the_info(folder: Path) -> None:
    assert open_reader(folder).info().name == "a run"
    update_marks(folder, tags=["b", "a", "b"], pinned=True)
    update_marks(folder, name="other <b>name</b>", notes="line\nline")
    marks = update_marks(folder, archived=True)
    assert marks == Marks("other <b>name</b>", ("b", "a"), "line\nline", True, True)
    info = open_reader(folder).info()
    assert (info.name, info.tags, info.notes, info.pinned, info.archived) == tuple(vars(marks).values())
    assert update_marks(folder, name="", pinned=False).name == ""


def test_marks_are_cleaned_also_when_someone_else_wrote_them(folder: Path) -> None:
    (folder / "marks.json").write_text(
        json.dumps({"name": "a\u202eb\x00c" + "x" * 10_000, "tags": ["t\x1b", 3, ""], "notes": 5, "pinned": "yes"})
    )
    marks = read_marks(folder, {"notes": "n"})
    assert marks.name.startswith("abcxx")
    assert len(marks.name) == 200
    assert (marks.tags, marks.notes, marks.pinned) == (("t",), "", False)
    (folder / "marks.json").write_text("{")
    assert read_marks(folder, {"name": "from config"}).name == "from config"


def test_two_sessions_lose_no_mark(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda i: update_marks(folder, **[{"name": "n"}, {"notes": "t"}, {"pinned": True}][i % 3]),
                range(30),
            )
        )
    assert read_marks(folder, {}) == Marks("n", (), "t", True, False)


def test_marks_of_a_missing_run(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="trash"):
        update_marks(tmp_path / "gone", name="x")


def test_to_the_trash_back_and_for_good(folder: Path) -> None:
    root, run_id = folder.parent, folder.name
    trash(root, run_id)
    assert not folder.exists()
    assert trashed(root) == (run_id,)
    restore(root, run_id)
    assert open_reader(folder).info().name == "a run"
    trash(root, run_id)
    delete(root, run_id)
    assert trashed(root) == ()
    with pytest.raises(RunNotFoundError):
        delete(root, run_id)
    with pytest.raises(RunNotFoundError):
        trash(root, run_id)


def test_only_the_trash_is_deleted_from(folder: Path) -> None:
    with pytest.raises(RunNotFoundError):
        delete(folder.parent, folder.name)
    for bad in ("..", "../x", "/etc", ""):
        for act in (trash, restore, delete):
            with pytest.raises(RunNotFoundError, match="is not a run id"):
                act(folder.parent, bad)
    assert folder.is_dir()


def test_a_run_that_is_written_is_not_trashed(folder: Path) -> None:
    writer = open_writer(folder)
    with pytest.raises(WriterConflictError, match="stop it first"):
        trash(folder.parent, folder.name)
    writer.finish("finished")
    trash(folder.parent, folder.name)


def test_links_lead_nowhere(tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    root, run_id = folder.parent, folder.name
    linked = "0" * 26
    (root / linked).symlink_to(outside)
    with pytest.raises(StoreError, match="link"):
        trash(root, linked)
    (folder / "inner").symlink_to(outside)
    trash(root, run_id)
    delete(root, run_id)
    assert (outside / "keep").read_text() == "x"
    other = tmp_path / "other"
    other.mkdir()
    run_id = create_run(other, "{}")
    (other / ".trash").symlink_to(outside)
    with pytest.raises(StoreError, match="link"):
        trash(other, run_id)
    assert (other / run_id).is_dir()


def test_restore_does_not_overwrite(folder: Path) -> None:
    trash(folder.parent, folder.name)
    folder.mkdir()
    with pytest.raises(StoreError, match="there already"):
        restore(folder.parent, folder.name)
