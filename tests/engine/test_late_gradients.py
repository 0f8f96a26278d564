"""Weights that get their first gradient later than others, as a method of stages has them."""

import pytest
import torch
from torch import nn

from cggm_core.config import Training
from cggm_core.engine.optimisers import SHARED, build_optimiser
from tests.support.training import tiny_config, trained


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_steps_as_if_each_weight_were_alone(momentum: float) -> None:
    settings = Training(optimiser="sgd", momentum=momentum, weight_decay=0.1)
    first, second = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    optimiser = build_optimiser({SHARED: [first, second]}, settings, 0.1)
    alone = nn.Parameter(torch.tensor([1.0, -2.0]))
    plain = torch.optim.SGD([alone], lr=0.1, momentum=momentum, weight_decay=0.1)
    first.grad = torch.ones(2)
    optimiser.step()
    for _ in range(3):
        for parameter in (first, second, alone):
            parameter.grad = torch.tensor([0.5, -1.0])
        optimiser.step()
        plain.step()
    torch.testing.assert_close(second, alone)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("method", ["reconboost", "lnln", "mla"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_methods_of_stages_train_with_every_optimiser(method: str, optimiser: str) -> None:
    trainer, rows = trained(tiny_config(method, optimiser=optimiser, gradient_clip=0.5, precision="bf16"))
    assert len(rows.steps) == trainer.steps
