"""OGM's ratio and damping against the worked numbers of the methods reference (oracles 1, 1b)."""

import pytest
import torch

from cggm_core.measures.ratios import damping, strength_ratios


def wide(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_two_modalities() -> None:
    ratios = strength_ratios(wide(1.5, 1.0))
    assert ratios.tolist() == pytest.approx([1.5, 1 / 1.5])
    assert damping(ratios, 0.3).tolist() == pytest.approx([0.578101, 1.0], abs=1e-6)
    assert damping(ratios, 0.8).tolist() == pytest.approx([0.166345, 1.0], abs=1e-6)


def test_three_modalities_by_the_mean_of_pairs() -> None:
    ratios = strength_ratios(wide(1.6, 1.0, 0.8))
    assert ratios.tolist() == pytest.approx([1.8, 0.9375, 0.65])
    assert damping(ratios, 0.3).tolist() == pytest.approx([0.507012, 1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_equal_strengths_damp_nothing(m: int) -> None:
    ratios = strength_ratios(wide(*[0.7] * m))
    assert ratios.tolist() == [1.0] * m
    assert damping(ratios, 5.0).tolist() == [1.0] * m


def test_damping_of_zero_is_exactly_one_and_no_strength_at_all_is_no_accident() -> None:
    assert damping(strength_ratios(wide(3.0, 0.2)), 0.0).tolist() == [1.0, 1.0]
    ratios = strength_ratios(wide(0.0, 0.5))
    assert torch.isfinite(ratios).all()
    assert damping(ratios, 0.3).tolist() == [1.0, 0.0]
