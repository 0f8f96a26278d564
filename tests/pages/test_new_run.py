"""The form: what it validates, what it starts, and what the queue shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cggm_core import launch
from cggm_core.config import RunConfig
from cggm_core.errors import LaunchError
from cggm_core.launch.queue import changing
from cggm_core.ui import checking
from tests.pages import making
from tests.pages.conftest import Open


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the page asked the launcher for; nothing is trained."""
    asked: list[Any] = []

    def start(config: RunConfig, root: Path, **_: Any) -> str:
        asked.append(config)
        return making.finished(root, config)

    def start_many(configs: list[RunConfig], root: Path, slots: int = 0) -> str:
        asked.append((configs, slots))
        return "batch"

    monkeypatch.setattr(launch, "start", start)
    monkeypatch.setattr(launch, "start_many", start_many)
    return asked


def button(at: AppTest, label: str) -> Any:
    return next(b for b in at.button if b.label == label)


def said(at: AppTest) -> str:
    return " ".join(element.value for kind in (at.error, at.markdown) for element in kind).replace("\\", "")


def test_one_click_starts_cggm_on_the_digits_and_goes_to_the_monitor(
    root: Path, started: list, open_page: Open
) -> None:
    at = open_page("new_run")
    button(at, "Start").click().run()
    assert not at.exception
    assert started == [RunConfig(method="cggm", preset="paper")]
    assert at.title[0].value == "Monitor"
    assert at.query_params["run"]


def test_what_is_set_is_what_starts(root: Path, started: list, open_page: Open) -> None:
    at = open_page("new_run")
    at.multiselect(key="new.methods").set_value([("cggm", "stable")]).run()
    at.number_input(key="new.method.cggm.stable.rho").set_value(0.8)
    at.toggle(key="new.method.cggm.stable.direction").set_value(False)
    at.number_input(key="new.training.epochs").set_value(3)
    at.text_input(key="new.seeds").set_value("7")
    at.text_input(key="new.name").set_value("mine")
    at.text_input(key="new.tags").set_value("a, b")
    at.run()
    button(at, "Start").click().run()
    (config,) = started
    assert (config.preset, config.method_params["rho"], config.method_params["direction"]) == ("stable", 0.8, False)
    assert (config.training.epochs, config.training.seed, config.name, config.tags) == (3, 7, "mine", ("a", "b"))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("new.method.cggm.paper.rho", 0.0, "rho must be above 0"),
        ("new.method.cggm.paper.lam", -1.0, "lam must be from 0 to 100, not -1"),
        ("new.training.epochs", 0, "epochs must be from 1"),
        ("new.training.lr", 0.0, "lr must be above 0"),
        ("new.dataset.digits_views.noise", -2.0, "noise must be"),
    ],
)
def test_a_value_out_of_range_is_said_beside_it_and_nothing_can_start(
    key: str, value: float, sentence: str, root: Path, open_page: Open
) -> None:
    at = open_page("new_run")
    at.number_input(key=key).set_value(value).run()
    assert sentence in said(at)
    assert sum(sentence in element.value.replace("\\", "") for element in (*at.error, *at.markdown)) == 2
    assert button(at, "Start").disabled
    at.number_input(key=key).set_value(1).run()
    assert not button(at, "Start").disabled


def rows(at: AppTest) -> dict[str, tuple[str, str]]:
    """What the preset's table says: setting -> value now, value of the preset."""
    (table,) = (t.value for t in at.dataframe if "Setting" in t.value)
    return {row["Setting"]: (row["Now"], row["Preset"]) for _, row in table.iterrows()}


