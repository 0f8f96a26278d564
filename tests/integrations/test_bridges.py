"""The same readings in a logger the user has already."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import cggm_core
from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.integrations._optional import need
from cggm_core.integrations.bridges import MLflowBridge, TensorBoardBridge, WandbBridge, tag
from cggm_core.names import MetricKey
from tests.support.watching import built, encoders, info, loop, series

pytestmark = pytest.mark.filterwarnings("ignore")  # of loggers that are not ours


def watched(root: Path, bridge: object, steps: int = 5) -> cggm_core.Watch:
    net = built()
    watch = cggm_core.watch(
        encoders(net), head=net.head, task="classification", runs=root, also=[bridge]  # type: ignore[list-item]
    )  # fmt: skip
    loop(net, torch.optim.Adam(net.parameters()), watch, steps)
    net.eval()
    with torch.no_grad():
        net(torch.zeros(4, 6), torch.zeros(4, 5))
        watch.validate(torch.zeros(4, dtype=torch.int64))
    watch.end_epoch()
    watch.close()
    return watch


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (MetricKey("loss"), "cggm/loss"),
        (MetricKey("gradient_norm", "audio"), "cggm/gradient_norm/audio"),
        (MetricKey("pair_cosine", "a|b"), "cggm/pair_cosine/a-b"),
    ],
)
def test_a_series_as_a_path(key: MetricKey, name: str) -> None:
    assert tag(key, "cggm") == name


def test_tensorboard_holds_the_run_s_own_numbers(runs_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "events")) as writer:
        watch = watched(runs_root, TensorBoardBridge(writer))
    read = EventAccumulator(str(tmp_path / "events")).Reload()
    for key in info(watch).summary:
        found = [event.value for event in read.Scalars(tag(key, "cggm"))]
        assert found == pytest.approx(series(watch, *key), rel=1e-6)
    assert [event.step for event in read.Scalars("cggm/loss")] == [0, 1, 2, 3, 4]
    assert "cggm/val_score" in read.Tags()["scalars"]


def test_mlflow_holds_each_nth_step(runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with pytest.raises(ConfigError, match="no MLflow run is active"):
        MLflowBridge()
    with mlflow.start_run() as active:
        watch = watched(runs_root, MLflowBridge(every=2))
    client = mlflow.MlflowClient()
    for key in (MetricKey("loss"), MetricKey("head_gradient_norm", "text"), MetricKey("pair_cosine", "audio|text")):
        history = client.get_metric_history(active.info.run_id, tag(key, "cggm", "."))
        assert [metric.step for metric in history] == [0, 2, 4]
        assert [metric.value for metric in history] == pytest.approx(series(watch, *key)[::2], rel=1e-6)


def test_wandb_offline_gets_a_step_axis_of_its_own(
    runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(mode="offline", project="lab", dir=str(tmp_path))
    run.log({"mine": 1.0})
    watch = watched(runs_root, WandbBridge(run))
    assert run.summary["cggm/step"] == 4
    assert run.summary["cggm/loss"] == pytest.approx(series(watch, "loss")[-1])
    assert run.summary["cggm/gradient_norm/audio"] == pytest.approx(series(watch, "gradient_norm", "audio")[-1])
    run.finish()
    assert list(tmp_path.rglob("*.wandb"))


class Broken:
    """A logger whose server is away from the third step on."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step: int, values: Mapping[MetricKey, float]) -> None:
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
        if step == 2:
            raise ConnectionError("away")
        self.steps.append(step)

    def close(self) -> None:
        raise AssertionError("a bridge that was let go is not closed")


def test_a_logger_that_fails_costs_one_warning_and_no_number(runs_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    watch = watched(runs_root, broken)
    assert broken.steps == [0, 1]
    assert (info(watch).state, len(series(watch, "loss"))) == ("finished", 5)
    assert sum("gets nothing more" in record.getMessage() for record in caplog.records) == 1


def test_a_package_that_is_missing_is_named_with_its_command() -> None:
    with pytest.raises(CapabilityError, match=r"nothing_like_it is not installed.*cggm-lab\[extra\]"):
        need("nothing_like_it.part", "extra")


def test_every_is_a_number_of_steps() -> None:
    with pytest.raises(ConfigError, match="every is 0"):
        TensorBoardBridge(None, every=0)
