"""A replay of a run's own settings finds its recorded coefficients again; three numbers by hand; instant."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from cggm_core.analysis import replay
from cggm_core.analysis.replay import Setting
from cggm_core.engine.trainer import Trainer
from cggm_core.names import MetricKey
from cggm_core.store import Event, MemoryRun
from tests.support.training import Rows, tiny_config, tiny_data, trained


def test_paper_by_hand() -> None:
    # Gains of step 0 are the scores themselves: S = 0.6, shares (0.4/0.6, 0.2/0.6); then S = 0: kept; then S = 0.2.
    scores = np.array([[0.2, 0.4], [0.3, 0.3], [0.6, 0.2]])
    found = replay.replay(scores, Setting("paper", 1.5))
    np.testing.assert_allclose(found, 1.5 * np.array([[2 / 3, 1 / 3], [2 / 3, 1 / 3], [-0.5, 1.5]]), rtol=1e-6)


def test_paper_is_1_until_it_is_first_defined() -> None:
    np.testing.assert_allclose(replay.replay(np.zeros((3, 2)), Setting("paper", 1.3)), 1.0, rtol=1e-7)


def test_a_larger_epsilon_keeps_the_last_value_more_often() -> None:
    scores = np.array([[0.5, 0.5], [0.52, 0.49], [0.9, 0.6]])
    found = replay.replay(scores, Setting("paper", 1.0, epsilon=0.05))
    np.testing.assert_allclose(found[:2], 0.5, rtol=1e-7)
    np.testing.assert_allclose(found[2], [1 - 0.38 / 0.49, 1 - 0.11 / 0.49], rtol=1e-6)


def test_released_by_hand() -> None:
    scores = np.array([[0.25, 0.5], [0.25, 0.5]])
    found = replay.replay(scores, Setting("released", 2.0, epsilon=0.25))
    np.testing.assert_allclose(found, [[1.5, 1.0], [2.0, 2.0]], rtol=1e-7)


def test_averaging_by_hand() -> None:
    found = replay.averaged(np.array([[1.0], [3.0], [3.0]]), 1.0)
    np.testing.assert_allclose(found, [[1.0], [2.0], [2.5]])


def test_stable_by_hand() -> None:
    # With a span of 3 the average goes half way: gains (0.2, 0), then (0.3, 0.2); noise beside them.
    found = replay.replay(np.array([[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]), Setting("stable", 1.0, span=3))
    assert found[0].tolist() == [1, 1]
    surprise = np.cumsum([0, 0.4**2 / 2, (0.2**2 + 0.4**2) / 2]) / [1, 2, 3]
    for row, gain, noise in zip(found[1:], ([0.2, 0.0], [0.3, 0.2]), np.sqrt(surprise[1:] / 3), strict=True):
        p = np.array(gain) + noise
        np.testing.assert_allclose(row, 2 * (1 - p / p.sum()), rtol=1e-6)


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("epsilon", ["score", "soft"])
@pytest.mark.parametrize("variant", replay.VARIANTS)
def test_a_replay_of_its_own_settings_is_the_recorded_coefficient(variant: str, epsilon: str, modalities: int) -> None:
    given = {"method.variant": variant, "method.rho": 1.25, "dataset.samples": 700, "epochs": 4,
             "method.epsilon": epsilon}  # fmt: skip
    if variant == "stable":
        given["method.span"] = 7  # shorter than the run, so that both ways to estimate the noise are used
    config = tiny_config("cggm", modalities, **given)
    _, rows = trained(config)
    names = [f"m{i + 1}" for i in range(modalities)]
    scores, applied = (
        np.array([[row[MetricKey(metric, m)] for m in names] for row in rows.steps.values()])
        for metric in ("soft_score" if epsilon == "soft" else "unimodal_score", "balance_coefficient")
    )
    own = replay.own_setting(config.to_dict())
    assert own is not None
    assert (own.variant, own.soft) == (variant, epsilon == "soft")
    assert len(applied) > 60
    assert len(np.unique(applied)) > 20
    found = replay.replay(scores, own)
    np.testing.assert_allclose(found, applied, rtol=1e-6, atol=1e-6)
    assert variant == "stable" or (found == applied).mean() > 0.99
    other = replay.replay(scores, Setting(own.variant, 2.5, own.span, epsilon=own.epsilon))
    np.testing.assert_allclose(other[5:], 2 * applied[5:], rtol=1e-5)


def test_rho_that_was_changed_while_the_run_went_on() -> None:
    events = (Event(0, 3, "set", "", {"rho": 2.0}, 0.0), Event(1, 5, "set", "", {"lam": 1.0}, 0.0),
              Event(2, 6, "pause", "", {"rho": 9.0}, 0.0))  # fmt: skip
    rho = replay.rho_by_step(np.arange(8), 1.0, events)
    assert rho.tolist() == [1, 1, 1, 2, 2, 2, 2, 2]
    scores = np.random.default_rng(0).random((8, 3))
    found = replay.replay(scores, Setting("paper", 1.0), rho)
    np.testing.assert_allclose(found[3:], 2 * replay.replay(scores, Setting("paper", 1.0))[3:], rtol=1e-6)


def test_an_undefined_coefficient_keeps_its_value_though_rho_is_changed() -> None:
    config = tiny_config("cggm", 2, batch_size=4, epochs=1, **{"method.rho": 1.25})  # scores in quarters
    trainer, rows = Trainer(config, tiny_data(config)), Rows()

    def between(place: Any) -> bool:
        trainer.set_knob("rho", 2.5 if place.step % 2 else 1.25)
        return True

    trainer.fit(rows, between)  # type: ignore[arg-type]
    scores, applied = (
        np.array([[row[MetricKey(metric, m)] for m in ("m1", "m2")] for row in rows.steps.values()])
        for metric in ("unimodal_score", "balance_coefficient")
    )
    undefined = np.array([row[MetricKey("coefficient_undefined")] for row in rows.steps.values()], dtype=bool)
    (kept,) = np.nonzero(undefined)
    assert len(kept) > 3
    before = np.concatenate([np.ones((1, 2)), applied[:-1]])
    np.testing.assert_array_equal(applied[kept], before[kept])
    assert len(np.unique(applied)) > 10
    rho = np.where(np.arange(len(applied)) % 2, 2.5, 1.25)
    np.testing.assert_allclose(replay.replay(scores, Setting("paper", 1.25), rho), applied, rtol=1e-6)


def test_what_a_run_logged_is_read_back() -> None:
    run = MemoryRun()
    writer = run.writer()
    keys = [MetricKey(metric, m) for metric in ("unimodal_score", "balance_coefficient") for m in ("b", "a")]
    stream = writer.stream("step", keys)
    for step in range(4):
        writer.log(stream, step, 0, [step, 10 + step, 2.0, 3.0])
    writer.flush()
    found = replay.recorded(run.reader())
    assert found.modalities == ("b", "a")
    assert found.scores.tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]
    assert found.applied.tolist() == [[2, 3]] * 4
    assert found.soft.shape == (4, 0)
    assert found.scores_of(Setting(soft=True)) is found.scores
    empty = replay.recorded(MemoryRun().reader())
    assert empty.modalities == ()
    assert replay.replay(empty.scores, Setting()).shape == (0, 0)


@pytest.mark.parametrize(
    "config",
    [{}, {"method": "joint"}, {"method": "cggm", "method_params": 3},
     {"method": "cggm", "method_params": {"variant": "mine"}},
     *({"method": "cggm", "method_params": {"variant": "stable", **params}} for params in (
         {"rho": "high"}, {"rho": float("nan")}, {"rho": 0.0}, {"rho": 1e9}, {"span": 1}, {"span": [2]}))],
)  # fmt: skip
def test_a_run_of_another_kind_has_no_setting(config: dict) -> None:
    assert replay.own_setting(config) is None


def test_health_counts_steps() -> None:
    found = replay.health(np.array([[1.0, 1.0], [-1.0, 2.0], [6.0, 1.0], [np.inf, 1.0]]))
    assert (found.negative, found.large, found.largest) == (0.25, 0.5, np.inf)
    assert found.mean == pytest.approx(11 / 7)


@pytest.mark.parametrize("setting", [Setting(v, half_life=h) for v in replay.VARIANTS for h in (0.0, 20.0)])
def test_a_hundred_thousand_steps_are_instant(setting: Setting) -> None:
    scores = np.random.default_rng(0).random((100_000, 3))
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        replay.replay(scores, setting)
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.1  # 0.012 s were measured, so this bears a busy machine