def test_a_preset_shows_what_it_would_change_and_changes_it_when_applied(
    root: Path, started: list, open_page: Open
) -> None:
    at = open_page("new_run")
    at.number_input(key="new.training.epochs").set_value(7)
    at.selectbox(key="new.training.precision").set_value("bf16")
    at.selectbox(key="new.preset").set_value("mosi").run()
    found = rows(at)
    assert found["epochs"] == ("7", "30")
    assert found["gradient_clip"] == ("0", "0.8")
    assert found["schedule"] == ("constant", "step")
    assert found["model"] == ("late_fusion", "transformer_fusion")
    assert found["method.lam"] == ("0.15", "0.2")
    assert not {"batch_size", "lr", "precision"} & set(found)
    at.button(key="new.preset.apply").click().run()
    assert not at.exception
    assert not at.warning
    assert "holds this preset" in " ".join(s.value for s in at.success)
    button(at, "Start").click().run()
    (config,) = started
    asked = RunConfig.from_dict({"method": "cggm", "preset": "mosi", "training": {"precision": "bf16"}})
    assert config == asked
    assert config.model_params["dropout"] == 0.1


def test_what_is_changed_after_a_preset_wins_and_is_shown(root: Path, started: list, open_page: Open) -> None:
    at = open_page("new_run")
    at.multiselect(key="new.methods").set_value([("joint", ""), ("cggm", "stable")]).run()
    at.selectbox(key="new.preset").set_value("iemocap").run()
    assert rows(at)["method.variant (cggm stable)"] == ("stable", "paper")
    at.button(key="new.preset.apply").click().run()
    at.number_input(key="new.training~1.batch_size").set_value(16).run()
    assert rows(at) == {"batch_size": ("16", "32")}
    button(at, "Start 2 runs").click().run()
    ((configs, _),) = started
    assert [(c.method, c.preset, c.training.batch_size, c.training.epochs) for c in configs] == [
        ("joint", "iemocap", 16, 30), ("cggm", "iemocap", 16, 30)]  # fmt: skip
    assert "--preset iemocap" in at.code[0].value
    assert "--set batch_size=16" in at.code[0].value
    at.button(key="new.preset.apply").click().run()
    assert at.number_input(key="new.training~2.batch_size").value == 32
    at.selectbox(key="new.preset").set_value("").run()
    at.button(key="new.preset.back").click().run()
    assert at.number_input(key="new.training~3.batch_size").value == 64
    assert not at.exception


def test_a_preset_leaves_a_model_that_its_own_cannot_replace(root: Path, started: list, open_page: Open) -> None:
    at = open_page("new_run")
    at.selectbox(key="new.dataset").set_value("phantom").run()
    at.selectbox(key="new.preset").set_value("food101").run()
    assert "model" not in rows(at)
    at.button(key="new.preset.apply").click().run()
    button(at, "Start").click().run()
    assert started == [RunConfig.from_dict({"dataset": "phantom", "method": "cggm", "preset": "food101"})]


@pytest.mark.parametrize(("seeds", "sentence"), [("", "1 to 100 seeds"), ("x", "whole numbers"), ("5-1", "upwards")])
def test_seeds_are_validated(seeds: str, sentence: str, root: Path, open_page: Open) -> None:
    at = open_page("new_run")
    at.text_input(key="new.seeds").set_value(seeds).run()
    assert sentence in said(at)
    assert button(at, "Start").disabled


def test_without_a_method_nothing_starts(root: Path, open_page: Open) -> None:
    at = open_page("new_run")
    at.multiselect(key="new.methods").set_value([]).run()
    assert "choose at least one method" in said(at)


def test_a_matrix_says_its_size_before_it_starts(root: Path, started: list, open_page: Open) -> None:
    at = open_page("new_run")
    at.multiselect(key="new.methods").set_value([("joint", ""), ("cggm", "paper")])
    at.text_input(key="new.seeds").set_value("0-2")
    at.text_input(key="new.name").set_value("sweep")
    at.run()
    assert "2 methods × 3 seeds = **6 runs** of 10 epochs each" in said(at)
    at.number_input(key="new.slots").set_value(2).run()
    button(at, "Start 6 runs").click().run()
    assert not at.exception
    ((configs, slots),) = started
    assert slots == 2
    assert [(c.method, c.training.seed) for c in configs] == [(m, s) for s in range(3) for m in ("joint", "cggm")]
    assert configs[0].name == "sweep · joint · seed 0"
    assert len({config.name for config in configs}) == 6
    assert at.title[0].value == "New run"


