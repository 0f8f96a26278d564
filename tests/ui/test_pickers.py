from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.store import update_marks
from cggm_core.ui import pickers, session
from cggm_core.ui.pickers import run_label
from tests.pages import making


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CGGM_RUNS", str(tmp_path))
    monkeypatch.setattr(session, "SAMPLE_RUNS", tmp_path / "samples")
    return tmp_path


def one() -> None:
    import streamlit as st

    from cggm_core.ui.pickers import pick_run

    picked = pick_run("one")
    st.text(picked.id if picked else "nothing")


def several() -> None:
    import streamlit as st

    from cggm_core.ui.pickers import pick_runs

    st.text(",".join(info.id for info in pick_runs("several")))


def shown(script: object, **query: str) -> AppTest:
    at = AppTest.from_function(script)  # type: ignore[arg-type]
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def test_nothing_to_pick_is_none(root: Path) -> None:
    assert shown(one).text[0].value == "nothing"
    assert shown(several).text[0].value == ""


def test_without_an_address_the_newest_run_is_shown_and_named_in_the_address(root: Path) -> None:
    making.finished(root)
    newest = making.finished(root)
    at = shown(one)
    assert at.text[0].value == newest
    assert at.query_params["run"] == newest


def test_the_address_decides_also_by_the_beginning_of_an_id(root: Path) -> None:
    wanted = making.finished(root)
    making.finished(root)
    assert shown(one, run=wanted).text[0].value == wanted
    assert shown(one, run=wanted.lower()).text[0].value == wanted


def test_a_choice_wins_over_the_address_and_changes_it(root: Path) -> None:
    first, second = making.finished(root), making.finished(root)
    at = shown(one, run=first)
    at.selectbox[0].select(second).run()
    assert at.text[0].value == second
    assert at.query_params["run"] == second
    assert at.run().text[0].value == second


def test_an_unknown_run_is_said_and_not_replaced_by_another(root: Path) -> None:
    making.finished(root)
    at = shown(one, run="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert at.text[0].value == "nothing"
    assert "There is no run" in at.warning[0].value


def test_a_damaged_run_is_not_what_one_sees_first(root: Path) -> None:
    sound = making.finished(root)
    making.damaged(root)
    assert shown(one).text[0].value == sound


def test_archived_runs_are_hidden_unless_asked_for(root: Path) -> None:
    archived, other = making.finished(root), making.finished(root)
    update_marks(root / archived, archived=True)
    assert len(shown(one).selectbox[0].options) == 1
    assert shown(one, run=archived).text[0].value == archived
    assert shown(one, run=other).text[0].value == other


def test_several_runs_come_from_the_address_in_its_order_and_go_back_into_it(root: Path) -> None:
    a, b, c = (making.finished(root) for _ in range(3))
    at = shown(several, runs=f"{c},{a},{a}, nothing")
    assert at.text[0].value == f"{c},{a}"
    assert "NOTHING" in at.warning[0].value
    at.multiselect[0].select(b).run()
    assert at.text[0].value == f"{c},{a},{b}"
    assert at.query_params["runs"] == f"{c},{a},{b}"


def test_a_new_address_replaces_the_choice(root: Path) -> None:
    a, b = making.finished(root), making.finished(root)
    at = shown(several, runs=a)
    at.query_params["runs"] = b
    at.run()
    assert at.text[0].value == b


def test_runs_that_read_alike_are_told_apart(root: Path) -> None:
    making.finished(root)
    making.finished(root)
    options = shown(one).selectbox[0].options
    assert len(set(options)) == 2


def test_a_label_says_name_data_method_preset_seed_and_state(root: Path) -> None:
    run_id = making.finished(root, making.config(name="mine", seed=3))
    assert run_label(session.find(run_id)) == "mine · digits_views · cggm · paper · seed 3 · finished"


def test_a_label_does_not_repeat_what_the_name_says(root: Path) -> None:
    run_id = making.finished(root, making.config(name="CGGM paper, seed 3", seed=3))
    assert run_label(session.find(run_id)) == "CGGM paper, seed 3 · digits_views · finished"
    other = making.finished(root, making.config(name="cggms with seed 30", seed=3))
    assert run_label(session.find(other)) == "cggms with seed 30 · digits_views · cggm · paper · seed 3 · finished"


def test_of_many_runs_the_newest_are_offered_and_a_search_finds_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = making.finished(root, making.config(name="the first of all"))
    for number in range(3):
        making.finished(root, making.config(name=f"later {number}"))
    assert len(shown(one).selectbox[0].options) == 4
    monkeypatch.setattr(pickers, "MOST_LISTED", 2)
    at = shown(one)
    assert [option.split(" · ")[0] for option in at.selectbox[0].options] == ["later 2", "later 1"]
    at.text_input[0].set_value("first digits").run()
    assert [option.split(" · ")[0] for option in at.selectbox[0].options] == ["later 2", "the first of all"]
    at.selectbox[0].select(oldest).run()
    assert at.text[0].value == oldest
    assert at.query_params["run"] == oldest
    # A run asked for by the address is offered, however old it is.
    assert shown(one, run=oldest).text[0].value == oldest
    assert shown(several, runs=oldest).text[0].value == oldest


def test_a_folder_that_is_not_read_yet_gives_the_runs_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = making.finished(root), making.finished(root)
    monkeypatch.setattr(pickers, "PATIENCE", -1.0)
    at = shown(one, run=run_id)
    assert at.text[0].value == run_id
    assert "2 are not listed yet" in at.caption[0].value
