"""Finished runs with scores written by hand, for what reads ablations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from cggm_core.config import RunConfig, Training
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo
from cggm_core.store.protocols import State, Summary

_NUMBERS = count()
MODALITIES = ("a", "b")


def run(score: float = 0.5, *, seed: int = 0, state: State = "finished", unimodal: Mapping[str, float] | None = None,
        epochs: int = 5, **settings: Any) -> RunInfo:  # fmt: skip
    """One run on the synthetic data; a later call is a newer run."""
    config = RunConfig(dataset="synthetic", training=Training(seed=seed, epochs=epochs), **settings).to_dict()
    scores = {MetricKey("test_score"): score, MetricKey("test_loss"): 1.0 - score}
    scores |= {MetricKey("test_unimodal_score", m): value for m, value in (unimodal or {}).items()}
    summary = {key: Summary(value, 9, value, 9, value, 9, 1, 0) for key, value in scores.items()}
    return RunInfo(f"{next(_NUMBERS):026d}", state, "", config, 9, epochs - 1, 10, epochs, 0.0, 8.0, summary=summary)


def cggm(score: float = 0.5, *, seed: int = 0, **knobs: Any) -> RunInfo:
    """A run of CGGM's preset `paper` with some knobs set."""
    return run(score, seed=seed, method="cggm", method_params=knobs)
