"""Regression from loss to exported series: metrics, scale of labels, CGGM's coefficients, known truth."""

import math
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, mean_absolute_error
from torch import nn

from cggm_core import catalog
from cggm_core.config import RunConfig
from cggm_core.engine import worker
from cggm_core.engine.trainer import Trainer
from cggm_core.errors import CapabilityError
from cggm_core.measures.directions import cosines, direction_loss, head_gradient
from cggm_core.methods.cggm import Cggm
from cggm_core.names import EVERY_RUN, MetricKey
from cggm_core.protocols.data import DataBundle, Split, TaskSpec
from cggm_core.protocols.diagnostic import Diagnostic
from cggm_core.protocols.regression import Regression, label_options, regression_metrics
from cggm_core.protocols.tasks import make_task
from cggm_core.store import create_run, open_reader, write_csv
from tests.support.training import Rows, bits, tiny_config, tiny_data, trained

SETTINGS = [("joint", ""), ("cggm", "paper"), ("cggm", "released"), ("cggm", "stable")]
NAMED = ("mae", "corr", "acc2", "acc7", "f1")


def regression_config(method: str = "joint", preset: str = "", dataset: str = "synthetic", **given) -> RunConfig:
    knobs = catalog.card("method", method).resolve({}, preset)
    made = tiny_config(method, **{f"method.{k}": v for k, v in knobs.items()})
    if dataset == "synthetic":
        return made.with_settings({"dataset.task": "regression", **given})
    return RunConfig.from_dict({**made.to_dict(), "dataset": dataset, "dataset_params": {}}).with_settings(given)


