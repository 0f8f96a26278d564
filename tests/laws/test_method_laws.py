"""What every balancing method obeys; parametrised over the catalog, so a new file is under test at once."""

import inspect
import json
import math
import re
from typing import Any

import pytest
import torch

from cggm_core import catalog
from cggm_core.cards import MethodCard
from cggm_core.config import RunConfig
from cggm_core.engine.trainer import Trainer
from cggm_core.errors import CapabilityError
from cggm_core.names import EVERY_RUN, METRICS, MetricKey
from cggm_core.protocols.data import DataBundle
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import CAPABILITIES
from tests.support.training import Rows, SumFusion, bits, reordered, tiny_config, tiny_data, tiny_masks, trained

METHODS: dict[str, MethodCard] = catalog.all_cards("method")
SETTINGS = [(name, preset.name) for name, card in METHODS.items() for preset in card.presets or ()] + [
    (name, "") for name, card in METHODS.items() if not card.presets
]


def config_of(name: str, preset: str = "", modalities: int = 3, **given: Any) -> RunConfig:
    made = tiny_config(name, modalities, **given)
    knobs = METHODS[name].resolve({}, preset)
    return made.with_settings({f"method.{k}": v for k, v in knobs.items()} | given)


_TRAINED: dict[str, tuple[Trainer, Rows]] = {}


def once(config: RunConfig) -> tuple[Trainer, Rows]:
    """`trained`, kept: for laws that only look at what came of it."""
    key = json.dumps(config.to_dict(), sort_keys=True)
    if key not in _TRAINED:
        _TRAINED[key] = trained(config)
    return _TRAINED[key]


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


CLAIMED = [
    (name, preset, count)
    for name, preset in SETTINGS
    for count in (2, 3, 4)
    if METHODS[name].modalities[0] <= count <= (METHODS[name].modalities[1] or count)
]


@pytest.mark.parametrize(("name", "preset", "modalities"), CLAIMED)
def test_trains_with_finite_numbers(name: str, preset: str, modalities: int) -> None:
    trainer, rows = once(config_of(name, preset, modalities))
    assert len(rows.steps) == trainer.steps
    for row in rows.steps.values():
        assert all(map(math.isfinite, row.values())), {str(k): v for k, v in row.items() if not math.isfinite(v)}
    for step_metric in (METRICS[m] for m in EVERY_RUN if METRICS[m].scope in ("fused", "modality")):
        wanted = [""] if step_metric.scope == "fused" else trainer.model.modalities
        assert all(MetricKey(step_metric.name, m) in rows.steps[0] for m in wanted), step_metric.name


@pytest.mark.parametrize("name", METHODS)
def test_reports_what_the_card_says_and_nothing_else(name: str) -> None:
    presets = [preset for method, preset in SETTINGS if method == name]
    kept = [once(config_of(name, preset))[1].steps.values() for preset in presets]
    found = {key.metric for rows in kept for row in rows for key in row}
    assert found - EVERY_RUN == set(METHODS[name].reports) - EVERY_RUN


@pytest.mark.parametrize("name", METHODS)
def test_declares_what_it_overrides(name: str) -> None:
    kind, requires = catalog.load("method", name, BalanceMethod), METHODS[name].requires
    assert (kind.predict is not BalanceMethod.predict) == ("own_prediction" in requires)
    assert (kind.rate_factors is not BalanceMethod.rate_factors) == ("learning_rates" in requires)
    assert (kind.modules is not BalanceMethod.modules) == ("own_modules" in requires)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_reports_stay_inside_their_declared_bounds(name: str, preset: str) -> None:
    for row in once(config_of(name, preset))[1].steps.values():
        for key, value in row.items():
            low, high = METRICS[key.metric].bounds
            assert low is None or value >= low, str(key)
            assert high is None or value <= high, str(key)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_same_seed_same_bits(name: str, preset: str) -> None:
    (first, rows), (second, again) = once(config_of(name, preset)), trained(config_of(name, preset))
    assert bits(first.model) == bits(second.model)
    timed = {MetricKey("step_seconds"), MetricKey("samples_per_second")}
    for step, row in rows.steps.items():
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in again.steps[step].items() if k not in timed
        }


NAMED = list(dict.fromkeys((name, count) for name, _, count in CLAIMED))


@pytest.mark.parametrize(("name", "modalities"), NAMED)
def test_neutral_setting_is_joint_training_to_the_bit(name: str, modalities: int) -> None:
    neutral = config_of(name, "", modalities, **{f"method.{k}": v for k, v in METHODS[name].neutral.items()})
    assert bits(once(neutral)[0].model) == bits(once(tiny_config("joint", modalities))[0].model)


CLIP = 0.05  # acts at every step, so that the order of its sum shows


@pytest.mark.parametrize("name", METHODS)
def test_neutral_setting_under_clipping_is_joint_training_to_the_bit(name: str) -> None:
    neutral = {f"method.{k}": v for k, v in METHODS[name].neutral.items()}
    found = once(config_of(name, gradient_clip=CLIP, epochs=1, **neutral))[0]
    assert bits(found.model) == bits(once(tiny_config("joint", gradient_clip=CLIP, epochs=1))[0].model)


