"""One reading and one drawing for everybody who looks at a run."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from cggm_core.analysis.series import Axis
from cggm_core.config import RunConfig
from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun
from cggm_core.ui.live_runs import GONE_SECONDS, SharedRun

SETTINGS: tuple[tuple[Axis, float], ...] = (("step", 0.0), ("step", 50.0), ("seconds", 50.0))


def growing(rows: int) -> tuple[MemoryRun, Any]:
    run = MemoryRun(RunConfig(method="cggm").to_dict())
    writer = run.writer()
    stream = writer.stream("step", [MetricKey("score"), MetricKey("balance_coefficient", "audio")])
    for step in range(rows):
        writer.log(stream, step, 0, [0.01 * step, 1.0])
    return run, writer


def test_ten_viewers_cost_one_reading_and_one_drawing() -> None:
    run, writer = growing(20)
    shared = SharedRun(run.reader(), fresh_seconds=0.0)
    shots = [shared.shot("step", 10.0, 1000) for _ in range(10)]
    assert shared.drawings == 1
    assert all(shot is shots[0] for shot in shots)
    writer.log(0, 20, 0, [5.0, 1.0])
    later = shared.shot("step", 10.0, 1000)
    assert shared.drawings == 2
    assert later.rows == 21
    assert shots[0].rows == 20
    assert shots[0].specs[0].panels[0].lines[0].y[-1] == pytest.approx(0.19)


def test_what_was_seen_just_now_is_seen_again() -> None:
    run, writer = growing(20)
    shared = SharedRun(run.reader(), fresh_seconds=3600.0)
    first = shared.shot("step", 10.0, 1000)
    writer.log(0, 20, 0, [5.0, 1.0])
    assert shared.shot("step", 10.0, 1000) is first


def test_axis_and_smoothing_are_a_viewers_own() -> None:
    run, _ = growing(200)
    shared = SharedRun(run.reader(), fresh_seconds=0.0)
    raw, smooth, by_time = (shared.shot(axis, half_life, 1000) for axis, half_life in SETTINGS)
    assert [line.role for line in raw.specs[0].panels[0].lines] == ["line"]
    assert [line.role for line in smooth.specs[0].panels[0].lines] == ["raw", "smooth"]
    assert by_time.specs[0].x_label.startswith("Time")
    assert shared.shot("step", 0.0, 1000) is raw


def test_many_threads_see_one_shot() -> None:
    run, _ = growing(500)
    shared = SharedRun(run.reader(), fresh_seconds=3600.0)
    gate, seen = threading.Barrier(8), []

    def look() -> None:
        gate.wait()
        seen.append(shared.shot("step", 10.0, 1000))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len({id(shot) for shot in seen}) == 1
    assert shared.drawings == 1


SILENCES = [(10.0, 5.0, 0.0), (40.0, 5.0, 40.0), (40.0, 0.2, 0.0), (101.0, 0.2, 101.0), (-3600.0, 5.0, 0.0),
            (40.0, 0.0, 40.0)]  # fmt: skip


@pytest.mark.parametrize(("waited", "rate", "told"), SILENCES)
def test_a_worker_that_records_nothing_is_noticed_by_its_own_pace(waited: float, rate: float, told: float) -> None:
    run, writer = growing(5)
    writer.state("running")
    shot = replace(SharedRun(run.reader()).shot("step", 0.0, 100), rate=rate)
    assert shot.silent(shot.info.updated_at + waited) == pytest.approx(told)
    writer.state("paused")
    resting = SharedRun(run.reader()).shot("step", 0.0, 100)
    assert resting.silent(resting.info.updated_at + 1e6) == 0.0


def test_many_viewers_look_less_often_and_those_who_left_are_forgotten() -> None:
    run, _ = growing(5)
    shared = SharedRun(run.reader())
    assert [shared.pace(f"viewer {n}", now=100.0) for n in range(10)] == [1.0] * 3 + [2.0] * 5 + [3.0] * 2
    assert shared.pace("viewer 0", now=101.0) == 3.0
    assert shared.pace("viewer 0", now=100.0 + GONE_SECONDS + 1) == 1.0
