"""Shapley values against the worked numbers of the references and against their defining properties."""

import math

import pytest
import torch

from cggm_core.measures.shapley import shapley_weights, subsets


def values(by_set: dict[tuple[int, ...], float], modalities: int) -> list[float]:
    f = torch.tensor([by_set.get(s, 0.0) for s in subsets(modalities)], dtype=torch.float64)
    return (shapley_weights(modalities).T @ f).tolist()


def test_two_players_with_a_value_of_the_empty_set() -> None:
    assert values({(): 0.25, (0,): 0.60, (1,): 0.45, (0, 1): 0.70}, 2) == pytest.approx([0.30, 0.15])


def test_three_players() -> None:
    f = {(0,): 1.0, (1,): 2.0, (2,): 4.0, (0, 1): 3.5, (0, 2): 5.5, (1, 2): 7.0, (0, 1, 2): 9.0}
    assert values(f, 3) == pytest.approx([1.5, 2.75, 4.75])


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_shares_add_up_to_the_whole_less_nothing(m: int) -> None:
    f = torch.randn(2**m, dtype=torch.float64, generator=torch.Generator().manual_seed(m))
    assert float((shapley_weights(m).T @ f).sum()) == pytest.approx(float(f[-1] - f[0]))
    assert shapley_weights(m).sum(0).tolist() == pytest.approx([0.0] * m, abs=1e-12)
    assert len(subsets(m)) == 2**m == len(set(subsets(m)))


def test_players_that_add_nothing_to_one_another_get_their_own() -> None:
    own = [0.5, -1.0, 2.0, 0.0]
    f = {s: math.fsum(own[i] for i in s) for s in subsets(4)}
    assert values(f, 4) == pytest.approx(own)
