"""On a CUDA GPU: nothing in a step waits for the device, and what is recorded is what a host would record."""

import numpy as np
import pytest
import torch

from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Trainer
from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun
from tests.support.training import bits, tiny_config, tiny_data, trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(
    ("method", "preset"), [("joint", ""), ("cggm", "paper"), ("cggm", "released"), ("cggm", "stable")]
)
def test_no_step_waits_for_the_device(method: str, preset: str, precision: str) -> None:
    config = tiny_config(method, device="cuda", precision=precision)
    if preset:
        config = config.with_settings({"method.variant": preset})
    trainer, run = Trainer(config, tiny_data(config)), MemoryRun()
    recorder = Recorder(run.writer(), trainer.device)
    trainer.fit(recorder, between=lambda place: place.step < 3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.fit(recorder, between=lambda place: place.step < 9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.place.step == 9


def test_recorded_rows_arrive_whole() -> None:
    config = tiny_config("cggm", device="cuda")
    trainer, run = Trainer(config, tiny_data(config)), MemoryRun()
    writer = run.writer()
    trainer.fit(Recorder(writer, trainer.device))
    writer.finish("finished")
    for key in (MetricKey("loss"), MetricKey("balance_coefficient", "m1")):
        series = run.reader().series([key])[key]
        assert len(series.step) == trainer.steps
        assert np.isfinite(series.value).all()


def test_same_seed_same_bits() -> None:
    config = tiny_config("cggm", device="cuda")
    assert bits(trained(config)[0].model) == bits(trained(config)[0].model)


def test_half_precision_with_a_loss_scale_trains() -> None:
    _, rows = trained(tiny_config("cggm", device="cuda", precision="fp16"))
    assert all(np.isfinite(row[MetricKey("task_loss")]) for row in rows.steps.values())
