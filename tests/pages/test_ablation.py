"""The page Ablation: what it shows of runs that are there, what it offers to start, and what the address holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core import launch
from cggm_core.analysis import ablation
from cggm_core.config import RunConfig
from cggm_core.errors import LaunchError
from cggm_core.launch.queue import changing
from cggm_core.ui import ablation_panel, session
from tests.pages import making
from tests.pages.conftest import Open

SAMPLES = session.SAMPLE_RUNS


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[RunConfig]]:
    """What the page asked the queue for; nothing is trained."""
    asked: list[list[RunConfig]] = []

    def start_many(configs: list[RunConfig], root: Path, slots: int = 0) -> str:
        asked.append(list(configs))
        return "batch"

    monkeypatch.setattr(launch, "start_many", start_many)
    return asked


def said(at: AppTest) -> str:
    kinds = (at.error, at.warning, at.success, at.markdown, at.caption)
    return " ".join(element.value for kind in kinds for element in kind).replace("\\", "")


def start_buttons(at: AppTest) -> list[str]:
    return [button.label for button in at.button if button.label.startswith("Start the")]


def data(at: AppTest) -> Any:
    return next(box for box in at.selectbox if box.label == "Data, model and training")


def table(at: AppTest, setting: str) -> Any:
    return next(t.value for t in at.dataframe if "setting" in t.value and setting in list(t.value["setting"]))


def test_the_sample_runs_fill_table_6_and_the_rest_says_what_is_missing(
    root: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SAMPLE_RUNS", SAMPLES)
    at = open_page("ablation")
    assert not at.exception
    found = table(at, "direction only")
    assert list(found["setting"])[:4] == ["joint training", "magnitude only", "direction only",
                                          "magnitude and direction"]  # fmt: skip
    assert list(found["n"]) == [3] * 8
    assert found["mean"][0] == pytest.approx(0.9926, abs=1e-4)
    assert "No difference to joint training is established." in said(at)
    assert "4 of 4 places complete." in said(at)
    # Joint and one value of each sweep are there; six and five values, three seeds each, are not.
    assert start_buttons(at) == ["Start the 18 missing runs", "Start the 15 missing runs", "Start the 9 missing runs"]
    assert "No finished run yet at ρ = 0.8, 0.9, 1, 1.1, 1.2, 1.4." in said(at)
    assert "that finished runs of these settings took (median)" in said(at)


def test_one_click_starts_what_is_missing_and_what_it_starts_fills_the_places(
    root: Path, started: list[list[RunConfig]], open_page: Open
) -> None:
    making.scored(root, 0.5, method="joint")
    making.scored(root, 0.6)
    at = open_page("ablation", seeds="0-1")
    at.text_input(key="ablation.rhos").set_value("1.3, 2").run()
    at.button(key="ablation.rho.start").click().run()
    assert not at.exception
    ((*configs,),) = started
    assert [(c.method, c.method_params.get("rho"), c.training.seed) for c in configs] == [
        ("cggm", 2.0, 0), ("joint", None, 1), ("cggm", 1.3, 1), ("cggm", 2.0, 1)]  # fmt: skip
    assert {c.training.epochs for c in configs} == {2}
    assert "4 runs are in the queue" in said(at)
    for config in configs:
        making.scored(root, 0.7, config.training.seed, method=config.method, preset=config.preset,
               method_params=dict(config.method_params))  # fmt: skip
    at.run()
    assert not any(button.key == "ablation.rho.start" for button in at.button)
    assert "3 of 3 places complete." in said(at)


def test_what_waits_is_not_started_again_and_what_failed_is_said(
    root: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cggm_core.launch.queue.wake", lambda root: None)
    making.scored(root, 0.5, method="joint")
    making.scored(root, 0.6, 0, "failed", method_params={"direction": False})
    family = ablation.families(ablation.works(session.catalogue().runs()))[0]
    cells = ablation.component_cells(ablation.base_of(family.config, "paper", {}))
    launch.start_many([cells[2].config, cells[3].config], root)
    with changing(root) as state:
        state.jobs[1].state, state.jobs[1].error = "failed", "no memory"
    at = open_page("ablation", seeds="0")
    assert not at.exception
    assert "1 of 4 places complete, 1 runs waiting or training, 2 runs missing, 2 of them failed before." in said(at)
    assert at.button(key="ablation.components.start").label == "Start the 2 missing runs"
    assert "1 pending, 1 failed" in said(at)


def test_the_address_opens_the_same_view(root: Path, open_page: Open) -> None:
    making.scored(root, 0.5, method="joint")
    other = making.scored(root, 0.5, method="joint", dataset="synthetic")
    at = open_page("ablation", run=other, cggm="stable", rho="0.7", seeds="4", rho_values="0.7 0.9", lam="x",
                   score="test_accuracy")  # fmt: skip
    assert not at.exception
    assert data(at).value == ablation.families(ablation.works(
        i for i in session.catalogue().runs() if i.id == other))[0].word  # fmt: skip
    assert at.selectbox(key="ablation.preset").value == "stable"
    assert at.number_input(key="ablation.rho.stable").value == 0.7
    assert at.number_input(key="ablation.lam.stable").value == 0.15
    assert (at.text_input(key="ablation.seeds").value, at.text_input(key="ablation.rhos").value) == ("4", "0.7 0.9")
    assert at.query_params["data"] == data(at).value
    assert at.selectbox(key="ablation.score").value == "test_accuracy"
    # Another finished run changes what the choice is called, and not what is chosen.
    making.scored(root, 0.5, 1, method="joint", dataset="synthetic")
    before = data(at).value
    at.run()
    assert "2 finished" in data(at).options[data(at).index]
    assert data(at).value == before == at.query_params["data"]
    at.selectbox(key="ablation.preset").set_value("paper").run()
    assert at.number_input(key="ablation.rho.paper").value == 1.3
    assert "rho" not in at.query_params


def test_without_runs_an_ablation_of_the_embedded_data_can_be_started(
    root: Path, started: list[list[RunConfig]], open_page: Open
) -> None:
    at = open_page("ablation")
    assert not at.exception
    assert not any("setting" in t.value for t in at.dataframe)
    assert at.query_params["data"] == "new"
    at.selectbox(key="ablation.new.dataset").set_value("diabetes")
    at.selectbox(key="ablation.new.preset").set_value("mosi").run()
    # Components, two sweeps and classifiers share joint training and the base, and each run is counted once: three
    # seeds of 4 components, 6 further rho, 5 further lambda and 2 modalities alone.
    assert at.button(key="ablation.all.start").label == "Start all 51 missing runs"
    at.button(key="ablation.components.start").click().run()
    assert not at.exception
    (configs,) = started
    assert len(configs) == 12
    assert {(c.dataset, c.training.gradient_clip, c.training.epochs) for c in configs} == {("diabetes", 0.8, 30)}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("ablation.rhos", "0.8, x", "values of ρ must be numbers such as 0.8, 1.2, not 'x'"),
        ("ablation.rhos", "0", "rho must be above 0"),
        ("ablation.lams", "-1", "lam must be from 0 to 100, not -1"),
        ("ablation.lams", " ".join(map(str, range(31))), "31 values of λ are too many; at most 30"),
        ("ablation.seeds", "5-1", "must go upwards"),
        ("ablation.lams", "nan", "lam must be a finite number"),
    ],
)
def test_a_value_that_does_not_fit_is_one_sentence(
    key: str, value: str, sentence: str, root: Path, open_page: Open
) -> None:
    making.scored(root, 0.5, method="joint")
    at = open_page("ablation")
    at.text_input(key=key).set_value(value).run()
    assert not at.exception
    assert sentence in said(at)


def test_a_start_that_is_refused_is_one_sentence(root: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise LaunchError("the runs folder *x* cannot be written")

    monkeypatch.setattr(launch, "start_many", refuse)
    at = open_page("ablation")
    at.button(key="ablation.components.start").click().run()
    assert not at.exception
    assert "the runs folder *x* cannot be written" in said(at)


def test_downloads_hold_what_the_tables_show(root: Path, open_page: Open) -> None:
    for seed in range(2):
        making.scored(root, 0.5, seed, method="joint")
        making.scored(root, 0.75, seed, method="unimodal", method_params={"modality": "fourier"})
    at = open_page("ablation", seeds="0-1")
    found = table(at, "trained alone")
    row = found[(found["setting"] == "trained alone") & (found["score"] == "fourier")].iloc[0]
    assert (row["n"], row["mean"]) == (2, 0.75)
    assert row["difference"] == pytest.approx(0.15)
    labels = [element.proto.label for element in at.get("download_button")]
    assert labels.count("LaTeX") == labels.count("CSV") == 4


def test_a_run_whose_knobs_were_changed_while_it_trained_fills_no_place(root: Path, open_page: Open) -> None:
    making.scored(root, 0.5, method="joint")
    making.scored(root, 0.9, changed=True)
    at = open_page("ablation", seeds="0")
    assert "One run is left out" in " ".join(element.value for element in at.info)
    assert list(table(at, "magnitude and direction")["n"])[3] == 0
    assert at.button(key="ablation.components.start").label == "Start the 3 missing runs"


def test_data_that_changed_between_runs_is_said(root: Path, open_page: Open) -> None:
    making.scored(root, 0.5, method="joint")
    assert not open_page("ablation").warning
    making.scored(root, 0.9, data="other")
    assert "2 different contents" in open_page("ablation").warning[0].value


def test_the_time_that_missing_runs_would_take_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "side_by_side", lambda: 2)
    # Five runs of 100 s on two slots: three turns.
    assert ablation_panel.expected(5, [50.0, 100.0, 300.0]).startswith("about 5 min, at the 2 min that finished")
    assert ablation_panel.expected(5, []) == ""
