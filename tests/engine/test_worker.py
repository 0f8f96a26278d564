"""One run in this process: what it records, how it listens, what it leaves behind when it fails."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cggm_core.config import RunConfig
from cggm_core.engine import checkpoint, worker
from cggm_core.errors import ConfigError, DamagedRunError, DataError, StoreError
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_reader, send
from tests.support.training import bits, tiny_config


def started(root: Path, config: RunConfig) -> Path:
    return root / create_run(root, config.to_json())


def at_step(folder: Path, step: int, act) -> threading.Thread:
    """Act in a thread of its own once a step is recorded, as the app would."""

    def watch() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if open_reader(folder).info().step >= step:
                act()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def events(folder: Path, kind: str):
    return [event for event in open_reader(folder).events() if event.kind == kind]


def test_a_run_is_recorded_and_sealed(runs_root: Path) -> None:
    config = tiny_config("cggm")
    folder = started(runs_root, config)
    seen: list[worker.Progress] = []
    prepared = worker.prepare(config)
    assert worker.run(prepared, folder, progress=seen.append) == "finished"
    info = open_reader(folder).info()
    assert (info.state, info.step, info.steps, info.epochs) == ("finished", 19, 20, 2)
    assert seen[-1].step == seen[-1].steps == 20
    assert 0 <= seen[-1].val_score <= 1
    assert MetricKey("val_score") in info.summary
    assert not (folder / "run.db-wal").exists()
    (start,) = events(folder, "start")
    assert start.data["modalities"] == ["m1", "m2", "m3"]
    assert start.data["data"] == prepared.data.fingerprint


def test_interventions_act_are_recorded_and_survive_a_resume(runs_root: Path) -> None:
    config = tiny_config("cggm", epochs=100_000, checkpoint_seconds=1000.0)
    folder = started(runs_root, config)
    first = at_step(folder, 20, lambda: send(folder, "set", {"rho": 0.5, "magnitude": False}))
    second = at_step(folder, 60, lambda: (send(folder, "snapshot"), send(folder, "stop")))
    assert worker.run(worker.prepare(config), folder) == "stopped"
    first.join(), second.join()
    (change,) = events(folder, "set")
    assert "rho 1.3 \u2192 0.5" in change.text
    assert change.data["rho"] == 0.5
    reader = open_reader(folder)
    applied = reader.series([MetricKey("balance_coefficient", "m1")])[MetricKey("balance_coefficient", "m1")]
    assert (applied.value[: change.step] != 1).any()
    assert (applied.value[change.step :] == 1).all()
    assert reader.info().state == "stopped"
    resumed = worker.prepare(config)
    last = at_step(folder, reader.info().step + 10, lambda: send(folder, "stop"))
    assert worker.run(resumed, folder, resume=True) == "stopped"
    last.join()
    assert resumed.trainer.method.knobs["rho"] == 0.5
    assert resumed.trainer.method.knobs["magnitude"] is False
    step = open_reader(folder).series([MetricKey("loss")])[MetricKey("loss")].step
    np.testing.assert_array_equal(step, np.arange(len(step)))


def test_a_pause_holds_and_a_resume_lets_go(runs_root: Path) -> None:
    config = tiny_config(epochs=100_000)
    folder = started(runs_root, config)
    seen: dict[str, object] = {}

    def act() -> None:
        send(folder, "pause")
        deadline = time.monotonic() + 60
        while open_reader(folder).info().state != "paused" and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.4)
        seen["held"] = open_reader(folder).info().step
        time.sleep(0.4)
        seen["still"], seen["state"] = open_reader(folder).info().step, open_reader(folder).info().state
        send(folder, "resume")
        while open_reader(folder).info().step <= seen["still"] and time.monotonic() < deadline:
            time.sleep(0.02)
        send(folder, "stop")

    thread = at_step(folder, 5, act)
    assert worker.run(worker.prepare(config), folder) == "stopped"
    thread.join()
    assert seen["held"] == seen["still"]
    assert seen["state"] == "paused"
    assert open_reader(folder).info().step > seen["still"]


@pytest.mark.parametrize("knob", [{"rho": 0}, {"lam": -1}, {"variant": "released"}, {"nonsense": 1}])
def test_a_bad_intervention_is_refused_in_words_and_changes_nothing(runs_root: Path, knob: dict) -> None:
    config = tiny_config("cggm", epochs=100_000)
    folder = started(runs_root, config)
    thread = at_step(folder, 3, lambda: (send(folder, "set", knob), send(folder, "stop")))
    prepared = worker.prepare(config)
    assert worker.run(prepared, folder) == "stopped"
    thread.join()
    (change,) = events(folder, "set")
    assert "refused" in change.text
    assert prepared.trainer.method.knobs == dict(config.method_params)


def test_a_snapshot_keeps_three_kinds_of_gradients(runs_root: Path) -> None:
    asked_only = {"snapshots": "off", "snapshot_batches": 1}
    config = tiny_config("cggm", **asked_only)
    folder = started(runs_root, config)
    send(folder, "snapshot")  # asked for while the worker was starting: taken at the first step
    worker.run(worker.prepare(config), folder)
    assert {s.step for s in open_reader(folder).snapshots()} == {0}
    config = tiny_config("cggm", epochs=100_000, **asked_only)
    folder = started(runs_root, config)
    thread = at_step(folder, 3, lambda: (send(folder, "snapshot"), send(folder, "stop")))
    worker.run(worker.prepare(config), folder)
    thread.join()
    kept = open_reader(folder).snapshots()
    assert {(s.kind, s.modality) for s in kept} == {
        ("fused", ""), *((k, m) for k in ("classifier", "unimodal") for m in ("m1", "m2", "m3")),
    }  # fmt: skip
    assert all(s.array.shape == (3, 8) and np.isfinite(s.array).all() for s in kept)


def test_a_failure_is_recorded_and_raised(runs_root: Path) -> None:
    config = tiny_config()
    folder = started(runs_root, config)
    prepared = worker.prepare(config)

    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError("the device is on fire")

    prepared.trainer.task.loss = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="on fire"):
        worker.run(prepared, folder)
    info = open_reader(folder).info()
    assert (info.state, info.reason) == ("failed", "RuntimeError: the device is on fire")


def test_stopped_and_resumed_runs_reach_the_bits_of_an_uninterrupted_one(runs_root: Path) -> None:
    config = tiny_config("cggm", epochs=8)
    whole = worker.prepare(config)
    worker.run(whole, started(runs_root, config))
    folder = started(runs_root, config)
    thread = at_step(folder, 10, lambda: send(folder, "stop"))
    worker.run(worker.prepare(config), folder)
    thread.join()
    resumed = worker.prepare(config)
    assert worker.run(resumed, folder, resume=True) == "finished"
    assert bits(resumed.trainer.model) == bits(whole.trainer.model)


def test_a_folder_without_checkpoint_cannot_be_resumed(runs_root: Path) -> None:
    config = tiny_config()
    folder = started(runs_root, config)
    with pytest.raises(StoreError, match="no checkpoint"):
        worker.run(worker.prepare(config), folder, resume=True)
    (folder / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DamagedRunError, match="cannot be read"):
        worker.run(worker.prepare(config), folder, resume=True)


def test_a_checkpoint_runs_no_code(runs_root: Path, tmp_path: Path) -> None:
    import os
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    folder = started(runs_root, tiny_config())
    (folder / "checkpoint.pt").write_bytes(pickle.dumps({"format": 1, "trainer": Bomb()}))
    with pytest.raises(DamagedRunError):
        checkpoint.load(folder, torch.device("cpu"))
    assert not (tmp_path / "boom").exists()


def test_a_disk_that_refuses_a_checkpoint_costs_a_warning(runs_root: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    config = tiny_config()
    folder = started(runs_root, config)
    assert worker.run(worker.prepare(config), folder) == "finished"
    assert "No space left" in events(folder, "warning")[0].text


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_and_no_piece_of_the_new(runs_root: Path, monkeypatch) -> None:
    folder = started(runs_root, tiny_config())
    checkpoint.save(folder, {"trainer": {"a": torch.ones(3)}})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(folder, {"trainer": {"a": torch.zeros(3)}})
    assert checkpoint.load(folder, torch.device("cpu"))["trainer"]["a"].tolist() == [1, 1, 1]
    assert list(folder.glob("*.part")) == []


def test_a_resume_on_other_data_is_refused(runs_root: Path, tmp_path: Path) -> None:
    from tests.support.data import write_npz

    config = RunConfig.from_dict({
        "dataset": str(write_npz(tmp_path / "mine.npz")), "model_params": {"width": 8, "layers": 1, "heads": 2},
        "training": {"epochs": 1, "batch_size": 16, "device": "cpu"},
    })  # fmt: skip
    folder = started(runs_root, config)
    worker.run(worker.prepare(config), folder)
    write_npz(tmp_path / "mine.npz", samples=80)
    with pytest.raises(DataError, match="has changed since"):
        worker.run(worker.prepare(config), folder, resume=True)


@pytest.mark.parametrize(("device", "precision"), [("cuda:9", "float32"), ("cpu", "fp16")])
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(device: str, precision: str) -> None:
    with pytest.raises(ConfigError):
        worker.prepare(tiny_config(device=device, precision=precision))


def test_mixed_precision_trains(runs_root: Path) -> None:
    config = tiny_config("cggm", precision="bf16", snapshots="off", snapshot_batches=1)
    folder = started(runs_root, config)
    send(folder, "snapshot")
    assert worker.run(worker.prepare(config), folder) == "finished"
    assert len(open_reader(folder).snapshots()) == 7
    loss = open_reader(folder).series([MetricKey("loss")])[MetricKey("loss")].value
    assert np.isfinite(loss).all()
