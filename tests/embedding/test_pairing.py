"""The numbers beside the map: by hand, under independence, and telling degrees of pairing apart."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from cggm_core.embedding import pairing as pg
from cggm_core.embedding.gradients import Gradients, collect
from cggm_core.store import Snapshot
from tests.embedding.making import paired


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_ranks_by_hand() -> None:
    # Row 0: its partner is nearest; row 1: one of two is farther; row 2: a tie with one, nearer than none.
    table = pg.rank_table(np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.7, 0.3, 0.3]]))
    np.testing.assert_allclose(np.diag(table), [1.0, 0.5, 0.25])


def test_centred_cosines_by_hand() -> None:
    rows = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 2.0], [2.0, -2.0]])
    found = pg.cosine_table(rows - rows.mean(0), -(rows - rows.mean(0)))
    np.testing.assert_allclose(found, [[-1, 1, 0, 0], [1, -1, 0, 0], [0, 0, -1, 1], [0, 0, 1, -1]], atol=1e-12)
    assert pg.cosine_table(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [[0.0]]


def test_debiased_cka_by_hand() -> None:
    # Four scalars x = (0, 0, 1, 1), so K holds 1 at (3, 4) and (4, 3) alone: tr(KK) = 2, (1'K1)^2 / 6 = 4/6,
    # 2/2 * 1'KK1 = 2; unbiased HSIC(K, K) = (2 + 2/3 - 2) / 4 = 1/6. y = (0, 1, 0, 1): K holds (2, 4) alone:
    # tr = 0, 4/6, 1'KL1 = 1: HSIC(K, L) = (0 + 2/3 - 1) / 4 = -1/12. CKA = -1/2.
    x, y = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [0.0], [1.0]])
    assert pg.debiased_cka(x, x) == pytest.approx(1.0)
    assert pg.debiased_cka(x, y) == pytest.approx(-0.5)
    assert np.isnan(pg.debiased_cka(x, np.zeros((4, 1))))


def test_debiased_cka_does_not_depend_on_axes_and_has_mean_zero_under_independence() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 200))
    turn = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    assert pg.debiased_cka(a, a @ turn) == pytest.approx(1.0)
    values = [pg.debiased_cka(rng.normal(size=(20, 500)), rng.normal(size=(20, 500))) for _ in range(60)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 60**0.5


def test_identical_gradients_reach_the_top_of_every_scale() -> None:
    rows = unit(np.random.default_rng(1).normal(size=(24, 50)))
    found = pg.measured(rows, rows.copy(), [np.arange(24)])
    for name in pg.NAMES:
        assert found[name].value == pytest.approx(1.0), name
        assert found[name].p == pytest.approx(1 / 401), name
    assert abs(found["rank"].null - 0.5) < 0.05


def test_independent_gradients_are_covered_by_their_null() -> None:
    """p is uniform under independence, also with a common direction and a drift that both kinds share."""
    rng = np.random.default_rng(2)
    ps: dict[str, list[float]] = {name: [] for name in pg.NAMES}
    for turn in range(120):
        common = np.repeat(rng.normal(size=(3, 40)), 8, axis=0)
        a, b = (unit(2 * common + rng.normal(size=(24, 40))) for _ in range(2))
        blocks = [np.arange(8 * i, 8 * i + 8) for i in range(3)]
        for name, number in pg.measured(a, b, blocks, seed=turn, rounds=99).items():
            ps[name].append(number.p)
    for name, found in ps.items():
        assert 0.35 < np.mean(found) < 0.65, name
        assert np.mean(np.array(found) <= 0.05) <= 0.12, name  # 0.05 expected; six in 120, three sigma is 13


def test_shuffling_across_snapshots_would_take_a_drift_for_pairing() -> None:
    rng = np.random.default_rng(3)
    common = np.repeat(rng.normal(size=(6, 40)), 8, axis=0)
    a, b = (unit(2 * common + rng.normal(size=(48, 40))) for _ in range(2))
    together = pg.measured(a, b, [np.arange(48)])
    apart = pg.measured(a, b, [np.arange(8 * i, 8 * i + 8) for i in range(6)])
    assert together["centred"].p < 0.01
    assert apart["centred"].p > 0.01
    assert abs(apart["centred"].value) < 0.2 < together["centred"].value


def test_degrees_of_pairing_are_told_apart() -> None:
    """Paired correlation 0, 0.3, 0.6, 0.9: intervals of neighbours do not touch, and only 0 is inside its null."""
    found = {rho: pg.pairing(collect(paired(rho)), "audio") for rho in (0.0, 0.3, 0.6, 0.9)}
    for name in ("cosine", "centred"):
        numbers = [getattr(one, name) for one in found.values()]
        for lower, upper in pairwise(numbers):
            assert lower.high < upper.low, name
    for name in pg.NAMES:
        numbers = [getattr(one, name) for one in found.values()]
        assert numbers[0].p > 0.01, name
        # Snapshots of eight leave CKA too few rows to see a correlation of 0.3; the others do.
        assert all(number.p < 0.01 for number in numbers[2 if name == "cka" else 1 :]), name
        assert [n.value for n in numbers] == sorted(n.value for n in numbers), name
    np.testing.assert_allclose([found[rho].centred.value for rho in found], [0, 0.3, 0.6, 0.9], atol=0.05)
    assert found[0.9].pairs == 80


def test_intervals_cover_the_truth() -> None:
    """Mean cosine of pairs of correlation 0.5, 60 times: the 95 % bootstrap interval holds it nearly as often."""
    hits = 0
    for turn in range(60):
        rng = np.random.default_rng(turn)
        a = rng.normal(size=(24, 1000))
        b = 0.5 * a + 0.75**0.5 * rng.normal(size=(24, 1000))
        number = pg.measured(unit(a), unit(b), [np.arange(24)], seed=turn, rounds=100)["cosine"]
        hits += number.low <= 0.5 <= number.high
    assert hits >= 50


def drifting(sizes: list[int], seed: int) -> Gradients:
    """Nothing paired, yet both kinds share a direction that is another in every snapshot."""
    rng = np.random.default_rng(seed)
    shots = []
    for number, size in enumerate(sizes):
        common = rng.normal(size=60)
        for batch in range(size):
            for kind in ("classifier", "unimodal"):
                vector = np.float32(common + rng.normal(size=60))
                shots.append(Snapshot(1000 * number + batch, batch, kind, "audio", vector, {}))
    return collect(shots)


@pytest.mark.parametrize(
    ("sizes", "pairs"),
    [([8] * 100, 256), ([8] * 9 + [3], 72), ([300] * 2, 256), ([4] * 70 + [1], 256)],
    ids=["many", "a short one at the end", "large", "small"],
)
def test_drift_is_never_taken_for_pairing(sizes: list[int], pairs: int) -> None:
    found = [pg.pairing(drifting(sizes, seed), "audio", seed=seed) for seed in range(3)]
    assert {one.pairs for one in found} == {pairs}
    for one in found:
        assert one.cosine.null > 0.35  # the common direction is in the null, so it does not count as pairing
        assert abs(one.cosine.value - one.cosine.null) < 0.05
        assert abs(one.centred.value) < 0.1
    assert max(one.cosine.p for one in found) > 0.05


def test_blocks_are_whole_snapshots_within_the_bound_and_never_below_four() -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        count = int(rng.integers(1, 120))
        start = np.repeat(np.arange(count), rng.integers(1, 40, count))
        blocks = pg.blocks_of(start)
        assert sum(map(len, blocks)) <= pg.MOST_PAIRS
        for rows in blocks:
            assert len(rows) >= 4
            assert len(set(start[rows])) == 1
            assert len(set(rows)) == len(rows)
    assert pg.blocks_of(np.repeat(np.arange(9), 3)) == []


def test_too_few_batches_give_no_number() -> None:
    few = pg.pairing(collect(paired(0.6, batches=3, snapshots=1)), "audio")
    assert few.pairs == 3
    assert np.isnan(few.cosine.value)
    assert np.isnan(few.cka.p)
    single = pg.pairing(collect(paired(0.6, batches=3, snapshots=20)), "audio")
    assert single.pairs == 60
    assert np.isnan(single.cosine.p)
    assert pg.pairing(collect(()), "audio").pairs == 0


def test_a_side_that_does_not_vary_has_no_cka() -> None:
    rows = unit(np.random.default_rng(4).normal(size=(8, 5)))
    found = pg.measured(rows, np.repeat(rows[:1], 8, axis=0), [np.arange(8)])
    assert np.isnan(found["cka"].value)
    assert found["centred"].value == 0.0


def test_windows_follow_training_and_the_same_seed_gives_the_same_numbers() -> None:
    gradients = collect(paired(0.6, snapshots=6))
    windows = pg.over_training(gradients, "text", width=2)
    assert [(one.first, one.last) for one in windows] == [(100 * i, 100 * i + 107) for i in range(5)]
    assert [one.pairs for one in windows] == [16] * 5
    assert windows == pg.over_training(gradients, "text", width=2)
    assert pg.over_training(collect(()), "text") == []


def test_a_long_history_is_judged_in_seconds() -> None:
    gradients = collect(paired(0.3, snapshots=400, dim=64))
    began = time.perf_counter()
    found = pg.pairing(gradients, "audio")
    assert found.pairs == pg.MOST_PAIRS
    assert time.perf_counter() - began < 10
