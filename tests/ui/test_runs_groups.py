from __future__ import annotations

import math

import pytest

from cggm_core.names import MetricKey
from cggm_core.store import RunInfo, Summary
from cggm_core.ui.runs_facts import Facts, facts_of
from cggm_core.ui.runs_groups import frame, grouped, ordered, told_states
from cggm_core.ui.runs_view import CONFIGURATION, DATASET, GROUPS, HIGHEST, LOWEST, METHOD, NEWEST, TAG
from tests.pages.making import config


def run(
    number: int, score: float | None, *, state: str = "finished", tags: tuple[str, ...] = (), **given: object
) -> Facts:
    made = config(seed=number, **given).to_dict()
    found = {}
    if score is not None:
        found = {MetricKey("val_score"): Summary(score, 9, 0, 0, score, 9, 10, 0),
                 MetricKey("val_unimodal_score", "pixels"): Summary(score / 2, 9, 0, 0, score, 9, 10, 0)}  # fmt: skip
    run_id = f"01ARZ3NDEKTSV4RRFFQ69G5F{number:02d}"
    return facts_of(RunInfo(run_id, state, "", made, 9, 0, 10, 1, 1.7e9, 1.7e9, tags=tags, summary=found))  # type: ignore[arg-type]


def test_seeds_of_one_configuration_are_one_row_with_mean_and_spread() -> None:
    runs = [run(1, 0.7), run(2, 0.8), run(3, 0.9), run(4, 0.1, state="failed"), run(5, 0.5, method="joint")]
    groups = grouped(runs, CONFIGURATION)
    assert [len(group.members) for group in groups] == [4, 1]
    assert groups[0].score.n == 3
    assert groups[0].score.mean == pytest.approx(0.8)
    assert groups[0].score.std == pytest.approx(0.1)
    assert told_states(groups[0]) == "3 finished, 1 failed"
    shown = frame(groups)
    assert list(shown["n"]) == [3, 1]
    assert shown["unimodal"][0] == "pixels 0.40"
    assert math.isnan(shown["std"][1])  # one run has no spread, and not one of zero
    assert len(set(shown["group"])) == 2


def test_a_mean_over_different_data_sets_is_left_out() -> None:
    runs = [run(1, 0.7, tags=("a",)), run(2, 0.9, tags=("a",), dataset="synthetic")]
    (group,) = grouped(runs, TAG)
    assert group.score.n == 0
    assert frame([group])["dataset"][0] == "2 data sets"
    assert [g.score.n for g in grouped(runs, METHOD)] == [1, 1]
    assert [g.name for g in grouped(runs, DATASET)] == ["digits_views", "synthetic"]


def test_a_run_of_two_tags_belongs_to_both_and_one_of_none_to_its_own() -> None:
    groups = grouped([run(1, 0.7, tags=("a", "b")), run(2, 0.9, tags=("b",)), run(3, 0.5)], TAG)
    assert {group.name: [f.seed for f in group.members] for group in groups} == {"a": [1], "b": [1, 2], "(none)": [3]}


@pytest.mark.parametrize("by", GROUPS)
def test_a_run_of_somebody_elses_making_has_a_group_as_well(by: str) -> None:
    odd = facts_of(
        RunInfo("01ARZ3NDEKTSV4RRFFQ69G5F00", "finished", "", {"dataset": 3, "training": [1]}, 0, 0, 0, 0, 0.0, 0.0)
    )
    assert len(frame(grouped([odd], by))) == 1


def test_where_scores_give_the_order_groups_stand_by_their_mean() -> None:
    runs = [run(1, 0.9), run(2, 0.1), run(3, 0.6, method="joint"), run(4, None, method="ogm", preset="")]
    groups = grouped(runs, METHOD)
    assert [g.name for g in ordered(groups, NEWEST)] == ["cggm · paper", "joint", "ogm"]
    assert [g.name for g in ordered(groups, HIGHEST)] == ["joint", "cggm · paper", "ogm"]
    assert [g.name for g in ordered(groups, LOWEST)] == ["cggm · paper", "joint", "ogm"]
