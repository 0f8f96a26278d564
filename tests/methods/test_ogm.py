"""OGM and OGM-GE: which score they take, what they do to gradients, and when."""

import pytest
import torch
from torch import nn

from cggm_core.engine.trainer import Trainer
from cggm_core.measures.ratios import damping, strength_ratios
from cggm_core.methods._strengths import strengths
from cggm_core.methods.ogm_ge import shaking
from cggm_core.names import MetricKey
from cggm_core.protocols.step import Step
from tests.support.training import SumFusion, bits, tiny_config, tiny_data, trained

NAMES = ("m1", "m2", "m3")


class Linear(SumFusion):
    """Fusion by a plain sum: a linear head on it is a sum of blocks, as OGM's models have it."""

    def fuse(self, features):
        return torch.stack([f.mean(dim=1) for f in features.values()]).sum(dim=0)


def test_of_a_linear_head_the_modality_alone_is_its_block_and_the_bias() -> None:
    config = tiny_config("ogm")
    data = tiny_data(config)
    model = Linear(data.modalities, 5, data.task.outputs)

    def look(step: Step) -> None:
        found = strengths(step)
        for place, m in enumerate(step.modalities):
            block = nn.functional.linear(step.features[m][:, 0], model.head.weight, model.head.bias)
            p = block.softmax(1).gather(1, step.batch.target[:, None]).mean()
            assert float(found[place]) == pytest.approx(float(p.detach()), rel=1e-5)

    Trainer(config, data, model=model).fit(between=lambda place: place.step < 1, on_step=look)


@pytest.mark.parametrize("name", ["ogm", "ogm_ge"])
def test_the_recorded_factor_is_the_formulas(name: str) -> None:
    _, rows = trained(tiny_config(name, **{"method.alpha": 0.8}))
    acted = 0
    for row in rows.steps.values():
        ratios = torch.tensor([row[MetricKey("strength_ratio", m)] for m in NAMES])
        expected = damping(ratios, 0.8).tolist()
        assert [row[MetricKey("balance_coefficient", m)] for m in NAMES] == pytest.approx(expected, rel=1e-5)
        acted += min(expected) < 1
    assert acted


def test_without_noise_the_gradient_is_the_raw_one_times_the_factor() -> None:
    for row in trained(tiny_config("ogm"))[1].steps.values():
        for m in NAMES:
            raw, factor = row[MetricKey("gradient_norm_raw", m)], row[MetricKey("balance_coefficient", m)]
            assert row[MetricKey("gradient_norm", m)] == pytest.approx(raw * factor, rel=1e-4)


def test_ge_without_noise_is_ogm() -> None:
    plain = trained(tiny_config("ogm"))[0].model
    assert bits(trained(tiny_config("ogm_ge", **{"method.noise": 0.0}))[0].model) == bits(plain)


def test_noise_has_the_gradients_spread() -> None:
    torch.manual_seed(0)
    gradient = 3 + 0.5 * torch.randn(200, 200)
    added = shaking(gradient, 2.0)
    assert float(added.std()) == pytest.approx(1.0, rel=0.02)
    assert float(added.mean()) == pytest.approx(0.0, abs=0.02)
    assert torch.isfinite(shaking(torch.ones(1), 1.0)).all()


def test_the_spread_is_the_unbiased_one_of_the_released_code() -> None:
    torch.manual_seed(0)
    added = shaking(torch.tensor([1.0, 3.0]), 1.0)  # variance ((1-2)^2 + (3-2)^2) / (2-1) = 2; biased it were 1
    torch.manual_seed(0)
    assert (added / torch.randn(2)).tolist() == pytest.approx([2**0.5] * 2, rel=1e-5)


def test_outside_its_epochs_it_does_nothing() -> None:
    late = trained(tiny_config("ogm", **{"method.start": 5, "method.alpha": 0.8}))[0].model
    assert bits(late) == bits(trained(tiny_config("joint"))[0].model)
    _, rows = trained(tiny_config("ogm", **{"method.end": 0}))
    assert [MetricKey("strength_ratio", "m1") in row for row in rows.steps.values()] == [True] * 10 + [False] * 10


def test_three_reciprocal_ratios_are_not_all_below_one() -> None:
    assert float(strength_ratios(torch.tensor([0.2, 0.3, 0.4])).max()) > 1
