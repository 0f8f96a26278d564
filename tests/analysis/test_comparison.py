import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cggm_core.analysis import comparison as c
from cggm_core.config import RunConfig, Training
from cggm_core.store import RunInfo


def info(number: int = 0, **settings: Any) -> RunInfo:
    config = RunConfig(training=Training(seed=settings.pop("seed", 0)), **settings).to_dict()
    return RunInfo(f"{number:026d}", "finished", "", config, 9, 0, 10, 1, 0.0, 0.0)


def test_a_sample_equals_numpy_and_says_n() -> None:
    found = c.sample([1.0, 2.0, 4.0, math.nan])
    assert (found.n, found.mean) == (3, pytest.approx(7 / 3))
    assert found.std == pytest.approx(np.std([1, 2, 4], ddof=1))
    low, high = stats.t.interval(0.95, 2, 7 / 3, stats.sem([1, 2, 4]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_a_mean_and_no_spread() -> None:
    found = c.sample([3.0])
    assert (found.n, found.mean) == (1, 3.0)
    assert math.isnan(found.std)
    assert c.sample([]).n == 0


@pytest.mark.parametrize(("spread", "reach"), [("std", math.sqrt(2)), ("interval", 12.7062),
                                               ("range", 1.0)])  # fmt: skip
def test_the_band_of_two_runs_by_hand(spread: c.Spread, reach: float) -> None:
    x = np.array([0.0, 1.0])
    found = c.band([(x, np.array([1.0, 5.0])), (x, np.array([3.0, 5.0]))], spread)
    assert found.mean.tolist() == [2.0, 5.0]
    assert found.n.tolist() == [2, 2]
    assert found.high[0] - 2.0 == pytest.approx(reach, rel=1e-4)
    assert found.low[1] == found.high[1] == 5.0


def test_the_band_of_one_run_is_absent_and_not_zero() -> None:
    found = c.band([(np.array([0.0, 1.0]), np.array([1.0, 2.0]))])
    assert found.mean.tolist() == [1.0, 2.0]
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()


def test_ragged_runs_are_interpolated_inside_and_never_beyond_their_ends() -> None:
    long = (np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    short = (np.array([0.0, 2.0]), np.array([10.0, 20.0]))
    found = c.band([long, short])
    assert found.x.tolist() == [0, 1, 2, 3]
    assert found.mean.tolist() == [5.0, 8.0, 11.0, 3.0]
    assert found.n.tolist() == [2, 2, 2, 1]
    assert np.isnan(found.high[3])


def test_a_gap_in_a_run_stays_a_gap() -> None:
    x = np.array([0.0, 1.0, 2.0])
    found = c.band([(x, np.array([1.0, np.nan, 3.0])), (x, np.array([1.0, 5.0, 3.0]))])
    assert found.n.tolist() == [2, 1, 2]
    assert found.mean.tolist() == [1.0, 5.0, 3.0]


def test_no_runs_give_an_empty_band() -> None:
    assert len(c.band([]).x) == 0


def test_sign_flips_by_hand() -> None:
    # Of the 8 sign patterns of (1, 2, 3) the sums beyond 6 in size are +6 and -6.
    assert c.sign_flip(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    # Sums of (1, -1): 0, 2, -2, 0; all are at least 0.
    assert c.sign_flip(np.array([1.0, -1.0])) == 1.0
    assert c.sign_flip(np.zeros(4)) == 1.0


def test_sign_flips_equal_scipys_permutation_test() -> None:
    values = np.random.default_rng(3).standard_normal(8) + 0.4
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=10_000).pvalue
    assert c.sign_flip(values) == pytest.approx(expected)


def test_pairs_are_made_by_seed_and_the_test_is_named() -> None:
    found = c.paired({0: 0.9, 1: 0.8, 2: 0.7, 7: 0.1}, {2: 0.5, 1: 0.7, 0: 0.6, 8: 0.0})
    assert (found.n, found.seeds) == (3, (0, 1, 2))
    assert found.mean == pytest.approx(0.2)
    assert found.p == pytest.approx(0.25)
    assert found.test == "exact sign-flip test, n = 3"
    assert found.low < 0.2 < found.high


def test_the_least_p_is_what_equal_signs_give() -> None:
    for n in (2, 3, 5, 10):
        assert c.paired(dict.fromkeys(range(n), 1.0), dict.fromkeys(range(n), 0.5)).p == pytest.approx(c.least_p(n))
    assert math.isnan(c.least_p(1))
    assert c.least_p(15) == 0.0


def test_the_bootstrap_equals_scipys_and_repeats() -> None:
    values = np.random.default_rng(5).standard_normal(12)
    low, high = c.bootstrap(values.tolist())
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert (low, high) == (pytest.approx(expected.low, abs=0.02), pytest.approx(expected.high, abs=0.02))
    assert (low, high) == c.bootstrap(values.tolist())
    assert c.bootstrap([0.1, 0.2, 0.4])[0] == pytest.approx(0.1)
    assert all(map(math.isnan, c.bootstrap([1.0])))


def test_one_pair_or_none_allows_no_test() -> None:
    one = c.paired({0: 1.0}, {0: 0.5, 1: 0.5})
    assert one.n == 1
    assert math.isnan(one.p)
    assert "no test" in one.test
    assert c.paired({0: 1.0}, {1: math.nan}).n == 0


def test_many_pairs_take_the_t_test() -> None:
    seeds = range(20)
    rng = np.random.default_rng(0)
    mine = {s: 0.1 + rng.standard_normal() for s in seeds}
    theirs = {s: rng.standard_normal() for s in seeds}
    expected = stats.ttest_rel([mine[s] for s in seeds], [theirs[s] for s in seeds]).pvalue
    found = c.paired(mine, theirs)
    assert found.test.startswith("paired t-test")
    assert found.p == pytest.approx(expected)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .04: times 3, 2, 1 gives .03 .04 .04; NaN is no test.
    assert c.holm([0.04, math.nan, 0.01, 0.02]) == pytest.approx([0.04, math.nan, 0.03, 0.04], nan_ok=True)
    assert c.holm([0.9, 0.8]) == [1.0, 1.0]
    assert c.holm([]) == []


def test_groups_differ_in_more_than_the_seed() -> None:
    runs = [info(1, method="cggm", seed=1), info(2, method="joint"), info(3, method="cggm", seed=0)]
    groups = c.grouped(runs)
    assert [[c.seed_of(run) for run in members] for members in groups.values()] == [[0, 1], [0]]
    assert list(c.group_names(groups).values()) == ["cggm paper", "joint"]


def test_groups_of_one_method_are_named_by_how_they_leave_its_preset() -> None:
    runs = [info(1, method="cggm", method_params={"rho": 2.0}), info(2, method="cggm")]
    assert list(c.group_names(c.grouped(runs)).values()) == ["cggm paper, rho 2.0", "cggm paper"]


def test_a_run_without_a_readable_configuration_is_a_group_of_its_own() -> None:
    broken = RunInfo("0" * 26, "died", "", {"method": 7}, -1, -1, 0, 0, 0.0, 0.0)
    assert list(c.grouped([broken])) == [f"run {'0' * 26}"]
    assert c.group_names(c.grouped([broken]))


def test_differences_are_nested_and_only_differences() -> None:
    one = {"method": "cggm", "method_params": {"rho": 1.0}, "training": {"seed": 0, "lr": 0.1}, "name": "a"}
    two = {"method": "joint", "method_params": {}, "training": {"seed": 1, "lr": 0.1}, "name": "b"}
    found = c.differences({"one": one, "two": two}, ("training.seed",))
    assert found == {"method": {"one": "cggm", "two": "joint"}, "method.rho": {"one": 1.0}}
