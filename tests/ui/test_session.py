from __future__ import annotations

import stat
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.errors import RunNotFoundError, StoreError, UnknownNameError
from cggm_core.store import trash
from cggm_core.ui import session
from tests.pages import making


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CGGM_RUNS", str(tmp_path / "deep" / "runs"))
    monkeypatch.setattr(session, "SAMPLE_RUNS", tmp_path / "samples")
    return session.runs_root()


def test_the_root_is_made_for_its_owner_alone(root: Path) -> None:
    assert root.is_dir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_without_the_variable_runs_lie_under_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CGGM_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert session.runs_root() == tmp_path / "runs"


def test_a_root_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CGGM_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(StoreError, match="set CGGM_RUNS to a folder you may write"):
        session.runs_root()


def test_sample_runs_stand_beside_ones_own_and_are_marked(root: Path) -> None:
    (root.parents[1] / "samples").mkdir()
    sample, own = making.finished(root.parents[1] / "samples"), making.finished(root)
    assert {info.id: info.sample for info in session.catalogue().runs()} == {sample: True, own: False}
    assert session.find(sample).sample


def test_one_catalogue_serves_all_sessions(root: Path) -> None:
    assert session.catalogue() is session.catalogue()


def test_a_reader_is_kept_until_its_run_is_gone(root: Path) -> None:
    run_id = making.finished(root)

    def script(run_id: str, root: str) -> None:
        import streamlit as st

        from cggm_core.errors import RunNotFoundError
        from cggm_core.store import trash
        from cggm_core.ui import session

        first = session.reader(run_id)
        st.text(str(first is session.reader(run_id)))
        trash(root, run_id)
        try:
            session.reader(run_id)
        except RunNotFoundError:
            st.text(str(len(st.session_state["session.readers"])))

    at = AppTest.from_function(script, args=(run_id, str(root))).run()
    assert not at.exception
    assert [text.value for text in at.text] == ["True", "0"]


def test_a_run_in_the_trash_is_not_found(root: Path) -> None:
    run_id = making.finished(root)
    trash(root, run_id)
    with pytest.raises(RunNotFoundError):
        session.find(run_id)


def test_going_to_a_page_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match="no page named 'nowhere'"):
        session.go("nowhere")
