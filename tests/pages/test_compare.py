"""The page Compare: one data set at a time, the view in the address, statistics that say what they can, many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.config import RunConfig
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_writer, run_folder
from tests.pages import making
from tests.pages.conftest import Open


def scored(root: Path, made: RunConfig, score: float) -> str:
    """A small finished run with a validation curve and a test score."""
    run_id = create_run(root, made.to_json())
    writer = open_writer(run_folder(root, run_id))
    writer.progress(10, 2)
    stream = writer.stream("epoch", [MetricKey("val_score")])
    for epoch in range(2):
        writer.log(stream, 5 * epoch + 4, epoch, [score - 0.1 * (1 - epoch)])
    writer.log(writer.stream("end", [MetricKey("test_score")]), 9, 1, [score])
    writer.finish("finished")
    return run_id


def matrix(root: Path, seeds: int = 3, **given: Any) -> dict[str, list[str]]:
    """Joint training and CGGM on some seeds; CGGM is always a tenth better."""
    return {
        method: [scored(root, making.config(method=method, seed=seed, **given), 0.5 + better + 0.01 * seed)
                 for seed in range(1, seeds + 1)]
        for method, better in (("joint", 0.0), ("cggm", 0.1))
    }  # fmt: skip


def rows(at: AppTest) -> dict[str, dict[str, Any]]:
    frame = at.dataframe[0].value
    return {row["configuration"]: row for row in frame.to_dict("records")}


def test_the_table_pairs_by_seed_and_says_the_least_p(root: Path, open_page: Open) -> None:
    matrix(root)
    at = open_page("compare")
    found = rows(at)["cggm paper"]
    assert found["mean ± std"] == "0.6200 ± 0.0100"
    assert found["difference"] == pytest.approx(0.1)
    assert (found["p"], found["p (Holm)"], found["least p"], found["pairs"]) == (0.25, 0.25, 0.25, 3)
    assert any("gives no p below 0.25" in caption.value for caption in at.caption)


def test_one_data_set_is_shown_at_a_time(root: Path, open_page: Open) -> None:
    matrix(root)
    matrix(root, dataset="synthetic", dataset_params={"noise": 0.5})
    matrix(root, dataset="synthetic", dataset_params={"noise": 0.9})
    at = open_page("compare")
    picker = next(box for box in at.selectbox if box.label == "Data set")
    assert len(picker.options) == 3
    assert any("noise 0.5" in option for option in picker.options)
    for word in picker.options:
        picker = next(box for box in at.selectbox if box.label == "Data set")
        at = picker.select(word).run()
        assert not at.exception
        assert {row["n"] for row in rows(at).values()} == {3}


def test_the_address_restores_the_view(root: Path, open_page: Open) -> None:
    made = matrix(root)
    chosen = ",".join([*made["joint"][:2], *made["cggm"][:2]])
    at = open_page("compare", runs=chosen, baseline="cggm paper", metric="val_score")
    assert list(rows(at)) == ["cggm paper", "joint"]
    assert {row["n"] for row in rows(at).values()} == {2}
    query = {key: at.query_params[key] for key in ("runs", "baseline", "metric")}
    assert query == {"runs": chosen, "baseline": "cggm paper", "metric": "val_score"}
    assert any("4 chosen runs: " in caption.value and "and 1 more" in caption.value for caption in at.caption)
    by_id = open_page("compare", runs=chosen, baseline=made["cggm"][0])
    assert next(iter(rows(by_id))) == "cggm paper"


def test_an_address_that_says_nothing_of_use_is_no_error(root: Path, open_page: Open) -> None:
    matrix(root)
    at = open_page("compare", data="nowhere", configurations="a,b", baseline="<b>", metric="x,,y", number="z", runs="Q")
    assert not at.exception
    assert set(rows(at)) == {"joint", "cggm paper"}
    assert any("Not found here" in warning.value for warning in at.warning)


def test_configurations_chosen_stand_in_the_address(root: Path, open_page: Open) -> None:
    matrix(root)
    at = open_page("compare")
    at.multiselect[0].set_value(at.multiselect[0].value[:1]).run()
    assert len(rows(at)) == 1
    kept = at.query_params["configurations"]
    assert set(rows(open_page("compare", configurations=kept))) == set(rows(at))


def test_samples_stand_apart_from_own_runs(root: Path, samples: Path, open_page: Open) -> None:
    matrix(samples)
    at = open_page("compare")
    assert set(rows(at)) == {"joint", "cggm paper"}
    matrix(root)
    at = open_page("compare")
    picker = next(box for box in at.selectbox if box.label == "Data set")
    assert {option.partition(" ·")[0] for option in picker.options} == {"digits_views", "digits_views, samples"}
    assert {row["n"] for row in rows(at).values()} == {3}


def test_many_configurations_are_background_but_for_a_few(root: Path, open_page: Open) -> None:
    for number in range(12):
        scored(root, making.config(method="cggm", method_params={"rho": 1.0 + number / 100}), 0.5 + number / 50)
    at = open_page("compare")
    assert not at.exception
    assert len(rows(at)) == 12
    strong = next(box for box in at.multiselect if box.label == "Highlighted")
    assert len(strong.value) == 8
    assert not strong.set_value([]).run().exception
