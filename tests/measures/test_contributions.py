"""Shapley and its relatives, with numbers worked out on paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cggm_core.measures import contributions as measure

# Methods reference 9.5: t, a, v are bits 0, 1, 2.
VALUES = {0b000: 0.0, 0b001: 0.7, 0b010: 0.5, 0b100: 0.4, 0b011: 0.75, 0b101: 0.72, 0b110: 0.55, 0b111: 0.8}


def test_shapley_of_three_modalities() -> None:
    values = np.array([VALUES[mask] for mask in measure.subsets_needed(3)])
    phi = measure.shapley_weights(3) @ values
    assert phi == pytest.approx([0.411667, 0.226667, 0.161667], abs=1e-6)
    assert phi.sum() == pytest.approx(0.8, abs=1e-15)


@pytest.mark.parametrize(
    ("right", "expected"),
    [("001", (1, 1)), ("010", (-0.5, 0.5)), ("011", (0.5, 1.5)), ("100", (0.5, -0.5)), ("101", (1.5, 0.5)),
     ("110", (0, 0)), ("111", (1, 1)), ("000", (0, 0))],
)  # fmt: skip
def test_the_truth_table_of_one_sample(right: str, expected: tuple[float, float]) -> None:
    """The official table values a right answer of both as 2, a right answer of one as 1."""
    first, second, both = (int(digit) for digit in right)
    assert measure.shapley_weights(2) @ np.array([0, first, second, 2 * both]) == pytest.approx(expected)


@given(st.integers(2, 8), st.integers(0, 1000))
def test_contributions_sum_to_what_there_is_and_an_idle_modality_gets_nothing(count: int, seed: int) -> None:
    masks = measure.subsets_needed(count, seed)
    random = np.random.default_rng(seed)
    value = {mask & ~1: random.normal() for mask in masks}  # bit 0 changes nothing
    values = np.array([value[mask & ~1] for mask in masks])
    phi = measure.shapley_weights(count, seed) @ values
    assert phi.sum() == pytest.approx(values[-1] - values[0], abs=1e-12)
    assert abs(phi[0]) < 1e-12


def test_sampled_values_agree_with_exact_ones_within_three_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    random, everything = np.random.default_rng(0), range(2**6)
    v = {mask: math.sqrt(sum(i + 1 for i in range(6) if mask >> i & 1)) + random.normal() * 0.1 for mask in everything}
    exact = measure.shapley_weights(6) @ np.array([v[mask] for mask in everything])
    monkeypatch.setattr(measure, "MOST_EXACT", 2)
    masks = measure.subsets_needed(6, 7)
    values = np.array([v[mask] for mask in masks])
    error = np.sqrt(measure.order_variance(values, 6, 7))
    assert len(masks) < 2**6 + 1
    assert (error > 0).all()
    assert (np.abs(measure.shapley_weights(6, 7) @ values - exact) < 3 * error).all()


def test_utilisation_removal_and_interaction() -> None:
    without = np.array([0.5, 0.7, 0.82])
    used = measure.utilisation(0.8, without)
    assert used == pytest.approx([0.375, 0.125, -0.025])
    assert used.max() - used.min() == pytest.approx(0.4)
    assert measure.removal(0.8, without) == pytest.approx([0.3, 0.1, -0.02])
    # Skill: reference MAE 1, fused 0.6, text alone 0.7; what the others add to text is a quarter.
    assert measure.utilisation(0.4, np.array([0.3])) == pytest.approx([0.25])
    assert np.isnan(measure.utilisation(0.0, without)).all()
    pairs = {"ta": 0b011, "tv": 0b101, "av": 0b110}
    found = [measure.interaction(VALUES[m], *[VALUES[1 << i] for i in range(3) if m >> i & 1], 0.0)
             for m in pairs.values()]  # fmt: skip
    assert found == pytest.approx([-0.45, -0.38, -0.35])


def test_permutation_preferences_area_and_bootstrap() -> None:
    assert measure.perceptual(0.8, np.array([[0.4, 0.6]])) == pytest.approx([0.3])
    counts = measure.preferences(np.array([[1.0, 0.5], [0.0, 0.0], [-0.5, 0.5], [0.3, 0.3 + 1e-15]]))
    assert counts.tolist() == [1, 1, 2]
    assert measure.area([0.0, 0.1, 0.2], [0.8, 0.7, 0.6]) == pytest.approx(0.14)
    weights = measure.resampled(50, 400, 1)
    assert weights.shape == (400, 50)
    assert weights.sum(1) == pytest.approx(np.ones(400))
    # Of a mean of 50 numbers the draws spread by their standard deviation over root 50.
    numbers = np.random.default_rng(2).normal(size=50)
    assert (weights @ numbers).std() == pytest.approx(numbers.std() / math.sqrt(50), rel=0.15)
