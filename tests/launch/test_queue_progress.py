"""How long a queue still takes, with numbers worked out on paper."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cggm_core.launch.queue import Job, QueueState
from cggm_core.launch.queue_progress import Going, duration, progress, time_left
from tests.pages import making


@pytest.mark.parametrize(
    ("running", "pending", "finished", "slots", "seconds"),
    [
        ([], 0, [], 2, 0.0),
        # Half done after 10 s: 10 s more.
        ([Going(10, 0.5)], 0, [], 1, 10.0),
        # One more job behind it, which takes the 20 s that this one will.
        ([Going(10, 0.5)], 1, [], 1, 30.0),
        # Three waiting jobs of 20 s on two slots: 0+20, 10+20, then 20+20.
        ([Going(10, 0.5)], 3, [], 2, 40.0),
        # Finished jobs say what a job takes (mean of 8 and 12), a running one what it takes itself.
        ([Going(10, 0.5)], 1, [8.0, 12.0], 1, 20.0),
        ([], 5, [10.0], 2, 30.0),
        # Too early to tell by itself: what the finished took, less what has passed, never below 0.
        ([Going(3, 0.01)], 0, [10.0], 1, 7.0),
        ([Going(30, 0.01)], 0, [10.0], 1, 0.0),
        # What a resumed run had before it began says nothing of its speed.
        ([Going(1, 0.75, resumed=True)], 0, [20.0], 1, 5.0),
        # More running than slots, because the number was lowered meanwhile.
        ([Going(10, 0.5), Going(5, 0.5)], 1, [10.0], 1, 15.0),
    ],
)
def test_the_time_left_by_hand(
    running: list[Going], pending: int, finished: list[float], slots: int, seconds: float
) -> None:
    assert time_left(running, pending, finished, slots) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("running", "pending"),
    [([], 3), ([Going(3, 0.01)], 0), ([Going(3, 0.0)], 2), ([Going(3, 0.9, resumed=True)], 0)],
)
def test_where_nothing_tells_nothing_is_said(running: list[Going], pending: int) -> None:
    assert math.isnan(time_left(running, pending, [], 2))


def test_the_progress_of_a_batch_counts_running_jobs_by_their_steps(tmp_path: Path) -> None:
    half = making.finished(tmp_path, steps=30)  # of 60 planned
    jobs = [
        Job("old-0", "old", {}, "done", began_at=0.0, ended_at=1000.0),
        Job("b-0", "b", {}, "done", began_at=100.0, ended_at=120.0),
        Job("b-1", "b", {}, "failed", began_at=100.0, ended_at=101.0),
        Job("b-2", "b", {}, "cancelled"),
        Job("b-3", "b", {}, "running", run=half, began_at=130.0),
        Job("b-4", "b", {}, "pending"),
    ]
    found = progress(QueueState(1, jobs), tmp_path, now=140.0)
    assert (found.jobs, found.ended, found.shares) == (4, 2, {"b-3": 0.5})
    assert found.share == pytest.approx(2.5 / 4)
    assert found.seconds == pytest.approx(10 + 20)


def test_a_run_that_cannot_be_read_counts_as_just_begun(tmp_path: Path) -> None:
    job = Job("b-0", "b", {}, "running", run="0" * 26, began_at=5.0)
    assert progress(QueueState(1, [job]), tmp_path, now=6.0).shares == {"b-0": 0.0}
    assert progress(QueueState(1, []), tmp_path).share == 1.0


def test_durations_in_words() -> None:
    assert [duration(s) for s in (math.nan, 0.2, 89, 90, 720, 5399, 12600)] == [
        "", "1 s", "89 s", "2 min", "12 min", "90 min", "3.5 h"]  # fmt: skip
