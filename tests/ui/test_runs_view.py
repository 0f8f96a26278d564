from __future__ import annotations

from dataclasses import replace

import pytest

from cggm_core.config import RunConfig, Training
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo, Summary
from cggm_core.ui.runs_facts import FactsBook, facts_of, group_of
from cggm_core.ui.runs_view import SORTS, Filter, choices, kept_order, ordered

A, B, C = ("01ARZ3NDEKTSV4RRFFQ69G5FA0", "01ARZ3NDEKTSV4RRFFQ69G5FB1", "01BRZ3NDEKTSV4RRFFQ69G5FC2")


def info(run_id: str = A, score: float | None = 0.8, **given: object) -> RunInfo:
    config = {"dataset": "digits_views", "method": "cggm", "preset": "paper", "training": {"seed": 3}}
    base = RunInfo(run_id, "running", "", config, 49, 4, 100, 10, 1.7e9, 1.7e9, name="mine", tags=("t", "batch"))
    found = {} if score is None else {MetricKey("val_score"): Summary(score, 9, 0.0, 0, score, 5, 10, 0)}
    return replace(base, summary=found, **given)  # type: ignore[arg-type]


def trained(run_id: str, seed: int, **given: object) -> RunInfo:
    training = Training(seed=seed, **given)  # type: ignore[arg-type]
    return info(run_id, config=RunConfig(method="cggm", training=training).to_dict())


def taken(wanted: Filter, *infos: RunInfo) -> list[str]:
    return [f.id for f in wanted.taken(map(facts_of, infos))]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Filter(), True), (Filter("MINE"), True), (Filter("mine paper"), True), (Filter("mine absent"), False),
        (Filter(A[-6:]), True), (Filter(state=("running",)), True), (Filter(state=("damaged",)), False),
        (Filter(dataset=("digits_views",)), True), (Filter(method=("joint",)), False),
        (Filter(preset=("paper", "other")), True), (Filter(tag=("batch", "x")), True), (Filter(tag=("x",)), False),
        (Filter(low=0.8), True), (Filter(low=0.81), False), (Filter(high=0.8), True), (Filter(high=0.79), False),
    ],
)  # fmt: skip
def test_a_filter_takes_what_fits_every_part_of_it(wanted: Filter, fits: bool) -> None:
    assert bool(taken(wanted, info())) is fits


def test_a_run_without_a_score_fits_no_range_of_scores() -> None:
    assert taken(Filter(low=-10.0), info(score=None)) == []
    assert taken(Filter(), info(score=None)) == [A]


def test_archived_runs_are_listed_when_asked_for() -> None:
    assert taken(Filter(), info(archived=True)) == []
    assert taken(Filter(archived=True), info(archived=True)) == [A]


def test_like_finds_the_runs_that_differ_in_the_seed_alone() -> None:
    runs = trained(A, 0), trained(B, 1), trained(C, 0, lr=0.5)
    assert taken(Filter(f"like:{A}"), *runs) == [A, B]
    assert taken(Filter(f"LIKE:{C[:8].lower()}"), *runs) == [C]
    assert taken(Filter("like:01ARZ3"), *runs) == []  # two runs begin so
    assert taken(Filter("like:01"), *runs) == []


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(), Filter("a & b=c?  é\u202e", ("running", "died"), ("x,y",), ("cggm",), ("paper",), ("a b", "<b>")),
        Filter(low=-1.5, high=1e-9, archived=True), Filter(low=0.0),
    ],
)  # fmt: skip
def test_a_filter_comes_back_from_an_address_as_it_went_in(wanted: Filter) -> None:
    assert Filter.of(wanted.query()) == wanted
    assert (wanted.query() == {}) == (wanted == Filter())


def test_an_address_that_nobody_wrote_wants_everything() -> None:
    assert Filter.of({"low": ["nan"], "high": ["x"], "archived": ["yes"], "other": ["1"]}) == Filter()


def test_pinned_runs_come_first_and_runs_without_a_value_last() -> None:
    runs = [facts_of(info(A, 0.2)), facts_of(info(B, None)), facts_of(info(C, 0.9, pinned=False))]
    assert [f.id for f in ordered(runs, "Highest score")] == [C, A, B]
    assert [f.id for f in ordered(runs, "Lowest score")] == [A, C, B]
    assert [f.id for f in ordered(runs)] == [C, B, A]
    pinned = [*runs[:2], facts_of(info(C, 0.1, pinned=True))]
    assert [f.id for f in ordered(pinned, "Highest score")] == [C, A, B]


@pytest.mark.parametrize("sort", SORTS)
def test_of_equal_runs_the_newer_stands_first_in_every_order(sort: str) -> None:
    found = [f.id for f in ordered([facts_of(info(A)), facts_of(info(B)), facts_of(info(C, config={}))], sort)]
    assert sorted(found) == [A, B, C]
    assert (found.index(B) < found.index(A)) == (sort != "Oldest")


def test_an_order_that_is_looked_at_keeps_its_places() -> None:
    assert kept_order([A, B, C], [C, "new", A]) == ([A, C], ["new"])


def test_choices_are_what_occurs() -> None:
    found = choices([facts_of(info()), facts_of(info(B, config={}))], ("starting", "running"))
    assert found == {"state": ["running"], "dataset": ["digits_views"], "method": ["cggm"], "preset": ["paper"],
                     "tag": ["batch", "t"]}  # fmt: skip


def test_facts_are_worked_out_again_when_a_run_changes_and_forgotten_when_it_goes() -> None:
    book, run = FactsBook(), info()
    first = book.of([run, info(B)])
    assert book.of([run])[0] is first[0]
    assert book.of([replace(run, name="new")])[0].name == "new"


def test_runs_that_cannot_be_read_as_a_configuration_are_groups_of_their_own() -> None:
    assert group_of(trained(A, 0)) == group_of(trained(B, 7)) != group_of(trained(C, 0, lr=0.5))
    odd = {"method": "mine", "training": {"seed": 1}}
    assert group_of(info(A, config=odd)) != group_of(info(B, config=odd))
