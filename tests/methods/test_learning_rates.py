"""MSLR and MSES: their rules with the worked numbers of the methods reference (oracle 6), and at work."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.methods.mses import smoothed_loss
from cggm_core.methods.mslr import read_factors, score_ratio
from cggm_core.names import MetricKey
from tests.support.training import Rows, bits, tiny_config, tiny_data, trained


def test_worked_ratio() -> None:
    assert score_ratio(0.55, [0.40, 0.42, 0.44, 0.46, 0.48]) == pytest.approx(1.25)


def test_negative_scores_are_compared_inversely() -> None:
    assert score_ratio(-0.5, [-1.0, -1.0]) == pytest.approx(2.0)
    assert score_ratio(-2.0, [-1.0]) == pytest.approx(0.5)


@pytest.mark.parametrize(("now", "history"), [(0.0, [0.5]), (0.5, [0.0]), (0.5, [-0.5])])
def test_a_ratio_without_meaning_is_one(now: float, history: list[float]) -> None:
    assert score_ratio(now, history) == 1.0


def test_factors_are_read() -> None:
    assert read_factors("", ("a", "b")) == {"a": 1.0, "b": 1.0}
    assert read_factors(" b = 0.5,", ("a", "b")) == {"a": 1.0, "b": 0.5}
    with pytest.raises(ConfigError, match="base has 'b=fast'"):
        read_factors("b=fast", ("a", "b"))
    with pytest.raises(CapabilityError, match="names the modality 'c'; there are: a, b"):
        read_factors("c=1", ("a", "b"))


def test_an_encoder_of_rate_zero_stands_still() -> None:
    config = tiny_config("mslr", **{"method.base": "m2=0"})
    fresh = Trainer(config, tiny_data(config))
    before = {m: [p.clone() for p in own] for m, own in fresh.parameters.items()}
    fresh.fit()
    for modality, own in fresh.parameters.items():
        moved = any(not torch.equal(p, q) for p, q in zip(own, before[modality], strict=True))
        assert moved == (modality != "m2"), modality


def test_rates_follow_the_validation_scores() -> None:
    _, rows = trained(tiny_config("mslr", epochs=5, **{"method.window": 2}))
    found: dict[int, dict[str, float]] = {}
    for step, row in rows.steps.items():
        found[step // 10] = {m: row[MetricKey("rate_coefficient", m)] for m in ("m1", "m2", "m3")}
    for m in ("m1", "m2", "m3"):
        scores = [rows.epochs[e][MetricKey("val_unimodal_score", m)] for e in range(5)]
        assert [found[e][m] for e in (0, 1, 2)] == [1.0, 1.0, 1.0]
        assert found[3][m] == pytest.approx(score_ratio(scores[2], scores[:2]))
        assert found[4][m] == pytest.approx(score_ratio(scores[3], scores[1:3]))


def test_smoothing() -> None:
    assert smoothed_loss(1.0, 0.5) == pytest.approx(0.8)


def test_a_stopped_encoder_is_back_at_its_best_epoch_and_stays_there() -> None:
    config = tiny_config("mses", epochs=8, lr=0.02, **{"method.patience": 1})
    trainer, rows = Trainer(config, tiny_data(config)), Rows()
    kept: dict[str, list[list[torch.Tensor]]] = {m: [] for m in trainer.parameters}

    def after(_place: Any, _values: Any) -> None:
        for m, own in trainer.parameters.items():
            kept[m].append([p.detach().clone() for p in own])

    trainer.fit(rows, on_epoch=after)  # type: ignore[arg-type]
    rates = {m: [rows.steps[e * 10][MetricKey("rate_coefficient", m)] for e in range(8)] for m in trainer.parameters}
    stopped = [m for m, column in rates.items() if 0.0 in column]
    assert stopped, "nobody was stopped: the test needs a rougher training"
    for m in stopped:
        first = rates[m].index(0.0)
        for one, other in pairwise(kept[m][first - 1 :]):
            assert all(torch.equal(p, q) for p, q in zip(one, other, strict=True))
        best = kept[m][: first - 1]
        assert any(all(map(torch.equal, kept[m][first - 1], weights)) for weights in best)


@pytest.mark.parametrize("name", ["mslr", "mses"])
def test_resumed_after_rates_changed(name: str, tmp_path) -> None:
    knobs = {"mslr": {"method.window": 1}, "mses": {"method.patience": 1}}[name]
    config = tiny_config(name, epochs=6, lr=0.02, **knobs)
    whole = trained(config)[0]
    first = Trainer(config, tiny_data(config))
    first.fit(between=lambda place: place.step < 45)
    torch.save(first.state_dict(), tmp_path / "state")
    second = Trainer(config, tiny_data(config))
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    second.fit()
    assert bits(second.model) == bits(whole.model)
