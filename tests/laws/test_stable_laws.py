"""The coefficient of CGGM's `stable` preset: from 0 to rho M/(M-1), mean rho, whatever the scores and the data."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cggm_core import catalog
from cggm_core.config import RunConfig
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.methods.cggm import CARD, Cggm
from cggm_core.names import MetricKey
from tests.support.training import Rows

KNOBS = CARD.resolve({}, "stable")
SMALL: dict[str, dict[str, Any]] = {
    "synthetic": {"samples": 300}, "phantom": {"samples": 60, "size": 16}, "digits_views": {}, "diabetes": {},
}  # fmt: skip


def coefficients(scores: np.ndarray, **knobs: Any) -> np.ndarray:
    """B of every step for scores `[steps, modalities]`, out of the method's own code."""
    method = Cggm(**{**KNOBS, **knobs})
    names = tuple(f"m{i}" for i in range(scores.shape[1]))
    context: Any = SimpleNamespace(
        model=SimpleNamespace(modalities=names), device=torch.device("cpu"), measure_dtype=torch.float64
    )
    method.setup(context)
    rho = float(method.knobs["rho"])
    return np.array([(rho * method._shares(torch.tensor(row), "stable")[1]).numpy() for row in scores])


histories = st.integers(2, 6).flatmap(
    lambda m: st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=m, max_size=m), min_size=1, max_size=60
    )
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(histories, st.floats(0.01, 50), st.integers(2, 200))
def test_never_negative_never_large_and_the_mean_is_rho(history: list[list[float]], rho: float, span: int) -> None:
    found = coefficients(np.array(history), rho=rho, span=span)
    count = found.shape[1]
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= rho * count / (count - 1) * (1 + 1e-9)
    np.testing.assert_allclose(found.mean(1), rho, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(histories, st.randoms(use_true_random=False), st.floats(0.125, 8), st.floats(-100, 100))
def test_names_units_and_level_of_the_score_do_not_matter(
    history: list[list[float]], random: Any, unit: float, level: float
) -> None:
    scores = np.array(history) / 1e3
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    found = coefficients(scores)
    np.testing.assert_allclose(coefficients(scores[:, order]), found[:, order], rtol=1e-7, atol=1e-9)
    if np.ptp(scores, axis=0).max() > 1e-2:  # else rounding of the level is what is seen
        np.testing.assert_allclose(coefficients(unit * scores), found, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(coefficients(scores + level), found, rtol=1e-4, atol=1e-4)


def test_neutral_at_the_first_step_and_where_nobody_learns() -> None:
    np.testing.assert_array_equal(coefficients(np.array([[0.1, 0.9, 0.4]])), [[1.0, 1.0, 1.0]])
    random = np.random.default_rng(0)
    still = coefficients(0.5 + 0.05 * random.standard_normal((2000, 3)))
    assert abs(still.mean(0) - 1).max() < 0.25  # chance alone stays near 1, and never far from it
    assert still.max() < 1.5


def test_who_has_learnt_more_moves_less_by_hand() -> None:
    """Gains of .3 and .1 without noise: shares 3/4 and 1/4, so B = 2 (1/4, 3/4)."""
    learnt = np.vstack([np.zeros((1, 2)), np.tile([0.3, 0.1], (4000, 1))])
    np.testing.assert_allclose(coefficients(learnt)[-1], [0.5, 1.5], atol=1e-6)


@pytest.mark.parametrize("name", catalog.all_cards("dataset"))
def test_on_every_embedded_data_set_with_what_is_recorded(name: str) -> None:
    config = RunConfig.from_dict({
        "dataset": name, "dataset_params": SMALL.get(name, {}), "method": "cggm", "preset": "stable",
        "method_params": {"rho": 0.8}, "model_params": {"width": 8},
        "training": {"epochs": 1, "batch_size": 32, "threads": 1, "device": "cpu"},
    })  # fmt: skip
    trainer, rows = Trainer(config, build_data(config)), Rows()
    trainer.fit(rows, between=lambda place: place.step < 12)  # type: ignore[arg-type]
    names = trainer.model.modalities
    found, soft, gain = (
        np.array([[row[MetricKey(metric, m)] for m in names] for row in rows.steps.values()])
        for metric in ("balance_coefficient", "soft_score", "score_gain")
    )
    assert found.min() >= 0
    assert found.max() <= 0.8 * len(names) / (len(names) - 1) + 1e-6
    np.testing.assert_allclose(found.mean(1), 0.8, rtol=1e-6)
    assert np.ptp(found) > 1e-3, "it does something"
    assert ((soft > 0) & (soft <= 1)).all()
    np.testing.assert_allclose(found, coefficients(soft, rho=0.8), rtol=1e-6)
    average = soft[0]
    for row, recorded in zip(soft, gain, strict=True):
        average = average + 2 / 21 * (row - average)
        np.testing.assert_allclose(recorded, average - soft[0], atol=1e-12)
