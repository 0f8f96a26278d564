"""Configurations that an ablation takes for the same train to the same bits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from cggm_core.analysis.ablation import known
from cggm_core.config import RunConfig
from cggm_core.engine.trainer import Trainer
from tests.support.training import tiny_config, tiny_data


def trained(config: RunConfig) -> list[torch.Tensor]:
    trainer = Trainer(config, tiny_data(config))
    trainer.fit()
    return [parameter.detach() for parameter in trainer.model.parameters()]


@pytest.mark.parametrize("preset", ["paper", "released", "stable"])
def test_equal_words_are_equal_bits_and_others_are_not(preset: str) -> None:
    base = RunConfig.from_dict({**tiny_config("cggm").to_dict(), "preset": preset, "method_params": {}})
    settings: list[dict[str, Any]] = [
        {"method.direction": True, "method.lam": 0.0}, {"method.direction": False, "method.lam": 0.15},
        {"method.direction": True, "method.lam": 0.15}, {"method.magnitude": False, "method.direction": False},
    ]  # fmt: skip
    cells = [*(base.with_settings(one) for one in settings), tiny_config("joint")]
    words = [known(config).word for config in cells]
    assert words[0] == words[1]
    assert words[3] == words[4]
    parameters = [trained(config) for config in cells]
    for one, two in itertools.combinations(range(len(cells)), 2):
        same = all(torch.equal(a, b) for a, b in zip(parameters[one], parameters[two], strict=True))
        assert same == (words[one] == words[two]), (settings, one, two)
