"""The runs page: filters, actions, trash, and what it says before the first run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.config import RunConfig
from cggm_core.store import Catalogue, pack, read_marks, restore, trash, update_marks
from cggm_core.ui import moving
from cggm_core.ui.runs_actions import retagged
from cggm_core.ui.runs_table import table_key
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


def ticked(at: AppTest, *rows: tuple[str, ...]) -> list[int]:
    """Ticked rows of the table that shows these runs, or groups of runs."""
    return list(at.session_state[table_key("runs.table", rows)]["selection"]["rows"])


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
    assert frame["score"].notna().all()
    assert frame["unimodal"].str.contains("pixels .* · fourier .* · projections").all()


def test_filters_stand_in_the_address(root: Path, open_page: Open) -> None:
    making.finished(root, making.config(name="alpha"))
    making.finished(root, RunConfig(method="joint", name="beta"))
    making.damaged(root)
    assert names(open_page(q="alph")) == ["alpha"]
    assert names(open_page(method="joint")) == ["beta"]
    assert names(open_page(state="damaged")) == ["damaged"]
    assert "No run fits" in open_page(low="2.0").info[0].value
    at = open_page(q="nothing like it", state="damaged")
    assert "No run fits" in at.info[0].value
    button(at, "Clear all filters").click().run()
    assert len(names(at)) == 3


def test_a_damaged_run_says_why_and_hurts_no_other(root: Path, open_page: Open) -> None:
    making.finished(root, making.config(name="sound"))
    making.damaged(root)
    frame = open_page().dataframe[0].value
    assert [state[0] for state in frame["state"]] == ["▲ damaged", "✓ finished"]
    assert "damaged" in frame["unimodal"][0]
    assert frame["unimodal"][1].startswith("pixels")


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
    at = trash_opened()
    assert list(at.dataframe[0].value["name"]) == [other[-8:], "doomed"]
    at.text_input(key="runs.trash.q").set_value("doomed").run()
    assert list(at.dataframe[0].value["name"]) == ["doomed"]
    at.session_state[table_key("runs.trash.table", [(run_id,)])] = {
        "selection": {"rows": [0], "columns": [], "cells": []}
    }
    at.run()
    button(at, "Restore").click().run()
    assert not at.exception
    assert names(open_page()) == ["doomed"]
    restore(root, other)
    assert len(names(open_page())) == 2


def trash_opened() -> AppTest:
    at = AppTest.from_file(FRAME, default_timeout=60)
    at.session_state["runs.trash"] = True
    at.run()
    assert not at.exception
    return at


def test_the_trash_is_emptied_only_after_a_question(root: Path) -> None:
    kept, doomed = making.finished(root), making.finished(root)
    trash(root, doomed)
    at = trash_opened()
    button(at, "Empty the trash").click().run()
    assert any("1 run(s) will be removed" in text.value for text in at.markdown)
    assert (root / ".trash" / doomed).exists()
    assert kept


def test_a_run_that_trains_is_not_deleted(root: Path, living: str) -> None:
    at = chosen(living)
    button(at, "Delete").click().run()
    assert "still train" in at.warning[0].value
    assert button(at, "Move 0 to the trash").disabled


def test_a_sample_run_is_marked_and_cannot_be_changed(root: Path, samples: Path) -> None:
    run_id = making.finished(samples, making.config(name="sample"))
    at = chosen(run_id)
    assert list(at.dataframe[0].value["tags"][0]) == ["sample"]
    assert all(button(at, label).disabled for label in ("Edit", "Archive", "Delete"))
    assert not button(at, "Monitor").disabled
    assert any("came with the lab" in said.value for said in at.markdown)


def test_a_choice_follows_its_run_when_rows_move(root: Path) -> None:
    run_id = making.finished(root, making.config(name="mine"))
    at = chosen(run_id)
    newer = making.finished(root)
    at.run()
    assert at.session_state["runs.chosen"] == [run_id]
    assert names(at) == ["mine"]  # rows under a tick stay where they are
    assert ticked(at, (run_id,)) == [0]
    button(at, "Show 1 more that came since").click().run()
    assert len(names(at)) == 2
    assert at.session_state["runs.chosen"] == [run_id]
    assert ticked(at, (newer,), (run_id,)) == [1]


def test_ticks_outlive_filters_order_and_pages(root: Path) -> None:
    a, b = (making.finished(root, making.config(name=name)) for name in ("alpha", "beta"))
    at = chosen(a)
    at.text_input(key="q").set_value("beta").run()
    assert (names(at), ticked(at, (b,))) == (["beta"], [])
    assert any("1 ticked, 1 of them not in this list" in caption.value for caption in at.caption)
    at.text_input(key="q").set_value("").run()
    at.selectbox(key="sort").set_value("Name").run()
    assert (names(at), ticked(at, (a,), (b,))) == (["alpha", "beta"], [0])
    button(at, "Tick all 2").click().run()
    assert sorted(at.session_state["runs.chosen"]) == sorted([a, b])
    button(at, "Tick none").click().run()
    assert at.session_state["runs.chosen"] == []


def test_a_view_is_kept_under_a_name_and_brought_back(root: Path, open_page: Open) -> None:
    for name in ("<b>x</b>", "beta"):
        making.finished(root, making.config(name=name))
    at = open_page(q="beta", sort="Name", columns="Name", low="0.5")
    at.text_input(key="runs.view.name").set_value("just *beta*").run()
    button(at, "Keep").click().run()
    at = open_page()
    assert len(names(at)) == 2
    at.selectbox(key="runs.view.open").set_value("just *beta*").run()
    assert not at.exception
    assert (names(at), list(at.dataframe[0].value.columns)) == (["beta"], ["name"])
    assert (at.text_input(key="q").value, at.number_input(key="low").value) == ("beta", 0.5)
    button(at, "Forget").click().run()
    assert at.selectbox(key="runs.view.open").options == []


def test_a_folder_never_read_before_is_shown_as_far_as_it_is_read(
    root: Path, samples: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        making.finished(root, making.config(name=name))
    whole = Catalogue.runs
    sample = making.finished(samples, making.config(name="sample"))
    monkeypatch.setattr(Catalogue, "runs", lambda self, **_: whole(self, patience=-1.0) or (self.find(sample),))
    at = open_page()
    assert not at.exception
    assert names(at) == ["sample"]
    monkeypatch.setattr(Catalogue, "runs", whole)
    assert names(at.run()) == ["sample", "new", "old"]


def test_rows_are_ticked_by_name_where_there_is_no_pointer(root: Path, open_page: Open) -> None:
    a, b = (making.finished(root, making.config(name=name)) for name in ("alpha", "beta"))
    at = open_page()
    field = at.multiselect(key=f"{table_key('runs.table', [(b,), (a,)])}.names")
    assert [option.split(" · ")[0] for option in field.options] == ["1. beta", "2. alpha"]
    field.set_value([1]).run()
    assert at.session_state["runs.chosen"] == [a]
    assert ticked(at, (b,), (a,)) == [1]
    assert not button(at, "Monitor").disabled


def test_order_group_and_columns_stand_in_the_address(root: Path, open_page: Open) -> None:
    for seed, name in enumerate(("b", "a")):
        making.finished(root, making.config(name=name, seed=seed))
    assert names(open_page(sort="Name")) == ["a", "b"]
    assert list(open_page(columns="Best score").dataframe[0].value.columns) == ["best"]
    frame = open_page(group="Configuration").dataframe[0].value
    assert (list(frame["runs"]), list(frame["n"]), list(frame["states"])) == ([2], [2], ["2 finished"])


def test_a_ticked_group_chooses_its_runs_and_can_be_listed(root: Path) -> None:
    a, b = (making.finished(root, making.config(seed=seed)) for seed in range(2))
    other = making.finished(root, RunConfig(method="joint"))
    at = AppTest.from_file(FRAME, default_timeout=60)
    at.query_params["group"] = "Configuration"
    at.session_state["runs.chosen"] = [b, a]
    at.run()
    assert ticked(at, (other,), (b, a)) == [1]
    button(at, "List the runs of this group").click().run()
    assert not at.exception
    assert at.text_input(key="q").value in (f"like:{a}", f"like:{b}")
    assert len(names(at)) == 2


def test_tags_and_pins_of_many_runs_change_at_once(root: Path) -> None:
    a, b = (making.finished(root, making.config(name=name)) for name in ("one", "two"))
    update_marks(root / a, tags=["old", "kept"])
    at = chosen(a, b)
    button(at, "Edit").click().run()
    assert not at.exception
    assert next(field for field in at.multiselect if field.label == "Remove tags").options == ["kept", "old"]
    assert retagged(["old", "kept"], ["new", "kept"], ["old"]) == ["kept", "new"]


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
    assert names(open_page()) == ["★ first", "second"]


def exported(form: str, *run_ids: str) -> tuple[Any, bytes, str, str]:
    """What the dialog hands over: what was asked, the file, its name and its type."""
    at = chosen(*run_ids)
    at.session_state[moving.FORMAT] = form
    button(at, "Export").click().run()
    assert not at.exception
    assert not at.error
    assert any(b.label.startswith("Download") for b in at.get("download_button"))
    found: tuple[Any, bytes, str, str] = at.session_state[moving.MADE]
    assert found[0][0] == form
    return found


def test_runs_leave_as_an_archive_and_come_back(root: Path, open_page: Open, tmp_path: Path) -> None:
    run_id = making.finished(root, making.config(name="travels"))
    for form in moving.FORMS:
        name, mime = exported(form, run_id)[2:]
        assert (name.endswith(moving.FORMS[form].ending), mime) == (True, moving.FORMS[form].mime)
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


def test_several_runs_leave_in_each_form_and_come_back(root: Path, open_page: Open, tmp_path: Path) -> None:
    ids = [making.finished(root, making.config(name=f"<b>run</b> {seed}/..", seed=seed)) for seed in range(2)]
    files = {}
    for form in moving.FORMS:
        files[form], name, mime = exported(form, *ids)[1:]
        assert (name.endswith(".zip"), mime) == (True, moving.ZIP)
    lines, tables = {}, {}
    with zipfile.ZipFile(io.BytesIO(files["csv"])) as archive:
        for name in archive.namelist():
            assert not {"/", "<"} & set(name)
            lines[name.removesuffix(".csv")] = pd.read_csv(archive.open(name), keep_default_na=False)
    with zipfile.ZipFile(io.BytesIO(files["parquet"])) as archive:
        for name in archive.namelist():
            tables[name.removesuffix(".parquet")] = pd.read_parquet(io.BytesIO(archive.read(name)))
    assert len(lines) == 2
    assert lines.keys() == tables.keys()
    for name, table in tables.items():
        assert table["value"].tolist() == lines[name]["value"].tolist()
        assert table["metric"].astype(str).tolist() == lines[name]["metric"].tolist()
    at = open_page()
    at.file_uploader[0].upload("logs.zip", files["tensorboard"], moving.ZIP).run()
    assert not at.exception
    assert sorted(names(open_page())) == sorted(2 * [f"<b>run</b> {seed}/.." for seed in range(2)])
    with zipfile.ZipFile(io.BytesIO(files["tensorboard"])) as archive:
        raw = archive.read(archive.namelist()[0])
    at = open_page()
    at.file_uploader[0].upload("events.out.tfevents.1.x", raw, "application/octet-stream").run()
    assert len(names(open_page())) == 5
    at = open_page()
    at.file_uploader[0].upload("<img>.tfevents", raw[:-1], "application/octet-stream").run()
    assert any("ends inside record" in e.value for e in at.error)
    assert len(names(open_page())) == 5


def test_more_than_the_page_hands_over_is_sent_to_the_command_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "MOST_VALUES", 10)
    run_id = making.finished(root)
    assert exported("archive", run_id)
    at = chosen(run_id)
    at.session_state[moving.FORMAT] = "parquet"
    button(at, "Export").click().run()
    assert "more than the page hands over" in at.info[0].value
    assert not any(b.label.startswith("Download") for b in at.get("download_button"))
