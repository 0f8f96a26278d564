"""The replay panel draws at once what another setting would have given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.analysis.replay import Recorded, Setting, health, replay
from cggm_core.figures.replay import replayed, told
from tests.pages import making

SCRIPT = """
from cggm_core.ui import session
from cggm_core.ui.replay_panel import replay_panel
replay_panel(session.reader({run_id!r}))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CGGM_RUNS", str(tmp_path))
    return tmp_path


def test_the_panel_begins_with_the_runs_own_setting_and_follows_the_choice(root: Path) -> None:
    at = AppTest.from_string(SCRIPT.format(run_id=making.finished(root)), default_timeout=60).run()
    assert not at.exception
    assert [caption.value.startswith(("Applied", "Replayed")) for caption in at.caption[-2:]] == [True, True]
    before = at.caption[-1].value
    at.number_input[0].set_value(4.0).run()
    assert not at.exception
    assert at.caption[-1].value != before


@pytest.mark.parametrize("params", [{"rho": 0.005}, {"rho": "high"}, {"rho": 250.0}, {"span": 10**7}])
def test_a_setting_outside_the_usual_range_does_not_break_the_panel(root: Path, params: dict) -> None:
    run_id = making.finished(root)
    config = root / run_id / "config.json"  # as another program may have written it
    held = json.loads(config.read_text()) | {"method_params": {"variant": "paper", "rho": 1.3, **params}}
    config.write_text(json.dumps(held))
    at = AppTest.from_string(SCRIPT.format(run_id=run_id), default_timeout=60).run()
    assert not at.exception
    assert at.number_input[0].value == (0.005 if params.get("rho") == 0.005 else 1.3)


def test_a_run_without_scores_is_told_so(root: Path) -> None:
    at = AppTest.from_string(SCRIPT.format(run_id=making.foreign(root)), default_timeout=60).run()
    assert not at.exception
    assert "records none" in at.info[0].value


def test_the_figure_draws_both_histories_and_says_what_it_leaves_out() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((500, 3)).round(2)
    applied = replay(scores, Setting("paper", 1.3))
    logged = Recorded(("a", "b", "c"), np.arange(500), scores, applied, np.empty((500, 0)))
    spec = replayed(logged, replay(scores, Setting("stable", 1.0)), "stable")
    assert [panel.key for panel in spec.panels] == ["a", "b", "c"]
    np.testing.assert_array_equal(spec.panels[1].lines[0].y, applied[:, 1])
    assert "outside" in spec.notes()[0]
    assert "negative at" in told(health(applied))
    nothing = np.empty((0, 0))
    bare = replayed(Recorded((), np.empty(0, np.int64), nothing, nothing, nothing), nothing, "paper")
    assert "no unimodal scores" in bare.panels[0].message()
