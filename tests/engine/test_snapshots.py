"""When gradients are kept, what is kept of them, and that a request and the schedule do not get into each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cggm_core.config import Training
from cggm_core.engine import worker
from cggm_core.engine.snapshots import MOST_BATCHES, SnapshotTaker, planned
from cggm_core.engine.trainer import Trainer
from cggm_core.protocols.step import Step
from cggm_core.store import MemoryRun, Snapshot, create_run, open_reader, send
from tests.support.training import tiny_config, tiny_data


def starts(plan: dict[int, int]) -> list[int]:
    return [step for step, batch in plan.items() if batch == 0]


def test_every_by_hand() -> None:
    plan = planned(Training(snapshots="every", snapshot_every=5, snapshot_batches=2), 12)
    assert plan == {0: 0, 1: 1, 5: 0, 6: 1, 10: 0, 11: 1}
    # Overlapping snapshots are drawn apart, and the last one ends with the run.
    assert planned(Training(snapshots="every", snapshot_every=1, snapshot_batches=3), 4) == {0: 0, 1: 1, 2: 2, 3: 0}


def test_logarithmic_by_hand() -> None:
    plan = planned(Training(snapshot_count=4, snapshot_batches=2), 202)
    # 0, then 2, 20, 200: the logarithm of the step grows by the same from one to the next.
    assert starts(plan) == [0, 2, 20, 200]
    assert plan[200] == 0
    assert plan[201] == 1


@pytest.mark.parametrize("steps", [1, 7, 20, 32, 170, 360, 5000, 1_000_000])
@pytest.mark.parametrize(
    "settings",
    [
        Training(),
        Training(snapshots="every", snapshot_every=1),
        Training(snapshots="every"),
        Training(snapshot_count=1000, snapshot_batches=64),
    ],
)
def test_a_schedule_stays_inside_the_run_and_inside_its_bounds(steps: int, settings: Training) -> None:
    plan = planned(settings, steps)
    assert min(plan) == 0
    assert max(plan) < steps
    batches = settings.snapshot_batches
    assert len(plan) <= MOST_BATCHES + batches
    firsts = starts(plan)
    assert firsts == sorted(set(firsts))
    if settings.snapshots == "logarithmic" and steps >= 4 * batches:
        assert len(plan) <= steps / 4
        assert len(plan) == len(firsts) * batches


def test_off_keeps_nothing_and_a_run_without_steps_neither() -> None:
    assert planned(Training(snapshots="off"), 100) == {}
    assert planned(Training(), 0) == {}


def kept(config, ask_at: int = -1) -> tuple[Snapshot, ...]:
    trainer, run = Trainer(config, tiny_data(config)), MemoryRun()
    taker = SnapshotTaker(run.writer(), trainer.device, config.training, trainer.steps)

    def look(step: Step) -> None:
        if step.index == ask_at:
            taker.ask()
        taker.look(step)

    trainer.fit(on_step=look)
    taker.catch_up()
    return run.reader().snapshots()


def test_steps_batches_kinds_and_modalities_are_said() -> None:
    shots = kept(tiny_config(snapshots="every", snapshot_every=10, snapshot_batches=2))
    assert sorted({(s.step, s.batch) for s in shots}) == [(0, 0), (1, 1), (10, 0), (11, 1)]
    kinds = {(s.kind, s.modality) for s in shots if s.step == 11}
    assert kinds == {("fused", ""), *((k, m) for k in ("classifier", "unimodal") for m in ("m1", "m2", "m3"))}


def test_a_request_keeps_the_next_batches_once() -> None:
    asked = {"snapshots": "every", "snapshot_every": 12, "snapshot_batches": 3}
    shots = kept(tiny_config(**asked), ask_at=11)
    # The schedule has 12, 13, 14 as its own; of the request remains step 11.
    assert sorted({(s.step, s.batch) for s in shots}) == [(0, 0), (1, 1), (2, 2), (11, 0), (12, 0), (13, 1), (14, 2)]
    assert len(shots) == 7 * 7


def test_a_large_head_is_kept_as_a_sketch_that_says_so() -> None:
    wide = {"model.width": 400, "dataset.classes": 3, "epochs": 1, "snapshots": "every", "snapshot_every": 5,
            "snapshot_batches": 1}  # fmt: skip
    config = tiny_config(**wide)
    shots = kept(config)
    assert {s.array.shape for s in shots} == {(1024,)}
    assert all(s.data == {"size": 1200, "shape": [3, 400], "seed": 0} for s in shots)


def test_a_stop_right_after_a_request_still_gets_its_first_batch(runs_root: Path) -> None:
    config = tiny_config(epochs=1000, snapshots="off", snapshot_batches=4)
    folder = runs_root / create_run(runs_root, config.to_json())
    send(folder, "snapshot")
    send(folder, "stop")
    assert worker.run(worker.prepare(config), folder) == "stopped"
    shots = open_reader(folder).snapshots()
    assert {(s.step, s.batch) for s in shots} == {(0, 0)}
    (event,) = (e for e in open_reader(folder).events() if e.kind == "snapshot taken")
    assert "next 3" in event.text


def test_a_resumed_run_keeps_the_same_gradients_as_an_uninterrupted_one(runs_root: Path) -> None:
    config = tiny_config("cggm", snapshots="every", snapshot_every=4, snapshot_batches=2)
    whole = runs_root / create_run(runs_root, config.to_json())
    worker.run(worker.prepare(config), whole)
    parts = runs_root / create_run(runs_root, config.to_json())
    prepared = worker.prepare(config)

    def stop(progress: worker.Progress) -> None:
        if progress.step == 9:
            send(parts, "stop")

    assert worker.run(prepared, parts, progress=stop) == "stopped"
    assert worker.run(worker.prepare(config), parts, resume=True) == "finished"
    first, second = open_reader(whole).snapshots(), open_reader(parts).snapshots()
    assert [(s.step, s.batch, s.kind, s.modality) for s in first] == [
        (s.step, s.batch, s.kind, s.modality) for s in second
    ]
    assert all(np.array_equal(a.array, b.array) for a, b in zip(first, second, strict=True))


def test_the_unimodal_gradient_is_the_derivative_of_the_loss_with_the_others_absent() -> None:
    config = tiny_config(snapshots="every", snapshot_every=100, snapshot_batches=1)
    trainer, run = Trainer(config, tiny_data(config)), MemoryRun()
    taker = SnapshotTaker(run.writer(), trainer.device, config.training, trainer.steps)
    expected: dict[str, torch.Tensor] = {}

    def look(step: Step) -> None:
        taker.look(step)
        if step.index == 0:
            step.model.eval()
            for m in step.modalities:
                others = {n: f.detach() if n == m else torch.zeros_like(f) for n, f in step.features.items()}
                loss = step.task.loss(step.model.head(step.model.fuse(others)), step.batch.target)
                expected[m] = torch.autograd.grad(loss, step.model.head.weight)[0]
            step.model.train()

    trainer.fit(on_step=look)
    shots = {s.modality: s.array for s in run.reader().snapshots(kind="unimodal")}
    for m, gradient in expected.items():
        np.testing.assert_allclose(shots[m], gradient.numpy(), rtol=1e-4, atol=1e-7)
