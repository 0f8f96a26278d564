"""Teachers and trials train beside the run: they can be stopped, paused, resumed to the bit, and said to be at work."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cggm_core.config import RunConfig
from cggm_core.engine import checkpoint, worker
from cggm_core.engine.trainer import Place, Trainer
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_reader, send
from tests.support.training import Rows, bits, tiny_config, tiny_data

TEACHERS = tiny_config("umt", **{"method.teacher_epochs": 3, "model.dropout": 0.3})  # three epochs of ten steps
TRIALS = tiny_config("g_blending", **{"method.super_epoch": 1, "method.trial_epochs": 1, "model.dropout": 0.3})
# Where they are stopped: at a step of the run, and a step of what trains beside it then.
STOPS = [(TEACHERS, 0, 0), (TEACHERS, 0, 7), (TEACHERS, 0, 10), (TEACHERS, 0, 29), (TRIALS, 0, 0), (TRIALS, 10, 9)]


def everything(trainer: Trainer) -> list[dict[str, bytes]]:
    assert trainer.readers is not None
    return [bits(trainer.model), bits(trainer.readers.modules), *map(bits, trainer.method.modules().values())]


def stopping(step: int, beside: int) -> Any:
    """Stops before a step of what trains beside the run."""
    return lambda place: not (place.step == step and place.beside is not None and place.beside.step == beside)


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[Trainer, Rows]]:
    found = {}
    for config in (TEACHERS, TRIALS):
        trainer, rows = Trainer(config, tiny_data(config)), Rows()
        assert trainer.fit(rows)  # type: ignore[arg-type]
        found[config.method] = trainer, rows
    return found


@pytest.mark.parametrize(("config", "step", "beside"), STOPS)
def test_stopped_beside_the_run_and_resumed_equals_uninterrupted(
    config: RunConfig, step: int, beside: int, whole: dict, tmp_path: Path
) -> None:
    trainer, rows = whole[config.method]
    first = Trainer(config, tiny_data(config))
    assert not first.fit(between=stopping(step, beside))
    assert first.place.step == step
    torch.save(first.state_dict(), tmp_path / "state")
    assert first.fit()  # the same trainer goes on as well
    assert everything(first) == everything(trainer)
    torch.manual_seed(99)
    second, rest = Trainer(config, tiny_data(config)), Rows()
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert second.fit(rest)  # type: ignore[arg-type]
    assert everything(second) == everything(trainer)
    loss = MetricKey("loss")
    assert {s: row[loss] for s, row in rest.steps.items()} == {
        s: row[loss] for s, row in rows.steps.items() if s >= step
    }


def test_a_checkpoint_taken_on_the_way_goes_on_from_there(whole: dict, tmp_path: Path) -> None:
    """As after a kill: the checkpoint was written while the teachers went on training."""
    first = Trainer(TEACHERS, tiny_data(TEACHERS))
    taken: list[int] = []

    def between(place: Place) -> bool:
        if place.beside is not None:
            if place.beside.step == 13:
                torch.save(first.state_dict(), tmp_path / "state")
            taken.append(place.beside.step)
        return len(taken) < 20

    assert not first.fit(between=between)
    assert taken == list(range(20))
    second = Trainer(TEACHERS, tiny_data(TEACHERS))
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    again: list[int] = []
    assert second.fit(between=lambda place: again.append(place.beside.step if place.beside else -1) or True)
    assert [step for step in again if step >= 0] == list(range(13, 30))
    assert everything(second) == everything(whole["umt"][0])


def test_listening_changes_no_bit_and_counts_every_step(whole: dict) -> None:
    seen: list[tuple[int, int, int]] = []

    def between(place: Place) -> bool:
        if place.beside is not None:
            seen.append((place.step, place.beside.step, place.beside.steps))
        return True

    listened = Trainer(TRIALS, tiny_data(TRIALS))
    assert listened.fit(between=between)
    assert everything(listened) == everything(whole["g_blending"][0])
    # Four trials before each of two epochs: ten steps, and twice ten batches of training and some of validation data.
    steps = seen[0][2]
    assert [count for _, count, _ in seen] == 8 * list(range(steps))
    assert {at for at, _, _ in seen} == {0, 10}


def test_time_beside_the_run_is_no_step_time_but_a_cost(whole: dict) -> None:
    rows = whole["umt"][1]
    first, later = (rows.steps[step][MetricKey("step_seconds")] for step in (0, 5))
    assert first < 10 * later + 0.5  # not thirty steps of the teachers
    assert rows.cost[MetricKey("method_epoch_seconds")] > 0


def waiting(what: Any) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("config", [
    TEACHERS.with_settings({"method.teacher_epochs": 100_000}),
    TRIALS.with_settings({"method.trial_epochs": 1000, "dataset.samples": 2000}),
])  # fmt: skip
def test_a_worker_pauses_and_stops_beside_the_run_and_says_so(config: RunConfig, runs_root: Path) -> None:
    folder = runs_root / create_run(runs_root, config.to_json())
    said: list[worker.Progress] = []
    prepared = worker.prepare(config)

    def info() -> Any:
        return open_reader(folder).info()

    def events() -> list[Any]:
        return [event for event in open_reader(folder).events() if event.kind == "beside"]

    def act() -> None:
        waiting(lambda: len(said) > 3 and events())
        send(folder, "pause")
        waiting(lambda: info().state == "paused")
        held = len(said)
        time.sleep(0.3)
        assert len(said) == held
        send(folder, "resume")
        waiting(lambda: len(said) > held)
        send(folder, "stop")

    thread = threading.Thread(target=act)
    thread.start()
    assert worker.run(prepared, folder, progress=said.append) == "stopped"
    thread.join()
    assert info().state == "stopped"
    assert info().step == -1  # no step of the run was taken
    assert events()[0].data["steps"] > 1000
    assert said[-1].beside.startswith(("training before the first step: step", "trial training beside the run: step"))
    state = checkpoint.load(folder, torch.device("cpu"))["trainer"]
    assert bool(state["pretraining"]) == (config.method == "umt")
    resumed = worker.prepare(config)
    send(folder, "stop")  # nobody was there to hear it: forgotten
    again: list[str] = []

    def stop(progress: worker.Progress) -> None:
        again.append(progress.beside)
        if len(again) == 5:
            send(folder, "stop")

    assert worker.run(resumed, folder, resume=True, progress=stop) == "stopped"
    if config.method == "umt":
        # Goes on where the teachers were.
        assert again[1] == said[-1].beside
