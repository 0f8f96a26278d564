import numpy as np
import pytest

from cggm_core.analysis.series import Smoother, axis_values, robust_window, smoothed

STEPS = np.arange(200)


def test_a_constant_stays_that_constant_to_the_bit() -> None:
    assert np.all(smoothed(STEPS, np.full(200, 0.1), 7.0) == 0.1)


def test_three_values_by_hand() -> None:
    # Half-life 1: weights 1, 1/2, 1/4 backwards. (4 + 2/2) / 1.5 = 10/3 and (1 + 4/2 + 2/4) / 1.75 = 2.
    found = smoothed(np.array([0, 1, 2]), np.array([2.0, 4.0, 1.0]), 1.0)
    assert found == pytest.approx([2.0, 10 / 3, 2.0])


def test_distance_counts_in_steps_and_not_in_rows() -> None:
    # Two steps apart at half-life 1 the older value weighs 1/4: (4 + 2/4) / 1.25 = 3.6.
    assert smoothed(np.array([0, 2]), np.array([2.0, 4.0]), 1.0)[1] == pytest.approx(3.6)


def test_nan_and_infinity_break_the_line_and_add_nothing() -> None:
    value = np.array([1.0, np.nan, 1.0, np.inf, 1.0])
    found = smoothed(np.arange(5), value, 3.0)
    assert np.isnan(found[[1, 3]]).all()
    assert np.all(found[[0, 2, 4]] == 1.0)


def test_pieces_give_the_same_as_the_whole() -> None:
    value = np.random.default_rng(0).standard_normal(200)
    smoother = Smoother(5.0)
    pieces = [smoother.extend(STEPS[part], value[part]) for part in (slice(0, 3), slice(3, 90), slice(90, 200))]
    assert np.concatenate(pieces) == pytest.approx(smoothed(STEPS, value, 5.0), rel=1e-12)


def test_long_runs_and_short_half_lives_neither_overflow_nor_drift() -> None:
    step = np.arange(100_000)
    value = np.sin(step / 1000.0) + 1e6
    assert smoothed(step, value, 0.5) == pytest.approx(value, abs=0.01)
    assert np.isfinite(smoothed(step, value, 1000.0)).all()


def test_half_life_zero_is_the_raw_value() -> None:
    value = np.array([1.0, np.nan, 3.0])
    assert np.array_equal(smoothed(np.arange(3), value, 0.0), value, equal_nan=True)


def test_axes() -> None:
    step, epoch, seconds = np.array([0, 4, 5]), np.array([0, 0, 1]), np.array([0.5, 1.0, 1.5])
    assert axis_values("step", step, epoch, seconds).tolist() == [0, 4, 5]
    assert axis_values("epoch", step, epoch, seconds, 5.0) == pytest.approx([0.2, 1.0, 1.2])
    assert axis_values("epoch", step, epoch, seconds).tolist() == [1, 1, 2]
    assert axis_values("seconds", step, epoch, seconds).tolist() == [0.5, 1.0, 1.5]


def test_the_window_shows_the_middle_and_says_what_is_outside() -> None:
    value = np.concatenate([np.linspace(0, 2, 98), [1e6, -1e6]])
    window = robust_window(value, include=(1.0,))
    assert window is not None
    assert window.outside == pytest.approx(0.02)
    assert window.low < 0 < 2 < window.high < 10


def test_the_window_of_tame_values_holds_them_all_and_the_neutral_line() -> None:
    window = robust_window(np.linspace(2, 3, 50), include=(1.0,))
    assert window is not None
    assert window.outside == 0.0
    assert window.low < 1.0
    assert robust_window(np.array([np.nan])) is None
    flat = robust_window(np.full(9, 4.0))
    assert flat is not None
    assert flat.low < 4.0 < flat.high
