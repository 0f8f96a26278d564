"""MMPareto, MILES, M-SAM and OPM against numbers worked out on paper."""

import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.measures.ratios import strength_ratios
from cggm_core.measures.shapley import shapley_weights
from cggm_core.methods.m_sam import mixed, perturbation, shares
from cggm_core.methods.miles import positive, rates, utilisation
from cggm_core.methods.mmpareto import pareto
from cggm_core.methods.opm import drop_shares, thinned
from cggm_core.names import MetricKey
from cggm_core.protocols.step import Step
from tests.support.training import bits, tiny_config, tiny_data, trained


def test_mmpareto_in_conflict_takes_the_shortest_mixture() -> None:
    made, cosine = pareto([torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])], 1.5)
    assert float(cosine) == pytest.approx(-0.707107, abs=1e-6)
    assert made[0].tolist() == pytest.approx([0.670820, 1.341641], abs=1e-6)


def test_mmpareto_without_conflict_keeps_the_sum() -> None:
    fused, alone = [torch.tensor([1.0, 0.0]), torch.tensor([2.0])], [torch.tensor([1.0, 1.0]), torch.tensor([0.5])]
    made, cosine = pareto(fused, alone, 1.0)
    assert cosine > 0
    assert made[0].tolist() == pytest.approx([2.0, 1.0])
    assert made[1].tolist() == pytest.approx([2.5])


def test_mmpareto_of_zero_gradients_is_zero() -> None:
    made, cosine = pareto([torch.zeros(2)], [torch.zeros(2)], 1.5)
    assert made[0].tolist() == [0.0, 0.0]
    assert float(cosine) == 0.0


def test_mmpareto_with_gain_1_moves_encoders_and_heads_by_the_plain_sum_where_nothing_conflicts() -> None:
    _, rows = trained(tiny_config("mmpareto", **{"method.gain": 1.0}))
    agreeing = 0
    for row in rows.steps.values():
        for key, cosine in row.items():
            if key.metric == "conflict_cosine" and cosine > 0:
                agreeing += 1
                raw = row[MetricKey("gradient_norm_raw", key.modality)]
                assert row[MetricKey("gradient_norm", key.modality)] == pytest.approx(raw, rel=1e-4)
    assert agreeing > 5


@pytest.mark.parametrize(
    ("fused", "alone", "used", "slowed"),
    [
        (0.8, (0.7, 0.5), (0.375, 0.125), [0.5, 1.0]),
        (0.6, (0.7, 0.3), (0.5, -1 / 6), [0.5, 1.0]),
        (0.5, (0.6, 0.55), (-0.1, -0.2), [1.0, 1.0]),
        (0.8, (0.7, 0.6), (0.25, 0.125), [1.0, 1.0]),
    ],
)
def test_miles(fused: float, alone: tuple[float, float], used: tuple[float, float], slowed: list[float]) -> None:
    found = utilisation(fused, alone)
    assert found == pytest.approx(used)
    assert rates(found, 0.2, 0.5) == slowed


def test_miles_of_errors_and_of_a_diverged_run() -> None:
    assert positive(-0.6, -1.0) == pytest.approx(0.4)
    assert positive(-3.0, -1.0) == 1e-3
    assert rates([float("nan"), 0.5], 0.2, 0.5) == [1.0, 1.0]


def test_miles_starts_every_epoch_from_the_runs_rate() -> None:
    config = tiny_config("miles", epochs=4, **{"method.threshold": 0.0})
    trainer, rows = trained(config)
    found = {row[MetricKey("rate_coefficient", m)] for row in rows.steps.values() for m in trainer.model.modalities}
    assert found <= {0.5, 1.0}
    rates_now = {group["name"]: group["lr"] for group in trainer.optimiser.param_groups}
    assert set(rates_now.values()) <= {1e-3, 5e-4}


def test_m_sam_perturbs_and_mixes_as_on_paper() -> None:
    here, scale = [torch.tensor([3.0, 4.0])], torch.tensor([1.0, 4.0])
    theta = torch.tensor([3.0, 1.0])
    (eps,) = perturbation(here, 0.5, torch.tensor(5.0), torch.tensor(1.0))
    assert eps.tolist() == pytest.approx([0.3, 0.4])
    there = scale * (theta + eps)
    assert there.tolist() == pytest.approx([3.3, 5.6])
    (direction,) = mixed(here, [there], torch.tensor(0.5625))
    assert direction.tolist() == pytest.approx([3.16875, 4.9])
    assert (theta - 0.1 * direction).tolist() == pytest.approx([2.683125, 0.51])
    assert perturbation([torch.zeros(2)], 0.5, torch.tensor(0.0), torch.tensor(1.0))[0].tolist() == [0.0, 0.0]


def test_m_sam_shares() -> None:
    phi = torch.tensor([0.0, 0.6, 0.5, 0.8], dtype=torch.float64) @ shapley_weights(2)
    assert phi.tolist() == pytest.approx([0.45, 0.35])
    assert shares(phi).tolist() == pytest.approx([0.5625, 0.4375])
    negative = torch.tensor([0.0, 0.6, 0.1, 0.4], dtype=torch.float64) @ shapley_weights(2)
    assert negative.tolist() == pytest.approx([0.45, -0.05])
    assert shares(negative).tolist() == [1.0, 0.0]
    assert shares(torch.zeros(4)).tolist() == [0.25] * 4


def test_another_pass_at_the_same_weights_is_the_same_pass_and_leaves_the_random_state() -> None:
    config = tiny_config("m_sam", **{"model.dropout": 0.5})
    trainer = Trainer(config, tiny_data(config))

    def look(step: Step) -> None:
        before = torch.get_rng_state()
        assert torch.equal(step.again(), step.task_loss)
        assert torch.equal(torch.get_rng_state(), before)

    trainer.fit(between=lambda place: place.step < 3, on_step=look)


@pytest.mark.parametrize("perturbed", ["everything", "encoder"])
def test_m_sam_with_a_vanishing_perturbation_is_joint_training_to_rounding(perturbed: str) -> None:
    given = {"optimiser": "sgd", "lr": 0.05}
    near, _ = trained(tiny_config("m_sam", **given, **{"method.radius": 1e-7, "method.perturbed": perturbed}))
    far, _ = trained(tiny_config("m_sam", **given, **{"method.radius": 0.5, "method.perturbed": perturbed}))
    joint, _ = trained(tiny_config("joint", **given))
    for name, value in joint.model.state_dict().items():
        torch.testing.assert_close(near.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    assert bits(far.model) != bits(joint.model)
    assert any((far.model.state_dict()[n] - v).abs().max() > 1e-3 for n, v in joint.model.state_dict().items())


def test_opm_drop_share_and_scale() -> None:
    found = drop_shares(torch.tensor([1.5, 1 / 1.5]), 0.5, 0.5)
    assert found.tolist() == pytest.approx([0.615529, 0.0], abs=1e-6)
    whole = thinned(torch.ones(2, 1, 3), torch.tensor([1.0, 0.0]), found.mean())
    assert whole[0].flatten().tolist() == pytest.approx([1.444595] * 3, abs=1e-5)
    assert whole[1].abs().sum() == 0


@pytest.mark.parametrize("count", [2, 3, 5])
def test_opm_never_drops_the_weakest(count: int) -> None:
    for seed in range(20):
        strengths = torch.rand(count, generator=torch.Generator().manual_seed(seed)) + 0.01
        assert drop_shares(strength_ratios(strengths), 1.0, 1.0)[strengths.argmin()] == 0
