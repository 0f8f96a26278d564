"""AGM: worked numbers of the methods reference (oracles 2, 2b, 2c), and the gradient's way through the shares."""

import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.measures.shapley import shapley_weights, subsets
from cggm_core.methods.agm import coefficients, strength
from cggm_core.names import MetricKey
from cggm_core.protocols.step import Step
from tests.methods.test_ogm import Linear
from tests.support.training import tiny_config, tiny_data, trained


def test_two_steps_of_two_modalities() -> None:
    f = torch.tensor([[2.0, 0.0], [0.0, 0.0], [3.0, 0.0]])  # audio, visual, both
    weights = shapley_weights(2)[1:].float()
    shares = weights.T @ f
    assert shares.tolist() == [[2.5, 0.0], [0.5, 0.0]]
    losses = torch.nn.functional.cross_entropy(shares, torch.tensor([0, 0]), reduction="none")
    assert losses.tolist() == pytest.approx([0.078890, 0.474077], abs=1e-6)
    now = strength(losses)
    assert now.tolist() == pytest.approx([1.484662, 0.673554], abs=1e-5)
    first = coefficients(now, strength(torch.zeros(2)), 1.0, 10.0)
    assert first.tolist() == pytest.approx([0.615905, 1.386034], abs=1e-5)
    assert (weights @ first).tolist() == pytest.approx([-0.385064, 0.385064, 1.000969], abs=1e-5)
    second = coefficients(strength(torch.tensor([0.3, 0.3])), now, 1.0, 10.0)
    assert second.tolist() == pytest.approx([1.623626, 0.721483], abs=1e-5)


def test_strengths_of_three() -> None:
    assert strength(torch.tensor([0.4, 0.7, 1.0])).tolist() == pytest.approx([1.568312, 1.0, 0.637628], abs=1e-5)


def test_cap_holds_the_rise_only() -> None:
    assert coefficients(torch.tensor([0.0, 9.0]), torch.tensor([9.0, 0.0]), 1.0, 2.0).log().tolist() == [2.0, -9.0]


@pytest.mark.parametrize("m", [2, 3, 4])
def test_equal_coefficients_leave_only_the_whole_prediction(m: int) -> None:
    weights = shapley_weights(m)[1:].sum(1)
    assert weights.tolist() == pytest.approx([0.0] * (len(subsets(m)) - 2) + [1.0], abs=1e-12)


def test_with_a_linear_fusion_each_encoder_gets_its_own_coefficient() -> None:
    """Oracle 2c: additive fusion, features of zero where absent: encoder m's gradient is c_m times the plain one."""
    config = tiny_config("agm")
    data = tiny_data(config)
    trainer = Trainer(config, data, model=Linear(data.modalities, 5, data.task.outputs))

    def look(step: Step) -> None:
        if step.index != 3:
            return
        plain = step.model.head(step.model.fuse(step.features))
        for m in step.modalities:
            own = step.parameters[m]
            routed = torch.autograd.grad(step.task_loss, own, retain_graph=True)
            straight = torch.autograd.grad(step.task.loss(plain, step.batch.target), own, retain_graph=True)
            c = float(step.readings[MetricKey("contribution_coefficient", m)])
            assert abs(c - 1) > 1e-3, "a coefficient of 1 proves nothing"
            for r, s in zip(routed, straight, strict=True):
                torch.testing.assert_close(r, c * s, rtol=1e-4, atol=1e-7)

    trainer.fit(between=lambda place: place.step < 4, on_step=look)


def test_the_prediction_itself_is_the_plain_one() -> None:
    def look(step: Step) -> None:
        plain = step.model.head(step.model.fuse(step.features))
        assert torch.equal(plain, step.logits)

    config = tiny_config("agm")
    Trainer(config, tiny_data(config)).fit(on_step=look)


def test_outside_its_epochs_the_past_still_grows() -> None:
    config = tiny_config("agm", **{"method.start": 1})
    _, rows = trained(config)
    has = [MetricKey("contribution_coefficient", "m1") in row for row in rows.steps.values()]
    assert has == [False] * 10 + [True] * 10
    assert all(MetricKey("strength_ratio", "m1") in row for row in rows.steps.values())