def test_one_click_starts_one_run_also_when_the_page_runs_again(root: Path, started: list, open_page: Open) -> None:
    at = open_page("new_run")
    button(at, "Start").click().run()
    at.run()
    at.run()
    assert len(started) == 1


def test_a_start_that_fails_is_one_sentence(root: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise LaunchError("the runs folder *x* cannot be written")

    monkeypatch.setattr(launch, "start", fail)
    at = open_page("new_run")
    button(at, "Start").click().run()
    assert not at.exception
    assert "the runs folder *x* cannot be written" in said(at)
    assert at.title[0].value == "New run"


def test_a_path_is_asked_for_and_a_missing_file_is_said(root: Path, tmp_path: Path, open_page: Open) -> None:
    at = open_page("new_run")
    at.selectbox(key="new.dataset").set_value("own data").run()
    assert "give the path of a data file" in said(at)
    at.text_input(key="new.path").set_value("mydata").run()
    assert "give the whole path" in said(at)
    at.text_input(key="new.path").set_value(str(tmp_path / "none.npz")).run()
    assert "cannot be read" in said(at)
    assert button(at, "Start").disabled


@pytest.mark.slow
def test_a_file_is_checked_in_a_process_of_its_own(root: Path, tmp_path: Path, open_page: Open) -> None:
    np.savez(tmp_path / "bad.npz", x=np.zeros(3))
    at = open_page("new_run")
    at.selectbox(key="new.dataset").set_value("own data").run()
    at.text_input(key="new.path").set_value(str(tmp_path / "bad.npz")).run()
    assert not at.exception
    assert at.error
    assert "Traceback" not in said(at)
    assert button(at, "Start").disabled


@pytest.mark.slow
def test_the_check_says_what_would_train() -> None:
    verdict = checking.check(RunConfig(method="cggm"))
    assert verdict.error == ""
    assert verdict.sentence().startswith("3 modalities: pixels (image")
    assert "170 steps on" in verdict.sentence()


def test_the_command_is_shown(root: Path, open_page: Open) -> None:
    at = open_page("new_run")
    assert at.code[0].value.startswith("python -m cggm_core train --dataset digits_views --method cggm --preset paper")


def test_the_queue_shows_what_waits_and_failed_and_can_be_cancelled(
    root: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cggm_core.launch.queue.wake", lambda root: None)
    batch = launch.start_many([making.config(seed=seed, name=f"run {seed}") for seed in range(3)], root, 2)
    with changing(root) as state:
        state.jobs[1].state, state.jobs[1].error = "failed", "the file <b>x</b> is gone"
    at = open_page("new_run")
    frame = at.dataframe[0].value
    assert [state[0] for state in frame["state"]] == ["○ pending", "✕ failed", "○ pending"]
    assert list(frame["error"])[1] == "the file <b>x</b> is gone"
    assert any("2 pending, 1 failed; 2 at once; time left not known yet" in c.value for c in at.caption)
    assert "Jobs wait and no process works on them." in at.warning[0].value
    button(at, "Retry failed").click().run()
    assert [job.state for job in launch.queue_state(root).jobs] == ["pending"] * 3
    with changing(root) as state:
        state.jobs[1].state = "failed"
    button(at, "Cancel all").click().run()
    assert {job.state for job in launch.queue_state(root).jobs if job.batch == batch} == {"cancelled", "failed"}
    at.run()
    button(at, "Forget ended").click().run()
    assert launch.queue_state(root).jobs == []
    assert not at.exception


def test_a_queue_that_cannot_be_read_does_not_take_the_form_away(root: Path, open_page: Open) -> None:
    (root / ".queue").mkdir()
    (root / ".queue" / "state.json").write_text("{")
    at = open_page("new_run")
    assert "cannot be read" in said(at)
    assert button(at, "Start")
