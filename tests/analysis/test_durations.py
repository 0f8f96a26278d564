"""How long runs will take, told by those that finished."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cggm_core.analysis.durations import expected
from cggm_core.config import RunConfig
from cggm_core.store import RunInfo

CGGM = {"method": "cggm", "training": {"epochs": 10}}


def config(**given: Any) -> RunConfig:
    return RunConfig.from_dict({**CGGM, **given})


def took(seconds: float, epochs: int = 10, *, state: str = "finished", sample: bool = False, **given: Any) -> RunInfo:
    made = config(**given).to_dict()
    name = f"{seconds}{epochs}{state}{sample}{given}"
    return RunInfo(name, state, "", made, 99, epochs - 1, 100, epochs, 0.0, seconds, sample=sample)  # type: ignore[arg-type]


def test_the_median_of_runs_of_the_same_kind_scaled_by_epochs() -> None:
    found = expected([config()], [took(20.0), took(30.0), took(100.0, 20)])
    assert (found.seconds, found.runs, found.alike, found.elsewhere) == (30.0, 3, True, False)


@pytest.mark.parametrize(("side_by_side", "seconds"), [(1, 80.0), (2, 40.0), (3, 40.0), (4, 20.0), (9, 20.0)])
def test_runs_side_by_side_take_as_many_rounds_as_they_need(side_by_side: int, seconds: float) -> None:
    four = [config(training={"epochs": 10, "seed": seed}) for seed in range(4)]
    assert expected(four, [took(20.0)], side_by_side).seconds == seconds


def test_another_method_stands_in_and_it_is_said() -> None:
    found = expected([config()], [took(20.0, method="joint", preset="")])
    assert (found.seconds, found.alike) == (20.0, False)
    assert expected([config()], [took(20.0, method="joint", preset=""), took(50.0)]).seconds == 50.0


def test_samples_tell_only_where_nothing_was_made_here() -> None:
    assert expected([config()], [took(9.0, sample=True)]).elsewhere
    found = expected([config()], [took(9.0, sample=True), took(20.0, method="joint", preset="")])
    assert (found.seconds, found.elsewhere) == (20.0, False)


@pytest.mark.parametrize(
    "other",
    [
        took(20.0, state="stopped"), took(0.0), took(20.0, 0),
        took(20.0, dataset="diabetes"), took(20.0, training={"epochs": 10, "batch_size": 8}),
        took(20.0, model_params={"width": 128}), took(20.0, training={"epochs": 10, "device": "cuda"}),
    ],
)  # fmt: skip
def test_what_differs_in_what_decides_tells_nothing(other: RunInfo) -> None:
    asked = config(training={"epochs": 10, "device": "cpu"})
    assert math.isnan(expected([asked], [other]).seconds)


def test_a_record_of_another_program_is_no_reason_to_fail() -> None:
    strange = RunInfo("x", "finished", "", {"training": "many", "dataset": [1]}, 9, 9, 10, 10, 0.0, 5.0)
    assert math.isnan(expected([config()], [strange]).seconds)