def task_of(outputs: int = 1, **options) -> Regression:
    return Regression(TaskSpec("regression", outputs, options=options))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_the_libraries_and_the_formulas_of_the_field(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.uniform(-3.4, 3.4, (211, 1)).round(1)
    truth[::9] = 0
    prediction = (truth + random.normal(size=truth.shape)).astype(np.float32)
    y, p = truth.ravel(), prediction.ravel().astype(float)
    found, signed = regression_metrics(prediction.astype(float), truth), y != 0
    expected = {
        "mae": mean_absolute_error(y, p),
        "corr": np.corrcoef(p, y)[0, 1],
        "acc2": np.mean((p[signed] > 0) == (y[signed] > 0)),
        "acc7": np.mean(np.round(np.clip(p, -3, 3)) == np.round(np.clip(y, -3, 3))),
        "f1": f1_score(y[signed] > 0, p[signed] > 0, average="weighted"),
    }
    assert tuple(found) == NAMED
    assert found == pytest.approx(expected, abs=1e-6)
    assert found["corr"] == pytest.approx(pearsonr(p, y).statistic, abs=1e-6)


def test_metrics_by_hand_and_what_zero_means() -> None:
    truth, prediction = np.array([[-2.0], [0.0], [1.0], [3.0]]), np.array([[-1.0], [2.0], [0.0], [4.0]])
    found = regression_metrics(prediction, truth)
    # The label 0 is left out; the prediction 0 of the label 1 counts as negative: two of three right.
    assert found["acc2"] == pytest.approx(2 / 3)
    # negative: precision 1/2, recall 1, F1 2/3, one sample; positive: precision 1, recall 1/2, F1 2/3, two samples
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["acc7"] == 0.25  # 4 is clipped to 3
    assert found["mae"] == 1.25


def test_metrics_that_are_not_defined_are_nan() -> None:
    found = regression_metrics(np.ones((3, 1)), np.zeros((3, 1)))
    assert math.isnan(found["corr"])
    assert math.isnan(found["acc2"])
    assert math.isnan(found["f1"])
    assert (found["mae"], found["acc7"]) == (1.0, 0.0)


def test_several_outputs_have_one_mean() -> None:
    random = np.random.default_rng(0)
    prediction, truth = random.normal(size=(2, 40, 3))
    found = regression_metrics(prediction, truth)
    assert found["corr"] == pytest.approx(np.mean([np.corrcoef(prediction[:, i], truth[:, i])[0, 1] for i in range(3)]))
    assert found["mae"] == pytest.approx(np.abs(prediction - truth).mean())


def test_what_is_kept_of_labels_by_hand() -> None:
    found = label_options(torch.tensor([[100.0, -1.0], [200.0, 0.0], [400.0, 0.0], [900.0, 3.0]]))
    assert found["offset"] == [300.0, 0.0]
    assert found["scale"] == [100.0, 1.0]  # mean distances 250 and 1
    assert found["spread"] == pytest.approx((250 + 1) / 2)
    assert found["positive"] == 5 / 8
    assert label_options(torch.full((3, 1), 7.0))["scale"] == [1.0]
    assert label_options(torch.tensor([[0.002], [0.004]]))["scale"] == [0.001]


def test_labels_between_minus_three_and_three_keep_the_plain_loss() -> None:
    target = torch.linspace(-3, 3, 61)[:, None]
    task, logits = task_of(**label_options(target)), torch.randn(61, 1)
    assert float(task.loss(logits, target)) == pytest.approx(float((logits - target).abs().mean()), rel=1e-6)
    assert float(task.score(logits, target)) == pytest.approx(-float(task.loss(logits, target)), rel=1e-6)
    assert task.chance == pytest.approx(-float(target.abs().mean()))


def relabelled(data: DataBundle, factor: float, shift: float) -> DataBundle:
    splits = {k: Split(s.inputs, s.target * factor + shift, s.ids) for k, s in data.splits.items()}
    spec = TaskSpec("regression", 1, options=label_options(splits["train"].target))
    return DataBundle(data.name, spec, data.modalities, splits, data.fingerprint)


def test_the_unit_of_a_label_changes_nothing_but_the_unit_of_what_is_measured() -> None:
    config = regression_config("cggm", "paper")
    data = tiny_data(config)
    seen = []
    for factor, shift in ((1.0, 0.0), (1000.0, 50_000.0)):
        trainer, rows = Trainer(config, relabelled(data, factor, shift)), Rows()
        trainer.fit(rows)
        seen.append((rows.steps[0], rows.epochs[1]))
    (step, epoch), (other_step, other_epoch) = seen
    for metric in ("loss", "direction_loss", "head_gradient_norm"):
        assert other_step[MetricKey(metric)] == pytest.approx(step[MetricKey(metric)], rel=1e-3)
    for metric in ("val_score", "val_mae"):
        assert other_epoch[MetricKey(metric)] == pytest.approx(1000 * epoch[MetricKey(metric)], rel=0.02)
    assert other_epoch[MetricKey("val_score")] == -other_epoch[MetricKey("val_mae")]


@pytest.mark.parametrize("outputs", [1, 3])
def test_closed_form_equals_double_backward_of_autograd(outputs: int) -> None:
    """The value, and what lam L_gm sends on to everything before the head."""
    torch.manual_seed(0)
    target = 40 * torch.randn(9, outputs) + 100
    task, head = task_of(outputs, **label_options(target)), nn.Linear(7, outputs)
    inputs = torch.randn(9, 7, requires_grad=True)
    logits = head(inputs.tanh())
    loss, others = task.loss(logits, target), torch.randn(2, head.weight.numel())
    closed = task.logit_gradient(logits, target)
    torch.testing.assert_close(closed, torch.autograd.grad(loss, logits, retain_graph=True)[0])
    seen = []
    for gradient in (
        head_gradient(head, inputs.tanh(), closed, loss),
        torch.autograd.grad(loss, head.weight, create_graph=True)[0],
    ):
        value = direction_loss(torch.tensor([0.7, -1.2]), cosines(gradient.flatten(), others))
        (reached,) = torch.autograd.grad(value, inputs, retain_graph=True)
        seen.append((gradient.detach(), value.detach(), reached))
    for ours, autograd in zip(*seen, strict=True):
        torch.testing.assert_close(ours, autograd, rtol=1e-5, atol=1e-6)


def test_oracle_8d_through_the_score_and_the_method() -> None:
    """The first step compares with 0 and lifts the best; from the second on the fastest improver is damped."""
    task, target = task_of(), torch.zeros(4, 1)
    method = Cggm(**catalog.card("method", "cggm").resolve({}, "paper"))
    model = SimpleNamespace(modalities=("a", "b", "c"))
    method.setup(SimpleNamespace(model=model, device=torch.device("cpu"), measure_dtype=torch.float64))  # type: ignore[arg-type]
    for errors, expected in (
        ((1.4, 1.5, 1.0), (0.641026, 0.615385, 0.743590)),
        ((1.39, 1.48, 0.90), (0.923077, 0.846154, 0.230769)),
    ):
        scores = torch.stack([task.score(torch.full((4, 1), error), target) for error in errors])
        assert scores.tolist() == pytest.approx([-error for error in errors])
        _, shares, undefined = method._shares(scores, "paper")
        assert not undefined
        assert shares.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("score", ["standard", "binary"])
def test_the_first_gain_is_the_first_score(score: str) -> None:
    _, rows = trained(regression_config("cggm", "paper", score=score))
    for m in ("m1", "m2", "m3"):
        first = rows.steps[0]
        assert first[MetricKey("score_gain", m)] == first[MetricKey("unimodal_score", m)]
        assert (first[MetricKey("unimodal_score", m)] < 0) == (score == "standard")


def test_the_binary_score_is_chosen_and_refused_in_words() -> None:
    config = regression_config("joint", score="binary")
    assert Trainer(config, tiny_data(config)).task.score_name == "sign accuracy"
    assert 0.5 <= Trainer(config, tiny_data(config)).task.chance < 0.6
    with pytest.raises(CapabilityError, match="classification has no binary score"):
        Trainer(tiny_config(score="binary"), tiny_data(tiny_config()))
    with pytest.raises(CapabilityError, match="every train label is positive"):
        worker.prepare(RunConfig(dataset="diabetes").with_settings({"score": "binary", "device": "cpu"}))
    assert make_task(TaskSpec("regression", 1)).score_name == "-MAE"


@pytest.mark.parametrize(("method", "preset"), SETTINGS)
@pytest.mark.parametrize("dataset", ["diabetes", "synthetic"])
def test_every_series_is_exported(dataset: str, method: str, preset: str, runs_root: Path) -> None:
    config = regression_config(method, preset, dataset)
    check_export(config, runs_root)


@pytest.mark.data
@pytest.mark.parametrize(("method", "preset"), SETTINGS)
@pytest.mark.parametrize("score", ["standard", "binary"])
def test_every_series_is_exported_of_real_speech(
    score: str, method: str, preset: str, runs_root: Path, data_folder: Path
) -> None:
    check_export(
        regression_config(method, preset, str(data_folder / "cmu_mosi.npz"), epochs=1, batch_size=128, score=score),
        runs_root,
    )


def check_export(config: RunConfig, root: Path) -> None:
    """Every declared series is there and finite, and the numbers hang together in the label's unit."""
    folder = root / create_run(root, config.to_json())
    prepared = worker.prepare(config)
    assert worker.run(prepared, folder) == "finished"
    text = StringIO()
    write_csv(open_reader(folder), text)
    text.seek(0)
    table = pd.read_csv(text, keep_default_na=False, na_values=["nan"])
    assert np.isfinite(table["value"]).all()
    wanted = EVERY_RUN
    wanted |= {p + n for p in ("val_", "test_") for n in ("loss", "score", "unimodal_score", *NAMED)}
    assert wanted <= set(table["metric"])
    modal = table[table["metric"] == "unimodal_score"]
    assert set(modal["modality"]) == set(prepared.data.modalities)
    last = table.groupby("metric")["value"].last()
    binary = config.training.score == "binary"
    if not binary:
        assert last["val_score"] == -last["val_mae"]
    scale = prepared.trainer.task.spec.options["scale"][0]
    assert last["test_mae"] == pytest.approx(last["test_loss"] * scale, rel=1e-5)
    (start,) = (event for event in open_reader(folder).events() if event.kind == "start")
    assert start.data["score"] == ("sign accuracy" if binary else "-MAE")
    assert start.data["unit"] == prepared.data.task.unit
    train = prepared.data.splits["train"].target.numpy()
    blind = max((train > 0).mean(), (train <= 0).mean()) if binary else -np.abs(train - np.median(train)).mean()
    assert start.data["chance"] == pytest.approx(blind, rel=1e-6)


@pytest.mark.parametrize(("method", "preset"), SETTINGS)
def test_resumed_equals_uninterrupted(method: str, preset: str, tmp_path: Path) -> None:
    config = regression_config(method, preset)
    whole, _ = trained(config)
    first, resumed = (Trainer(config, tiny_data(config)) for _ in range(2))
    assert not first.fit(between=lambda place: place.step < 7)
    torch.save(first.state_dict(), tmp_path / "state")
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    resumed.fit()
    assert bits(resumed.model) == bits(whole.model)


def test_neutral_cggm_is_joint_training_to_the_bit() -> None:
    neutral = regression_config("cggm", "paper", **{"method.magnitude": False, "method.direction": False})
    assert bits(trained(neutral)[0].model) == bits(trained(regression_config())[0].model)


@pytest.mark.parametrize("name", catalog.all_cards("diagnostic"))
def test_diagnostics_look_at_regression_and_change_nothing(name: str) -> None:
    config = regression_config("cggm", "paper")
    looker, seen = catalog.load("diagnostic", name, Diagnostic)(), []
    watched, plain = Trainer(config, tiny_data(config)), Trainer(config, tiny_data(config))
    watched.fit(on_step=lambda step: seen.append(looker.observe(step)))
    plain.fit()
    assert bits(watched.model) == bits(plain.model)
    for observation in seen:
        assert all(torch.isfinite(picture.array).all() for picture in observation.pictures)
        assert all(map(math.isfinite, map(float, observation.readings.values())))


def test_labels_far_from_zero_are_learnt_in_a_few_epochs() -> None:
    config = RunConfig.from_dict(
        {"dataset": "diabetes", "training": {"epochs": 10, "batch_size": 32, "device": "cpu", "threads": 1}}
    )
    trainer, rows = trained(config)
    assert rows.epochs[0][MetricKey("val_mae")] < 70  # already the first pass is no worse than the best constant
    assert trainer.validate("test")[MetricKey("test_mae")] < 0.85 * -trainer.task.chance


def test_a_diverged_prediction_gives_nan_and_no_error() -> None:
    found = regression_metrics(np.array([[np.nan], [1.0]]), np.array([[0.0], [1.0]]))
    assert all(np.isnan(value) for value in found.values())
