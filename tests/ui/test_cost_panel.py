"""The table of costs: what was recorded is shown, what was not is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.analysis.costs import cost_table
from cggm_core.engine import worker
from cggm_core.store import create_run, open_reader
from cggm_core.ui.cost_panel import cost_frame
from tests.pages import making
from tests.support.training import tiny_config

SCRIPT = """
from cggm_core.ui import session
from cggm_core.ui.cost_panel import cost_panel
infos = {{info.id: info for info in session.catalogue().runs()}}
cost_panel({{name: tuple(infos[i] for i in ids) for name, ids in {members!r}.items()}})
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CGGM_RUNS", str(tmp_path))
    return tmp_path


def trained(root: Path, method: str) -> str:
    config = tiny_config(method, epochs=1)
    run_id = create_run(root, config.to_json())
    worker.run(worker.prepare(config), root / run_id)
    return run_id


def panel(members: dict[str, list[str]]) -> AppTest:
    at = AppTest.from_string(SCRIPT.format(members=members), default_timeout=60).run()
    assert not at.exception
    return at


def test_costs_of_two_methods_against_joint(root: Path) -> None:
    ids = {name: trained(root, name) for name in ("joint", "cggm")}
    old = making.finished(root, making.config(name="old"))
    at = panel({"joint": [ids["joint"]], "=cggm": [ids["cggm"], old]})
    frame = at.dataframe[0].value
    assert list(frame["configuration"]) == ["joint", "=cggm"]
    assert list(frame["runs"]) == [1, 1]
    assert list(frame["added weights"]) == [0, 1449]
    assert frame["× baseline"][0] == frame["unwatched ×"][0] == 1
    assert (frame["ms a step"] > 0).all()
    assert all("classifiers" in text for text in frame["of the work"])
    assert any("1 runs recorded no costs" in caption.value for caption in at.caption)


def test_runs_without_costs_are_said_to_have_none(root: Path) -> None:
    at = panel({"old": [making.finished(root)]})
    assert not at.dataframe
    assert at.caption[0].value.startswith("Not recorded")
    empty = cost_frame(cost_table({"old": (open_reader(root / making.finished(root)).info(),)}))
    assert empty["added weights"].isna().all()


def test_shares_that_are_not_known_stay_empty(root: Path) -> None:
    (cost,) = cost_table({"joint": (open_reader(root / trained(root, "joint")).info(),)}).values()
    assert cost_frame({"gpu": replace(cost, shares={})})["of the work"][0] == ""
