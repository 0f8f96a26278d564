"""Looks out of a file that another program may have written: what does not fit its type or length is damage."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cggm_core.errors import DamagedRunError
from cggm_core.store import looks
from cggm_core.store.looks import Contribution, RobustnessCurve

LOOK = Contribution(
    9, 0, ("a", "b"), "accuracy", 9, True, 1.0, math.nan, (0.4, math.inf), (0.4, 0.4), (0.5, 0.5),
    ((0.1, 0.0), (0.0, 0.1)), preferred=(4, 4, 1), subsets={0: 0.1, 3: math.nan},
)  # fmt: skip
CURVE = RobustnessCurve(9, 0, "noise", "a", "accuracy", (0.0, 1.0), (0.9, 0.5), (0.1, 0.1), 9)


def changed(look: Contribution | RobustnessCurve, field: str, value: Any) -> str:
    return json.dumps(json.loads(looks.body(look)) | {field: value})


def test_a_sound_look_comes_back_numbers_that_are_not_finite_too() -> None:
    assert repr(looks.contribution(looks.body(LOOK))) == repr(LOOK)
    assert looks.robustness(looks.body(CURVE)) == CURVE


@pytest.mark.parametrize(("field", "value"), [
    ("shapley", ["x", "y"]), ("shapley", [0.5]), ("shapley", None), ("shapley", 0.5), ("everyone", "much"),
    ("everyone", 10**400), ("modalities", ["a"]), ("modalities", ["a", "a"]), ("modalities", "ab"),
    ("modalities", ["a", 1]), ("covariance", [[0.1, 0.0]]), ("covariance", [[0.1], [0.0]]), ("covariance", [0.1, 0.0]),
    ("permuted", [0.1]), ("removal_error", [0.1, 0.1, 0.1]), ("preferred", [4, 4]), ("samples", 0), ("samples", 2.5),
    ("exact", 1), ("subsets", [1]), ("subsets", {"first": 0.1}), ("epoch", 10**30), ("unknown", 1),
])  # fmt: skip
def test_a_contribution_of_another_shape_is_damage(field: str, value: Any) -> None:
    with pytest.raises(DamagedRunError):
        looks.contribution(changed(LOOK, field, value))


@pytest.mark.parametrize(("field", "value"), [
    ("kind", "heat"), ("kind", ["noise"]), ("level", [0.0]), ("value", [0.1, "x"]), ("error", {}), ("modality", 3),
])  # fmt: skip
def test_a_curve_of_another_shape_is_damage(field: str, value: Any) -> None:
    with pytest.raises(DamagedRunError):
        looks.robustness(changed(CURVE, field, value))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", "[" * 100_000])
def test_what_is_no_look_at_all_is_damage(text: str) -> None:
    for read in (looks.contribution, looks.robustness):
        with pytest.raises(DamagedRunError):
            read(text)
