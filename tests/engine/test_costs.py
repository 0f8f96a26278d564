"""What a run records of its own cost: sizes that fit the model, times that fit the steps, and the bits of before."""

from pathlib import Path

import numpy as np
import pytest
import torch

import cggm_core
from cggm_core.analysis.costs import cost_table
from cggm_core.engine import worker
from cggm_core.engine.costs import Clock, Costs
from cggm_core.names import COSTS, MetricKey
from cggm_core.store import create_run, open_reader
from tests.support.training import tiny_config, trained


def test_a_run_records_its_costs_and_they_add_up(runs_root: Path) -> None:
    config = tiny_config("cggm")
    prepared, folder = worker.prepare(config), runs_root / create_run(runs_root, config.to_json())
    worker.run(prepared, folder)
    reader = open_reader(folder)
    last = {key.metric: value.last for key, value in reader.info().summary.items() if key.metric in COSTS}
    assert set(last) == COSTS
    model = sum(p.numel() for p in prepared.trainer.model.parameters())
    assert last["model_parameters"] == model
    # Adam in float32: a weight, its gradient and two moments; little besides.
    assert 16 * model <= last["model_bytes"] < 16 * model + 2000
    assert last["classifier_parameters"] == sum(p.numel() for p in prepared.trainer.readers.modules.parameters())
    assert last["method_parameters"] == last["method_bytes"] == 0
    seconds = reader.series([MetricKey("step_seconds")])[MetricKey("step_seconds")].value
    assert last["median_step_seconds"] == pytest.approx(float(np.median(seconds)), rel=1e-12)
    parts = sum(last[f"median_{part}_seconds"] for part in ("method", "classifier", "measuring"))
    assert 0 < parts < last["median_processor_seconds"]
    assert last["peak_memory_bytes"] > 2**26


def test_a_methods_own_parts_are_counted() -> None:
    trainer, rows = trained(tiny_config("umt", **{"method.teacher_epochs": 1}))
    own = sum(p.numel() for p in trainer.method.modules()["teachers"].parameters())
    assert rows.cost[MetricKey("method_parameters")] == own
    assert rows.cost[MetricKey("method_bytes")] < 16 * own  # teachers do not learn: no moments


def test_without_classifiers_nothing_is_counted_for_them() -> None:
    _, rows = trained(tiny_config(), readers=False, measure=False)
    assert rows.cost[MetricKey("classifier_parameters")] == 0
    assert rows.cost[MetricKey("median_classifier_seconds")] == 0


def test_medians_of_steps_and_of_their_parts_by_hand() -> None:
    clock = Clock()
    costs = Costs(torch.device("cpu"), clock)
    assert costs.readings({}) == {}
    for seconds, method in ((0.01, 0.001), (0.02, 0.004), (9.0, 0.003)):
        clock.method.seconds += method
        costs.step(seconds)
    costs.between(0.6)
    costs.between(0.3)
    found = costs.readings({})
    assert found[MetricKey("median_step_seconds")] == 0.02
    assert found[MetricKey("median_method_seconds")] == 0.003
    assert found[MetricKey("median_measuring_seconds")] == 0
    assert found[MetricKey("method_epoch_seconds")] == pytest.approx(0.3)


def test_where_the_host_does_not_compute_parts_are_left_out() -> None:
    costs = Costs(torch.device("meta"), Clock())
    costs.step(0.5)
    assert {key.metric for key in costs.readings({})} == {
        "median_step_seconds",
        "method_epoch_seconds",
        "peak_memory_bytes",
    }


def test_a_run_stopped_in_its_first_epoch_has_costs_too(runs_root: Path) -> None:
    from cggm_core.store import send

    config = tiny_config(epochs=100_000, checkpoint_seconds=1000.0)
    folder = runs_root / create_run(runs_root, config.to_json())
    prepared = worker.prepare(config)
    taken: list[int] = []

    def count(progress: worker.Progress) -> None:
        taken.append(progress.step)
        if progress.step == 3:
            send(folder, "stop")

    assert worker.run(prepared, folder, progress=count) == "stopped"
    assert open_reader(folder).info().summary[MetricKey("median_step_seconds")].last > 0


def test_a_watched_loop_records_its_time_and_its_classifiers(runs_root: Path) -> None:
    from tests.support.watching import batches, built, encoders, info

    net = built()
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", method="cggm", runs=runs_root,
                            knobs={"direction": False})  # fmt: skip
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for audio, text, target in batches(5):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(audio, text), target)
        loss.backward()
        watch.step(loss, target)
        optimiser.step()
    watch.close()
    last = {key.metric: value.last for key, value in info(watch).summary.items() if key.metric in COSTS}
    assert last["median_step_seconds"] > 0
    assert last["classifier_parameters"] > 0
    assert last["classifier_bytes"] >= 16 * last["classifier_parameters"]  # Adam's two moments among them
    # The whole model is not known, nor are the parts of a step that the loop takes itself.
    assert not {"model_parameters", "model_bytes", "median_processor_seconds"} & set(last)
    (cost,) = cost_table({"cggm": (info(watch),)}).values()
    assert (cost.added_parameters, cost.work_ratio) == (last["classifier_parameters"], 1)