def another(name: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Every live knob at a value it has not."""
    live = {param.name: param for param in METHODS[name].params if param.live}
    return {
        k: not knobs[k] if isinstance(knobs[k], bool)
        else next(c for c in live[k].choices if c != knobs[k]) if live[k].choices else knobs[k] / 2 + 0.1
        for k in live
    }  # fmt: skip


# Settings under which a live knob matters at once.
LIVELY: dict[str, dict[str, Any]] = {"mslr": {"method.window": 1}, "miles": {"method.threshold": 0.0}}


@pytest.mark.parametrize("name", [name for name, card in METHODS.items() if any(p.live for p in card.params)])
@pytest.mark.parametrize("turned", [20, 22])
def test_resumed_equals_uninterrupted_after_a_live_knob_changed(name: str, turned: int, tmp_path) -> None:
    config = config_of(name, epochs=3, **LIVELY.get(name, {}))
    knobs = another(name, dict(config.method_params))

    def turning(until: int) -> tuple[Trainer, Rows]:
        trainer, rows = Trainer(config, tiny_data(config)), Rows()

        def between(place: Any) -> bool:
            if place.step == turned:
                for knob, value in knobs.items():
                    trainer.set_knob(knob, value)
            return place.step < until

        trainer.fit(rows, between)  # type: ignore[arg-type]
        return trainer, rows

    whole, rows = turning(99)
    torch.save(turning(turned + 2 * (turned % 10 > 0))[0].state_dict(), tmp_path / "state")
    resumed, rest = Trainer(config, tiny_data(config)), Rows()
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.fit(rest)  # type: ignore[arg-type]
    assert bits(resumed.model) == bits(whole.model)
    timed = {MetricKey("step_seconds"), MetricKey("samples_per_second")}
    for step, row in rest.steps.items():
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in rows.steps[step].items() if k not in timed
        }


# At the first step, inside an epoch and inside the next; with other numbers of modalities inside an epoch.
STOPPED = [(*claim, stop) for claim in CLAIMED for stop in ((1, 7, 14) if claim[2] == 3 else (7,))]


@pytest.mark.parametrize(("name", "preset", "modalities", "stop"), STOPPED)
def test_resumed_equals_uninterrupted(name: str, preset: str, modalities: int, stop: int, tmp_path) -> None:
    config = config_of(name, preset, modalities)
    whole, rows = once(config)
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
    for module in once(config_of(name))[0].model.modules():
        assert not {**module._forward_hooks, **module._forward_pre_hooks, **module._backward_hooks}


def small_world(name: str, preset: str, data: DataBundle, granted: frozenset[str]) -> Rows:
    """Two epochs of a method (one unless of three modalities) on the order-free model, and a guard on what it reads."""
    # What is recorded reads scores and head gradients too: beside a guard only the method may read.
    guarded = granted != frozenset(CAPABILITIES)
    model = SumFusion(data.modalities, 5, data.task.outputs)
    # A knob of this name singles a modality out: by its name, or the order would decide.
    single = {"method.modality": min(data.modalities)} if "modality" in METHODS[name].resolve({}) else {}
    config = config_of(name, preset, **single, epochs=2 if len(data.modalities) == 3 else 1)
    trainer = Trainer(config, data, measure=not guarded, model=model, granted=granted)
    rows = Rows()
    trainer.fit(rows)  # type: ignore[arg-type]
    return rows


COMPARED = {"balance_coefficient", "unimodal_score", "gradient_norm", "score_gain"}


@pytest.mark.parametrize(("name", "preset", "modalities"), CLAIMED)
def test_relabelling_modalities_permutes_the_coefficients(name: str, preset: str, modalities: int) -> None:
    data, everything = tiny_data(tiny_config("joint", modalities)), frozenset(CAPABILITIES)
    names = tuple(data.modalities)
    rows = small_world(name, preset, data, everything)
    turned = small_world(name, preset, reordered(data, (*names[1:], names[0])), everything)
    assert rows.steps.keys() == turned.steps.keys()
    for step, before in rows.steps.items():
        after = turned.steps[step]
        own = [key for key in before if key.modality in names and key.metric in COMPARED | set(METHODS[name].reports)]
        assert len(own) >= len(COMPARED) * len(names)
        for key in own:
            assert after[key] == pytest.approx(before[key], rel=1e-3, abs=1e-5), str(key)


@pytest.mark.parametrize(("name", "preset"), SETTINGS)
def test_reads_no_capability_it_did_not_declare(name: str, preset: str) -> None:
    small_world(name, preset, tiny_data(tiny_config()), frozenset(METHODS[name].requires))


UNREAD = [name for name, card in METHODS.items() if not {"unimodal_scores", "head_gradients"} & set(card.requires)]


@pytest.mark.parametrize("name", UNREAD)
def test_what_declares_no_classifiers_trains_without_them_to_the_same_bits(name: str) -> None:
    alone, _ = trained(config_of(name), readers=False)
    assert bits(alone.model) == bits(once(config_of(name))[0].model)


OTHER_MODELS = [name for name, card in catalog.all_cards("model").items()
                if "classification" in card.tasks and "classification" not in card.default_for]  # fmt: skip


@pytest.mark.parametrize("name", [name for name, card in METHODS.items() if "classification" in card.tasks])
@pytest.mark.parametrize("model", OTHER_MODELS)
def test_trains_on_every_model_with_dropout_and_sequences(name: str, model: str) -> None:
    knobs = {"width": 8, "layers": 1, "heads": 2, "dropout": 0.2}
    known = {param.name for param in catalog.card("model", model).params}
    base = config_of(name).to_dict() | {"model": model, "model_params": {k: knobs[k] for k in knobs if k in known}}
    trainer, rows = trained(RunConfig.from_dict(base).with_settings({"dataset.length": 4, "epochs": 1}))
    assert len(rows.steps) == trainer.steps
    for row in rows.steps.values():
        assert all(map(math.isfinite, row.values())), {str(k): v for k, v in row.items() if not math.isfinite(v)}


@pytest.mark.parametrize("name", METHODS)
def test_trains_in_bfloat16(name: str) -> None:
    made = config_of(name) if "classification" in METHODS[name].tasks else masks_of(name)
    _, rows = trained(made.with_settings({"precision": "bf16", "epochs": 1}))
    for row in rows.steps.values():
        assert all(map(math.isfinite, row.values())), {str(k): v for k, v in row.items() if not math.isfinite(v)}


NUMBERED = [(name, preset) for name, preset in SETTINGS if "regression" in METHODS[name].tasks]


@pytest.mark.parametrize(("name", "preset"), NUMBERED)
def test_trains_on_numbers_with_finite_values(name: str, preset: str) -> None:
    trainer, rows = trained(config_of(name, preset, **{"dataset.task": "regression"}))
    assert trainer.task.spec.name == "regression"
    for row in rows.steps.values():
        assert all(map(math.isfinite, row.values())), {str(k): v for k, v in row.items() if not math.isfinite(v)}


def numbers_of(name: str, preset: str = "", **given: Any) -> RunConfig:
    return config_of(name, preset, **{"dataset.task": "regression", "epochs": 1, **given})


@pytest.mark.parametrize("name", list(dict.fromkeys(name for name, _ in NUMBERED)))
def test_neutral_setting_on_numbers_is_joint_training_to_the_bit(name: str) -> None:
    neutral = numbers_of(name, **{f"method.{k}": v for k, v in METHODS[name].neutral.items()})
    assert bits(once(neutral)[0].model) == bits(once(numbers_of("joint"))[0].model)


@pytest.mark.parametrize(("name", "preset"), NUMBERED)
def test_resumed_on_numbers_equals_uninterrupted(name: str, preset: str, tmp_path) -> None:
    config = numbers_of(name, preset)
    first = Trainer(config, tiny_data(config))
    assert not first.fit(between=lambda place: place.step < 6)
    torch.save(first.state_dict(), tmp_path / "state")
    resumed = Trainer(config, tiny_data(config))
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.fit()
    assert bits(resumed.model) == bits(once(config)[0].model)


UNCLAIMED = [(name, task) for name in METHODS for task in ("classification", "regression", "segmentation")
             if task not in METHODS[name].tasks]  # fmt: skip


@pytest.mark.parametrize(("name", "task"), UNCLAIMED)
def test_refuses_a_task_it_is_not_for_and_says_why(name: str, task: str) -> None:
    config = tiny_masks(name) if task == "segmentation" else config_of(name, **{"dataset.task": task})
    with pytest.raises(CapabilityError, match=re.escape(METHODS[name].limits)):
        Trainer(config, tiny_data(config))
    assert METHODS[name].limits


def masks_of(name: str, preset: str = "", **given: Any) -> RunConfig:
    knobs = METHODS[name].resolve({}, preset)
    small = {"dataset.samples": 40}  # two steps an epoch
    return tiny_masks(name).with_settings({f"method.{k}": v for k, v in knobs.items()} | small | given)


MASKED = [(name, preset) for name, preset in SETTINGS if "segmentation" in METHODS[name].tasks]


@pytest.mark.parametrize(("name", "preset"), MASKED)
def test_trains_on_masks_with_finite_numbers_and_the_same_bits_again(name: str, preset: str) -> None:
    (first, rows), (second, _) = once(masks_of(name, preset)), trained(masks_of(name, preset))
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
    assert bits(once(neutral)[0].model) == bits(once(masks_of("joint"))[0].model)


@pytest.mark.parametrize(("name", "preset"), MASKED)
def test_resumed_on_masks_equals_uninterrupted(name: str, preset: str, tmp_path) -> None:
    config = masks_of(name, preset)
    first = Trainer(config, tiny_data(config))
    assert not first.fit(between=lambda place: place.step < 3)
    torch.save(first.state_dict(), tmp_path / "state")
    resumed = Trainer(config, tiny_data(config))
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.fit()
    assert bits(resumed.model) == bits(once(config)[0].model)
