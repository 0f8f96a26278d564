"""The runs page: filters, actions, trash, and what it says before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from cggm_core.config import RunConfig
from cggm_core.store import pack, read_marks, restore, trash, update_marks
from tests.pages import making
from tests.pages.conftest import FRAME, Open


def chosen(*run_ids: str) -> AppTest:
    """The page with these rows ticked."""
    at = AppTest.from_file(FRAME, default_timeout=60)
    at.session_state["runs.chosen"] = list(run_ids)
    at.run()
    assert not at.exception
    return at


def button(at: AppTest, label: str) -> Any:
    return next(b for b in at.button if b.label == label)


def names(at: AppTest) -> list[str]:
    return list(at.dataframe[0].value["name"])


def test_before_the_first_run_the_page_says_how_to_start_one(root: Path, open_page: Open) -> None:
    at = open_page()
    assert at.header[0].value == "No runs yet"
    button(at, "Start the first run").click().run()
    assert at.title[0].value == "New run"


def test_runs_are_listed_newest_first_with_scores(root: Path, open_page: Open) -> None:
    for seed in range(3):
        making.finished(root, making.config(name=f"run {seed}", seed=seed))
    frame = open_page().dataframe[0].value
    assert list(frame["name"]) == ["run 2", "run 1", "run 0"]
    assert frame["val_score"].notna().all()
    assert {"m:pixels", "m:fourier", "m:projections"} <= set(frame.columns)


def test_filters_stand_in_the_address(root: Path, open_page: Open) -> None:
    making.finished(root, making.config(name="alpha"))
    making.finished(root, RunConfig(method="joint", name="beta"))
    making.damaged(root)
    assert names(open_page(q="alph")) == ["alpha"]
    assert names(open_page(method="joint")) == ["beta"]
    assert names(open_page(state="damaged")) == ["damaged"]
    at = open_page(q="nothing like it")
    assert "No run fits" in at.info[0].value


def test_a_damaged_run_says_why_and_hurts_no_other(root: Path, open_page: Open) -> None:
    making.finished(root, making.config(name="sound"))
    making.damaged(root)
    frame = open_page().dataframe[0].value
    assert [state[0] for state in frame["state"]] == ["▲ damaged", "✓ finished"]
    assert frame["remark"][0]
    assert not frame["remark"][1]


def test_nothing_can_be_done_before_a_run_is_chosen(root: Path, open_page: Open) -> None:
    making.finished(root)
    at = open_page()
    assert all(button(at, label).disabled for label in ("Monitor", "Compare", "Edit", "Archive", "Delete"))


def test_opening_and_comparing_carry_the_runs_in_the_address(root: Path) -> None:
    a, b = making.finished(root), making.finished(root)
    at = chosen(a)
    button(at, "Monitor").click().run()
    assert at.title[0].value == "Monitor"
    assert at.query_params["run"] == a
    at = chosen(a, b)
    assert button(at, "Monitor").disabled
    button(at, "Compare").click().run()
    assert at.title[0].value == "Compare"
    assert at.query_params["runs"] == f"{a},{b}"


def test_archiving_hides_a_run_and_can_be_taken_back(root: Path, open_page: Open) -> None:
    run_id, other = making.finished(root, making.config(name="old")), making.finished(root)
    button(chosen(run_id), "Archive").click().run()
    assert read_marks(root / run_id, {}).archived
    assert "old" not in names(open_page())
    assert "old" in names(open_page(archived="true"))
    assert other


def test_runs_in_the_trash_are_shown_and_restored(root: Path, open_page: Open) -> None:
    run_id, other = making.finished(root, making.config(name="doomed")), making.finished(root)
    trash(root, run_id)
    trash(root, other)
    at = open_page()
    assert "doomed" in at.multiselect(key="runs.trash").options[1]
    at.multiselect(key="runs.trash").set_value([run_id]).run()
    button(at, "Restore").click().run()
    assert names(open_page()) == ["doomed"]
    restore(root, other)
    assert len(names(open_page())) == 2


def test_a_run_that_trains_is_not_deleted(root: Path, living: str) -> None:
    at = chosen(living)
    button(at, "Delete").click().run()
    assert "still train" in at.warning[0].value
    assert button(at, "Move 0 to the trash").disabled


def test_a_sample_run_is_marked_and_cannot_be_changed(root: Path, samples: Path) -> None:
    run_id = making.finished(samples, making.config(name="sample"))
    at = chosen(run_id)
    assert at.dataframe[0].value["state"][0][1:] == ["sample"]
    assert all(button(at, label).disabled for label in ("Edit", "Archive", "Delete"))
    assert not button(at, "Monitor").disabled
    assert any("came with the lab" in said.value for said in at.markdown)


def test_a_choice_follows_its_run_when_rows_move(root: Path) -> None:
    run_id = making.finished(root, making.config(name="mine"))
    at = chosen(run_id)
    making.finished(root)
    at.run()
    assert at.session_state["runs.chosen"] == [run_id]
    assert at.session_state["runs.table"]["selection"]["rows"] == [1]


def test_a_chosen_run_that_is_gone_is_forgotten(root: Path) -> None:
    run_id = making.finished(root)
    making.finished(root)
    at = chosen(run_id)
    trash(root, run_id)
    at.run()
    assert not at.exception
    assert at.session_state["runs.chosen"] == []


def test_the_whole_reason_and_the_notes_of_one_run_are_shown(root: Path) -> None:
    run_id = making.finished(root, state="failed", reason="loss is NaN at step 3")
    update_marks(root / run_id, notes="*why* this one")
    at = chosen(run_id)
    assert any("loss is NaN at step 3" in caption.value for caption in at.caption)
    assert at.text[0].value == "*why* this one"


def test_pinned_runs_stand_above_newer_ones(root: Path, open_page: Open) -> None:
    first = making.finished(root, making.config(name="first"))
    making.finished(root, making.config(name="second"))
    update_marks(root / first, pinned=True)
    assert names(open_page()) == ["first", "second"]


def test_runs_leave_as_an_archive_and_come_back(root: Path, open_page: Open, tmp_path: Path) -> None:
    run_id = making.finished(root, making.config(name="travels"))
    at = chosen(run_id)
    button(at, "Export").click().run()
    assert not at.exception
    assert any("Download" in b.label for b in at.get("download_button"))
    pack([root / run_id], tmp_path / "runs.zip")
    trash(root, run_id)
    at = open_page()
    at.file_uploader[0].upload("../../x.zip", (tmp_path / "runs.zip").read_bytes(), "application/zip").run()
    assert not at.exception
    assert names(open_page()) == ["travels"]
    at = open_page()
    at.file_uploader[0].upload("bad.zip", b"no archive", "application/zip").run()
    assert any("nothing was changed" in e.value for e in at.error)
    assert not (root.parent / "x.zip").exists()
