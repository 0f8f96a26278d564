"""What a method costs beside joint training, from numbers worked out by hand."""

import math

import pytest

from cggm_core.analysis.costs import cost_table
from cggm_core.names import COSTS, MetricKey
from cggm_core.store.protocols import RunInfo, Summary

JOINT = {"median_step_seconds": 0.030, "median_processor_seconds": 0.010,
         "median_method_seconds": 0.0, "median_classifier_seconds": 0.002,
         "median_measuring_seconds": 0.001, "method_epoch_seconds": 0.0, "model_parameters": 1000,
         "model_bytes": 16_000, "classifier_parameters": 50, "classifier_bytes": 800, "method_parameters": 0,
         "method_bytes": 0, "peak_memory_bytes": 5e8}  # fmt: skip


def run(method: str = "joint", **given: float) -> RunInfo:
    """A finished run whose last costs are those of `JOINT` but for what is given."""
    last = JOINT | given
    assert set(last) == COSTS
    summary = {MetricKey(k): Summary(v, 9, v, 9, v, 9, 1, 0) for k, v in last.items() if v is not None}
    return RunInfo("r", "finished", "", {"method": method}, 9, 0, 10, 1, 0.0, 0.0, summary=summary)


def old(method: str = "joint") -> RunInfo:
    return RunInfo("o", "finished", "", {"method": method}, 9, 0, 10, 1, 0.0, 0.0)


def test_classifiers_are_cggms_own_cost_and_watching_for_joint() -> None:
    found = cost_table({"joint": (run(),), "cggm": (run("cggm", median_processor_seconds=0.012),)})
    joint, cggm = found["joint"], found["cggm"]
    assert (joint.added_parameters, joint.added_bytes) == (0, 0)
    assert (cggm.added_parameters, cggm.added_bytes) == (50, 800)
    assert (joint.work_ratio, cggm.work_ratio) == (1, pytest.approx(1.2))
    assert joint.needed_seconds == pytest.approx(0.007)  # 10 - 2 of classifiers - 1 of measuring
    assert cggm.needed_seconds == pytest.approx(0.011)  # 12 - 1 of measuring
    assert (joint.needed_ratio, cggm.needed_ratio) == (1, pytest.approx(11 / 7))
    assert cggm.shares == pytest.approx({"method": 0, "classifier": 2 / 12, "measuring": 1 / 12})


def test_a_methods_own_parts_count_and_classifiers_it_does_not_need_do_not() -> None:
    (found,) = cost_table({"umt": (run("umt", method_parameters=1050, method_bytes=4200),)}).values()
    assert (found.added_parameters, found.added_bytes) == (1050, 4200)


def test_teachers_and_trials_are_spread_over_the_steps() -> None:
    umt = run("umt", method_epoch_seconds=0.005)
    found = cost_table({"joint": (run(),), "umt": (umt,)})["umt"]
    assert found.step_seconds == 0.030  # wall time of a step, as it was
    assert found.work_seconds == pytest.approx(0.015)
    assert (found.work_ratio, found.needed_ratio) == (pytest.approx(1.5), pytest.approx(12 / 7))
    assert found.shares["method"] == pytest.approx(1 / 3)


def test_medians_over_seeds_and_runs_without_numbers_are_counted() -> None:
    runs = (run(median_step_seconds=0.009), run(median_step_seconds=0.010), run(median_step_seconds=0.5), old())
    (found,) = cost_table({"joint": runs}).values()
    assert (found.runs, found.unrecorded, found.step_seconds) == (3, 1, 0.010)


def test_what_was_not_recorded_is_no_number() -> None:
    gpu = run(
        "cggm",
        median_processor_seconds=None,
        median_method_seconds=None,
        median_classifier_seconds=None,
        median_measuring_seconds=None,
    )  # type: ignore[arg-type]
    found = cost_table({"old": (old(),), "gpu": (gpu,), "mine": (run("of my own"),)})
    assert (found["old"].runs, found["old"].unrecorded) == (0, 1)
    assert math.isnan(found["old"].added_bytes)
    assert math.isnan(found["gpu"].work_ratio)  # the baseline recorded none
    assert found["gpu"].work_seconds == 0.030  # wall time
    mixed = cost_table({"joint": (run(),), "gpu": (gpu,)})["gpu"]
    assert math.isnan(mixed.work_ratio)  # wall time over processor time says nothing
    assert math.isnan(found["gpu"].needed_seconds)
    assert found["gpu"].shares == {}
    assert (found["gpu"].added_parameters, found["gpu"].step_seconds) == (50, 0.030)
    assert math.isnan(found["mine"].added_bytes)  # no card says whether it needs the classifiers
    assert cost_table({}) == {}
