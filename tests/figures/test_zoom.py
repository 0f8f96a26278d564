"""The part in view is drawn from all of its rows; the rest stays as it was."""

from typing import Any

import numpy as np
import pytest

from cggm_core.analysis.series import smoothed
from cggm_core.config import RunConfig
from cggm_core.figures.live import LiveRun
from cggm_core.figures.zoom import AROUND, Closer
from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun

SCORE, VALID = MetricKey("score"), MetricKey("val_score")
ROWS = 9000
Written = tuple[MemoryRun, Any, np.ndarray]


def run_of(rows: int) -> Written:
    run = MemoryRun(RunConfig(method="cggm").to_dict())
    writer = run.writer()
    stream, epochs = writer.stream("step", [SCORE]), writer.stream("epoch", [VALID])
    value = np.random.default_rng(3).standard_normal(rows + 500)
    for step in range(rows):
        writer.log(stream, step, step // 100, [value[step]])
        if step % 100 == 99:
            writer.log(epochs, step, step // 100, [0.5])
    writer.progress(10 * rows, 10 * rows // 100)
    return run, writer, value


@pytest.fixture(scope="module")
def read_only() -> Written:
    """A run that its tests only look at."""
    return run_of(ROWS)


def live_of(run: MemoryRun) -> LiveRun:
    live = LiveRun(run.reader(), 20.0)
    live.poll()
    return live


def test_a_window_shows_every_row_and_the_smoothing_of_all_before_it(
    read_only: tuple[MemoryRun, Any, np.ndarray],
) -> None:
    run, _, value = read_only
    live = live_of(run)
    held, closer = live.curves(), Closer().curves(live, "step", (4000.0, 4300.0), 1000)
    inside = (closer[SCORE].step >= 4000) & (closer[SCORE].step <= 4300)
    assert inside.sum() == 301
    assert ((held[SCORE].step >= 4000) & (held[SCORE].step <= 4300)).sum() < 200
    assert np.array_equal(closer[SCORE].value[inside], value[4000:4301])
    whole = smoothed(np.arange(ROWS), value[:ROWS], 20.0)
    assert closer[SCORE].smooth[inside] == pytest.approx(whole[4000:4301], abs=1e-7)


def test_around_the_window_the_run_stays_in_sight_and_in_order(read_only: Written) -> None:
    run, _, value = read_only
    closer = Closer().curves(live_of(run), "step", (4000.0, 4300.0), 1000)[SCORE]
    assert (closer.step[0], closer.step[-1]) == (0, ROWS - 1)
    assert np.all(np.diff(closer.step) > 0)
    assert len(closer.step) <= 310 + 2 * AROUND
    assert closer.value.max() == value[:ROWS].max()
    assert closer.total == ROWS


def test_a_wide_window_keeps_its_extremes_within_the_points_allowed(
    read_only: tuple[MemoryRun, Any, np.ndarray],
) -> None:
    run, _, value = read_only
    closer = Closer().curves(live_of(run), "step", (1000.0, 8000.0), 500)[SCORE]
    inside = closer.value[(closer.step >= 1000) & (closer.step <= 8000)]
    assert len(inside) <= 510
    assert (inside.min(), inside.max()) == (value[1000:8001].min(), value[1000:8001].max())


def test_the_window_counts_what_the_axis_counts(read_only: Written) -> None:
    run, _, _ = read_only
    live = live_of(run)
    closer = Closer().curves(live, "epoch", (40.0, 43.0), 1000)[SCORE]
    assert ((closer.step >= 4000) & (closer.step < 4300)).sum() == 300


def test_series_that_are_held_whole_are_left_alone(read_only: Written) -> None:
    run, _, _ = read_only
    live = live_of(run)
    assert Closer().curves(live, "step", (10.0, 20.0), 100)[VALID].step is live.curves()[VALID].step


def test_a_part_is_read_once_until_the_run_has_moved_on() -> None:
    run, writer, value = run_of(ROWS)
    live, closer = live_of(run), Closer()
    for _ in range(3):
        closer.curves(live, "step", (4000.0, 4300.0), 1000)
    assert closer.reads == 1
    for step in range(ROWS, ROWS + 400):
        writer.log(0, step, step // 100, [value[step]])
        if step % 100 == 0:
            live.poll()
            open_end = closer.curves(live, "step", (8800.0, 99_999.0), 1000)[SCORE]
            newest = open_end.step >= 8800
            assert np.array_equal(open_end.value[newest], value[open_end.step[newest]])
            assert open_end.step[-1] == step
            assert np.array_equal(open_end.step[newest][1:], np.arange(8801, step + 1))
    assert closer.reads <= 5


def test_after_a_resume_the_part_is_read_anew() -> None:
    run, writer, _ = run_of(ROWS)
    live, closer = live_of(run), Closer()
    closer.curves(live, "step", (4000.0, 4300.0), 1000)
    writer.finish("stopped")
    again = run.writer(resume_at=4100)
    for step in range(4100, ROWS):
        again.log(0, step, 0, [7.0])
    live.poll()
    found = closer.curves(live, "step", (4000.0, 4300.0), 1000)[SCORE]
    assert found.value[(found.step >= 4100) & (found.step <= 4300)].tolist() == [7.0] * 201
