"""What a session holds of a run, and what a person may ask of its worker."""

from typing import Any

import numpy as np
import pytest

from cggm_core.analysis.series import smoothed
from cggm_core.config import RunConfig
from cggm_core.figures import dynamics
from cggm_core.figures.live import KEPT, LiveRun
from cggm_core.figures.report import figure_csv
from cggm_core.figures.view import RunView
from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun
from cggm_core.store.protocols import Event
from cggm_core.ui import controls

SCORE, AUDIO, VALID = MetricKey("score"), MetricKey("balance_coefficient", "audio"), MetricKey("val_score")


def run_of(rows: int) -> tuple[MemoryRun, Any, np.ndarray]:
    run = MemoryRun(RunConfig(method="cggm").to_dict())
    writer = run.writer()
    stream, epochs = writer.stream("step", [SCORE, AUDIO]), writer.stream("epoch", [VALID])
    value = np.random.default_rng(1).standard_normal(rows)
    for step in range(rows):
        writer.log(stream, step, step // 100, [value[step], 1.0])
        if step % 100 == 99:
            writer.log(epochs, step, step // 100, [0.5])
    writer.progress(10 * rows, 10 * rows // 100)
    return run, writer, value


def test_held_is_bounded_extremes_stay_and_smoothing_saw_every_row() -> None:
    run, _, value = run_of(9000)
    live = LiveRun(run.reader(), 20.0)
    assert live.poll()
    curve = live.curves()[SCORE]
    assert len(curve.step) <= 2 * KEPT
    assert curve.total == 9000
    assert curve.value.max() == value.max()
    assert curve.smooth == pytest.approx(smoothed(np.arange(9000), value, 20.0)[curve.step])
    assert len(curve.sample) <= 8192
    assert np.array_equal(live.curves()[VALID].smooth, live.curves()[VALID].value)


def test_growing_piece_by_piece_ends_like_reading_at_once() -> None:
    run, writer, _ = run_of(300)
    live = LiveRun(run.reader(), 5.0)
    live.poll()
    for step in range(300, 420):
        writer.log(0, step, step // 100, [float(step % 7), 1.0])
        if step % 40 == 0:
            assert live.poll()
    live.poll()
    fresh = LiveRun(run.reader(), 5.0)
    fresh.poll()
    for key in (SCORE, AUDIO, VALID):
        one, other = live.curves()[key], fresh.curves()[key]
        assert np.array_equal(one.step, other.step)
        assert one.smooth == pytest.approx(other.smooth, rel=1e-9)


def test_nothing_is_read_while_nothing_changes() -> None:
    run, writer, _ = run_of(10)
    live = LiveRun(run.reader())
    assert live.poll()
    assert not live.poll()
    assert live.reads == 1
    writer.event(9, "set", "rho 1.3 → 2", {"rho": 2.0})
    assert live.poll()
    assert [event.kind for event in live.events] == ["set"]


def test_a_resume_drops_what_was_superseded() -> None:
    run, writer, _ = run_of(50)
    live = LiveRun(run.reader(), 3.0)
    live.poll()
    writer.finish("stopped")
    again = run.writer(resume_at=20)
    for step in range(20, 30):
        again.log(0, step, 0, [7.0, 1.0])
    live.poll()
    curve = live.curves()[SCORE]
    assert curve.step.tolist() == list(range(30))
    assert curve.value[20:].tolist() == [7.0] * 10
    assert [event.kind for event in live.events] == ["resume"]


def test_a_series_that_begins_in_mid_run_is_found() -> None:
    run, writer, _ = run_of(20)
    live = LiveRun(run.reader())
    live.poll()
    new = MetricKey("direction_loss")
    stream = writer.stream("direction", [new])
    writer.log(stream, 20, 0, [3.0])
    live.poll()
    assert live.curves()[new].value.tolist() == [3.0]
    assert len(live.curves()[SCORE].step) == 20


def test_smoothing_may_change_and_raw_values_stay() -> None:
    run, _, value = run_of(100)
    live = LiveRun(run.reader(), 0.0)
    live.poll()
    live.smooth(10.0)
    live.poll()
    curve = live.curves()[SCORE]
    assert np.array_equal(curve.value, value)
    assert curve.smooth == pytest.approx(smoothed(np.arange(100), value, 10.0))


def test_progress_knows_the_length_of_a_pass_and_chance_comes_from_the_worker() -> None:
    run, writer, _ = run_of(200)
    writer.event(0, "start", "training starts", {"chance": 0.1})
    live = LiveRun(run.reader())
    live.poll()
    assert live.steps_per_epoch() == 100.0
    assert live.chance() == 0.1
    assert live.modalities() == ("audio",)
    assert live.rate() >= 0.0


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ({}, ""),
        ({"score": "accuracy", "unit": ""}, "accuracy"),
        ({"score": "-MAE", "unit": "points"}, "-MAE [points]"),
        ({"score": "sign accuracy", "unit": "points"}, "sign accuracy"),
    ],
)
def test_what_a_score_is_and_its_unit_come_from_the_worker(said: dict[str, str], label: str) -> None:
    run, writer, _ = run_of(3)
    writer.event(0, "start", "training starts", said)
    live = LiveRun(run.reader())
    live.poll()
    assert live.score_label() == label


def event(number: int, kind: str, data: dict[str, Any]) -> Event:
    return Event(number, 10 * number, kind, kind, data, float(number))


def test_live_settings_come_from_the_methods_card() -> None:
    assert [p.name for p in controls.live_params({"method": "cggm"})] == ["rho", "lam", "magnitude", "direction"]
    assert controls.live_params({"method": "joint"}) == ()
    assert controls.live_params({"method": "no such method"}) == ()


def test_values_in_force_are_the_configurations_then_the_events() -> None:
    params = controls.live_params({"method": "cggm"})
    events = (event(1, "set", {"rho": 2.0, "request": 1}), event(2, "set", {"magnitude": False, "request": 2}))
    found = controls.current_values({"method_params": {"rho": 1.1, "lam": 0.3}}, params, events)
    assert found == {"rho": 2.0, "lam": 0.3, "magnitude": False, "direction": True}


def test_a_request_is_answered_by_the_event_that_carries_its_number() -> None:
    asked = [controls.Asked(1, "pause", 0.0), controls.Asked(2, "rho 2", 1.0)]
    found = controls.answers(asked, (event(4, "pause", {"request": 1}),))
    assert [(one.text, answer and answer.step) for one, answer in found] == [("rho 2", None), ("pause", 40)]


def test_the_csv_of_a_figure_guards_names_and_holds_the_drawn_numbers() -> None:
    run = MemoryRun()
    writer = run.writer()
    stream = writer.stream("step", [MetricKey("unimodal_score", "=1+1")])
    for step in range(3):
        writer.log(stream, step, 0, [0.1 * step])
    live = LiveRun(run.reader())
    live.poll()
    spec = dynamics.scores(RunView(live.curves(), live.modalities()))
    lines = figure_csv(spec).decode().splitlines()
    assert lines[0] == "panel,series,role,x,y"
    assert lines[1] == "score,'=1+1,line,0.0,0.0"
    assert len(lines) == 4
