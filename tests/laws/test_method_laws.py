"""What every balancing method obeys; parametrised over the catalog, so a new file is under test at once."""

import inspect
import math
from typing import Any

import pytest
import torch

from cggm_core import catalog
from cggm_core.cards import MethodCard
from cggm_core.config import RunConfig
from cggm_core.engine.devices import Precision
from cggm_core.engine.measuring import Measuring
from cggm_core.engine.optimisers import build_optimiser
from cggm_core.engine.readers import UnimodalReaders
from cggm_core.engine.train_step import Parts, train_step
from cggm_core.engine.trainer import Trainer
from cggm_core.names import METRICS, MetricKey
from cggm_core.protocols.data import DataBundle, take
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import encoder_parameters
from cggm_core.protocols.step import CAPABILITIES, Step
from cggm_core.protocols.tasks import make_task
from tests.support.training import Rows, SumFusion, bits, reordered, tiny_config, tiny_data, tiny_masks, trained

METHODS: dict[str, MethodCard] = catalog.all_cards("method")
SETTINGS = [(name, preset.name) for name, card in METHODS.items() for preset in card.presets or ()] + [
    (name, "") for name, card in METHODS.items() if not card.presets
]


def config_of(name: str, preset: str = "", modalities: int = 3, **given: Any) -> RunConfig:
    made = tiny_config(name, modalities, **given)
    knobs = METHODS[name].resolve({}, preset)
    return made.with_settings({f"method.{k}": v for k, v in knobs.items()} | given)


@pytest.mark.parametrize("name", METHODS)
def test_card_read_from_the_file_equals_the_imported_one(name: str) -> None:
    assert METHODS[name] == catalog.module("method", name).CARD


@pytest.mark.parametrize("name", METHODS)
def test_card_speaks_the_house_words(name: str) -> None:
    card = METHODS[name]
    assert set(card.requires) <= set(CAPABILITIES)
    assert set(card.reports) <= set(METRICS)
    card.resolve(card.neutral)
    assert all(param.text for param in card.params)


@pytest.mark.parametrize("name", METHODS)
def test_constructor_takes_exactly_the_cards_knobs(name: str) -> None:
    kind = catalog.load("method", name, BalanceMethod)
    assert kind(**METHODS[name].resolve({})).knobs == METHODS[name].resolve({})
    assert kind.__mro__[1] is BalanceMethod, "no method subclasses a method"
    assert inspect.getdoc(kind)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_trains_with_finite_numbers(name: str, preset: str, modalities: int) -> None:
    trainer, rows = trained(config_of(name, preset, modalities))
    assert len(rows.steps) == trainer.steps
    for row in rows.steps.values():
        assert all(map(math.isfinite, row.values())), {str(k): v for k, v in row.items() if not math.isfinite(v)}
    for step_metric in (m for m in METRICS.values() if m.cadence == "step" and m.scope in ("fused", "modality")):
        if step_metric.name in ("coefficient_undefined", "direction_weight", "weight_cosine"):
            continue  # of CGGM's own
        wanted = [""] if step_metric.scope == "fused" else trainer.model.modalities
        assert all(MetricKey(step_metric.name, m) in rows.steps[0] for m in wanted), step_metric.name


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_reports_stay_inside_their_declared_bounds(name: str, preset: str) -> None:
    for row in trained(config_of(name, preset))[1].steps.values():
        for key, value in row.items():
            low, high = METRICS[key.metric].bounds
            assert low is None or value >= low, str(key)
            assert high is None or value <= high, str(key)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_same_seed_same_bits(name: str, preset: str) -> None:
    (first, rows), (second, again) = (trained(config_of(name, preset)) for _ in range(2))
    assert bits(first.model) == bits(second.model)
    timed = {MetricKey("step_seconds"), MetricKey("samples_per_second")}
    for step, row in rows.steps.items():
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in again.steps[step].items() if k not in timed
        }


@pytest.mark.parametrize("name", METHODS)
def test_neutral_setting_is_joint_training_to_the_bit(name: str) -> None:
    neutral = config_of(name, **{f"method.{k}": v for k, v in METHODS[name].neutral.items()})
    assert bits(trained(neutral)[0].model) == bits(trained(tiny_config("joint"))[0].model)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
@pytest.mark.parametrize("stop", [1, 7, 14])
def test_resumed_equals_uninterrupted(name: str, preset: str, stop: int, tmp_path) -> None:
    config = config_of(name, preset)
    whole, rows = trained(config)
    first = Trainer(config, tiny_data(config))
    assert not first.fit(between=lambda place: place.step < stop)
    torch.save(first.state_dict(), tmp_path / "state")
    resumed, rest = Trainer(config, tiny_data(config)), Rows()
    torch.manual_seed(99)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.fit(rest)  # type: ignore[arg-type]
    assert bits(resumed.model) == bits(whole.model)
    assert bits(resumed.readers.modules) == bits(whole.readers.modules)
    assert sorted(rest.steps) == list(range(stop, whole.steps))
    timed = {MetricKey("step_seconds"), MetricKey("samples_per_second")}
    for step, row in rest.steps.items():
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in rows.steps[step].items() if k not in timed
        }


