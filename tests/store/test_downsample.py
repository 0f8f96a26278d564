from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cggm_core.errors import StoreError
from cggm_core.names import MetricKey
from cggm_core.store import Series, downsampled, kept_indices

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=300)


@given(VALUES, st.integers(8, 60), st.integers(1, 9), st.integers(-(10**6), 10**12), st.randoms())
def test_laws(values: list[float], most: int, gap: int, start: int, random: object) -> None:
    value = np.array(values)
    step = start + np.cumsum([random.randint(1, gap) for _ in values])  # type: ignore[attr-defined]
    kept = kept_indices(step, value, most)
    assert len(kept) <= most
    assert np.all(np.diff(kept) > 0)
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    assert np.array_equal(kept, kept_indices(step, value, most))
    if len(values) <= most:
        assert len(kept) == len(values)
    finite = value[np.isfinite(value)]
    shown = value[kept]
    if len(finite):
        assert finite.min() in shown
        assert finite.max() in shown
    if not np.isfinite(value).all():
        assert not np.isfinite(shown).all()


@given(st.integers(0, 2**32 - 1), st.integers(100, 3000), st.integers(1, 10))
def test_drawn_points_stay_when_rows_arrive(seed: int, rows: int, more: int) -> None:
    value = np.random.default_rng(seed).normal(size=rows + more)
    step = np.arange(rows + more)
    before, after = kept_indices(step[:rows], value[:rows], 64), kept_indices(step, value, 64)
    width = 1 << max(0, int(np.ceil(np.log2(2 * rows / 64))))
    widths = [width << shift for shift in range(4)]
    same_width = [w for w in widths if _explained(before, value[:rows], w) and _explained(after, value, w)]
    if same_width:
        whole = rows // same_width[0] * same_width[0]
        # The newest row is drawn whatever it is; only as such may it vanish.
        settled = [kept[(kept < whole) & (kept != rows - 1)].tolist() for kept in (before, after)]
        assert settled[0] == settled[1]
    else:
        assert len(after) < len(before)


def _explained(kept: np.ndarray, value: np.ndarray, width: int) -> bool:
    wanted = {0, len(value) - 1}
    for start in range(0, len(value), width):
        part = value[start : start + width]
        wanted |= {start + int(part.argmin()), start + int(part.argmax())}
    return sorted(wanted) == kept.tolist()


def test_points_move_only_when_the_width_doubles() -> None:
    value = np.random.default_rng(0).normal(size=20_000)
    step, changes, before = np.arange(20_000), 0, np.empty(0, int)
    for rows in range(1000, 20_000, 10):
        kept = kept_indices(step[:rows], value[:rows], 200)
        if len(before) and not np.isin(before[:-3], kept).all():
            changes += 1
        before = kept
    assert 2 <= changes <= 5


def test_a_window_shows_the_same_points_as_the_whole() -> None:
    value = np.random.default_rng(1).normal(size=4096)
    step = np.arange(4096)
    whole = kept_indices(step, value, 514)
    part = kept_indices(step[1024:3072], value[1024:3072], 258) + 1024
    inside = whole[(whole > 1024) & (whole < 3071)]
    assert np.isin(inside, part).all()


def test_gaps_do_not_swallow_the_detail() -> None:
    step = np.concatenate([np.arange(1000), np.arange(1000) + 10**9])
    value = np.sin(np.arange(2000))
    kept = kept_indices(step, value, 500)
    assert len(kept) > 200
    assert (kept < 1000).sum() > 100


def test_a_series_says_how_many_rows_there_were() -> None:
    rows = np.arange(1000)
    series = Series(MetricKey("loss"), rows, rows * 0, rows / 2, rows * 1.0, 1000)
    few = downsampled(series, 100)
    assert few.total == 1000
    assert len(few.step) == len(few.value) == len(few.epoch) == len(few.seconds) <= 100
    assert few.seconds.tolist() == (few.step / 2).tolist()
    assert downsampled(series, 0) is series
    assert downsampled(series, 1000) is series
    for most in (1, 7, -5):
        with pytest.raises(StoreError, match="at least 8"):
            downsampled(series, most)


def test_it_is_fast() -> None:
    value = np.random.default_rng(2).normal(size=100_000)
    value[::1000] = np.nan
    step, times = np.arange(100_000), []
    for _ in range(9):
        begun = time.perf_counter()
        kept_indices(step, value, 2000)
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.02
