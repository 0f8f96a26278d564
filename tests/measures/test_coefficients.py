"""The worked numbers of the method's audit (oracles 8a to 8e), and the laws any input obeys."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cggm_core.measures.coefficients import (
    share_of_others,
    share_of_others_released,
    share_of_others_stable,
)


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def paper(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    shares, undefined = share_of_others(now - before, torch.ones_like(now), now, before)
    assert not undefined
    return shares


def close(found: torch.Tensor, *expected: float) -> None:
    torch.testing.assert_close(found, vector(*expected), rtol=0, atol=1e-6)


def test_oracle_8a() -> None:
    shares = paper(vector(0.55, 0.42, 0.65), vector(0.50, 0.40, 0.60))
    close(shares, 0.583333, 0.833333, 0.583333)
    close(1.3 * shares, 0.758333, 1.083333, 0.758333)
    assert float(shares.sum()) == pytest.approx(2)


def test_oracle_8b_a_loser_among_gainers_gets_a_large_share_and_the_winner_a_negative_one() -> None:
    close(paper(vector(0.05, 0.0, 0.01), vector(0.0, 0.03, 0.0)), -2 / 3, 2.0, 2 / 3)


def test_oracle_8c_a_zero_sum_explodes_in_the_released_code_and_is_undefined_in_ours() -> None:
    now, before = vector(0.5, 0.25, 0.25), vector(0.25, 0.375, 0.375)
    released = share_of_others_released(now - before)
    torch.testing.assert_close(released, vector(-24999999, 12500001, 12500001), rtol=1e-9, atol=0)
    close(share_of_others_released(vector(0.0, 0.0, 0.0)), 1.0, 1.0, 1.0)
    kept = vector(0.7, 0.6, 0.7)
    shares, undefined = share_of_others(now - before, kept, now, before)
    assert undefined
    assert torch.equal(shares, kept)


def test_oracle_8d_mae_boosts_the_best_at_first_and_damps_the_fastest_later() -> None:
    # Scores are higher-is-better, so MAE enters with its sign turned; a common sign cancels in the quotient.
    first, then = vector(-1.4, -1.5, -1.0), vector(-1.39, -1.48, -0.90)
    close(paper(first, torch.zeros(3, dtype=torch.float64)), 0.641026, 0.615385, 0.743590)
    close(paper(then, first), 0.923077, 0.846154, 0.230769)


def test_oracle_8e_two_modalities_swap_their_shares_of_the_gain() -> None:
    close(paper(vector(0.02, 0.06), vector(0.0, 0.0)), 0.75, 0.25)


@pytest.mark.parametrize("numbers", [(0.1, 0.2, 0.3, 0.3, 0.2, 0.1), (1 / 3, 2 / 3, 0.5, 2 / 3, 1 / 3, 0.5)])
def test_a_sum_that_is_zero_to_rounding_is_undefined(numbers: tuple[float, ...]) -> None:
    now, before = vector(*numbers[:3]), vector(*numbers[3:])
    assert share_of_others(now - before, torch.ones(3, dtype=torch.float64), now, before)[1]


def test_the_smallest_real_change_of_a_batch_is_defined() -> None:
    now, before = vector(0.51, 0.40, 0.60), vector(0.50, 0.40, 0.60)
    assert not share_of_others(now - before, torch.ones(3, dtype=torch.float64), now, before)[1]


gains = st.lists(st.integers(-64, 64), min_size=2, max_size=6)


@given(gains)
def test_shares_sum_to_the_number_of_others(counts: list[int]) -> None:
    gain = vector(*(c / 64 for c in counts))
    if sum(counts):
        assert float(paper(gain, torch.zeros_like(gain)).sum()) == pytest.approx(len(counts) - 1)


@given(gains, st.randoms(use_true_random=False))
def test_relabelling_modalities_permutes_every_variant(counts: list[int], random) -> None:
    order = list(range(len(counts)))
    random.shuffle(order)
    gain, noise = vector(*(c / 64 for c in counts)), vector(0.01)[0]
    zero, one = torch.zeros_like(gain), torch.ones_like(gain)
    for compute in (
        lambda g: share_of_others(g, one, g, zero)[0],
        share_of_others_released,
        lambda g: share_of_others_stable(g, noise),
    ):
        torch.testing.assert_close(compute(gain)[order], compute(gain[order]), rtol=1e-9, atol=1e-9)


@given(gains, st.floats(1e-9, 1.0))
def test_stable_shares_are_bounded_with_mean_one(counts: list[int], noise: float) -> None:
    shares = share_of_others_stable(vector(*(c / 64 for c in counts)), vector(noise)[0])
    assert float(shares.mean()) == pytest.approx(1)
    assert float(shares.min()) >= -1e-12
    assert float(shares.max()) <= len(counts) / (len(counts) - 1) + 1e-12


def test_stable_shares_are_neutral_where_every_gain_is_noise() -> None:
    close(share_of_others_stable(vector(1e-9, -0.5, 0.0), vector(1.0)[0]), 1.0, 1.0, 1.0)


def test_stable_by_hand() -> None:
    # p = (0.3, 0.1) of 0.4, so c = 2 (0.25, 0.75)
    close(share_of_others_stable(vector(0.2, -0.4), vector(0.1)[0]), 0.5, 1.5)