@pytest.mark.parametrize("name", METHODS)
def test_leaves_no_hooks_behind(name: str) -> None:
    for module in trained(config_of(name))[0].model.modules():
        assert not {**module._forward_hooks, **module._forward_pre_hooks, **module._backward_hooks}


def small_world(name: str, preset: str, data: DataBundle, granted: frozenset[str]) -> list[dict[MetricKey, float]]:
    """Some steps of a method on the order-free model, with a guard on what it may read."""
    config = config_of(name, preset)
    model = SumFusion(data.modalities, 5, data.task.outputs)
    task, device, settings = make_task(data.task), torch.device("cpu"), config.training
    method = catalog.load("method", name, BalanceMethod)(**config.method_params)
    method.setup(MethodContext(data, model, task, device, torch.float64, 1, 8))
    parameters, rows = encoder_parameters(model), []
    readers = UnimodalReaders(model, task, settings, device)
    optimiser = build_optimiser(model.parameters(), settings, 0.05)
    guarded = granted != frozenset(CAPABILITIES)
    measuring = None if guarded else Measuring(parameters, device, readers=True)
    parts = Parts(method, optimiser, Precision("float32", device), list(model.parameters()), 0.0, readers, measuring)
    for index, samples in enumerate(torch.arange(128).split(16)):
        step = Step(index, 0, take(data.splits["train"], samples, device), model, task, parameters, granted)
        train_step(step, parts)
        if measuring:
            rows.append(dict(zip(measuring.columns, measuring.vector.tolist(), strict=True)))
    return rows


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_relabelling_modalities_permutes_the_coefficients(name: str, preset: str) -> None:
    data, everything = tiny_data(tiny_config()), frozenset(CAPABILITIES)
    names = tuple(data.modalities)
    rows = small_world(name, preset, data, everything)
    turned = small_world(name, preset, reordered(data, (*names[1:], names[0])), everything)
    for before, after in zip(rows, turned, strict=True):
        for m in names:
            for metric in ("balance_coefficient", "unimodal_score", "gradient_norm", "score_gain"):
                key = MetricKey(metric, m)
                assert after[key] == pytest.approx(before[key], rel=1e-3, abs=1e-5), str(key)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_reads_no_capability_it_did_not_declare(name: str, preset: str) -> None:
    small_world(name, preset, tiny_data(tiny_config()), frozenset(METHODS[name].requires))


def masks_of(name: str, preset: str = "", **given: Any) -> RunConfig:
    knobs = METHODS[name].resolve({}, preset)
    return tiny_masks(name).with_settings({f"method.{k}": v for k, v in knobs.items()} | given)


MASKED = [(name, preset) for name, preset in SETTINGS if "segmentation" in METHODS[name].tasks]


@pytest.mark.parametrize(("name", "preset"), MASKED)
def test_trains_on_masks_with_finite_numbers_and_the_same_bits_again(name: str, preset: str) -> None:
    (first, rows), (second, _) = (trained(masks_of(name, preset)) for _ in range(2))
    assert bits(first.model) == bits(second.model)
    assert len(rows.steps) == first.steps
    for row in rows.steps.values():
        for key, value in row.items():
            low, high = METRICS[key.metric].bounds
            assert math.isfinite(value), str(key)
            assert low is None or value >= low, str(key)
            assert high is None or value <= high, str(key)


@pytest.mark.parametrize("name", [name for name, card in METHODS.items() if "segmentation" in card.tasks])
def test_neutral_setting_on_masks_is_joint_training_to_the_bit(name: str) -> None:
    neutral = masks_of(name, **{f"method.{k}": v for k, v in METHODS[name].neutral.items()})
    assert bits(trained(neutral)[0].model) == bits(trained(tiny_masks())[0].model)


@pytest.mark.parametrize(("name", "preset"), MASKED)
def test_resumed_on_masks_equals_uninterrupted(name: str, preset: str, tmp_path) -> None:
    config = masks_of(name, preset)
    first = Trainer(config, tiny_data(config))
    assert not first.fit(between=lambda place: place.step < 4)
    torch.save(first.state_dict(), tmp_path / "state")
    resumed = Trainer(config, tiny_data(config))
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.fit()
    assert bits(resumed.model) == bits(trained(config)[0].model)
