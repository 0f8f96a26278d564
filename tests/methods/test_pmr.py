"""PMR: worked numbers of the methods reference (oracle 3), missing classes, regression and maps."""

import math

import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.methods.pmr import Pmr, mixed_prototypes, prototype_logs, slower_weights
from cggm_core.names import MetricKey
from cggm_core.protocols.data import take
from tests.support.training import tiny_config, tiny_data, tiny_masks, trained

PROTOTYPES = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
SEEN = torch.ones(2)


def test_worked_losses() -> None:
    logs = prototype_logs(torch.tensor([[1.0, 0.0], [1.5, 0.0]]), PROTOTYPES, SEEN)
    p = logs.exp()
    assert p[0].tolist() == pytest.approx([0.880797, 0.119203], abs=1e-6)
    assert p[1].tolist() == pytest.approx([0.731059, 0.268941], abs=1e-6)
    weights, losses = slower_weights(p[:, 0]), -logs[:, 0]
    assert weights.tolist() == pytest.approx([0.0, 0.204824], abs=1e-6)
    assert losses.tolist() == pytest.approx([0.126928, 0.313262], abs=1e-6)
    total = 0.5 + float((weights * losses).sum())
    assert total == pytest.approx(0.564164, abs=1e-6)
    entropy = -float((p[0] * logs[0]).sum())
    assert entropy == pytest.approx(0.365334, abs=1e-6)
    assert total - 0.01 * float(weights.sum()) * entropy == pytest.approx(0.563415, abs=1e-6)


def test_worked_momentum() -> None:
    assert mixed_prototypes(torch.tensor([1.0, 2.0]), torch.zeros(2), 0.2).tolist() == pytest.approx([0.8, 1.6])


def test_equal_modalities_add_nothing_and_weak_ones_no_more_than_the_whole() -> None:
    assert slower_weights(torch.tensor([0.4, 0.4, 0.4])).tolist() == [0.0, 0.0, 0.0]
    assert slower_weights(torch.tensor([0.9, 0.1, 0.0])).tolist() == [0.0, 1.0, 1.0]


def test_a_class_without_prototype_takes_no_probability_and_a_distance_of_zero_has_a_gradient() -> None:
    point = torch.zeros(1, 2, requires_grad=True)
    logs = prototype_logs(point, PROTOTYPES, torch.tensor([1.0, 0.0]))
    assert logs[0].exp().tolist() == [1.0, 0.0]
    (gradient,) = torch.autograd.grad(prototype_logs(point, PROTOTYPES, SEEN)[0, 1], point)
    assert torch.isfinite(gradient).all()


def test_prototypes_are_class_means_and_a_missing_class_keeps_its_old_one() -> None:
    config = tiny_config("pmr", **{"method.share": 1.0, "method.memory": 0.0})
    trainer = Trainer(config, tiny_data(config))
    method = trainer.method
    assert isinstance(method, Pmr)
    method.on_epoch_start(0)
    split = trainer.data.splits["train"]
    with torch.no_grad():
        encoded = trainer.model.encode(take(split, torch.arange(len(split)), trainer.device).inputs)
    for m, features in encoded.items():
        for k in range(3):
            expected = features[split.target == k].mean((0, 1))
            torch.testing.assert_close(method.state_dict()["prototypes"][m][k], expected, rtol=1e-4, atol=1e-5)
    before = {m: p.clone() for m, p in method.state_dict()["prototypes"].items()}
    width = next(iter(before.values())).shape[1]
    counts, ones = torch.tensor([2.0, 0.0, 1.0]), torch.ones(3, width)
    method._renew(dict.fromkeys(before, ones * counts[:, None]), counts)
    for m, prototypes in method.state_dict()["prototypes"].items():
        assert torch.equal(prototypes[1], before[m][1])
        assert torch.equal(prototypes[0], torch.ones(width))


@pytest.mark.parametrize("config", [tiny_masks("pmr"), tiny_config("pmr", **{"dataset.task": "regression"})])
def test_maps_and_numbers_have_prototypes_too(config) -> None:
    trainer, rows = trained(config)
    for row in rows.steps.values():
        weights = [row[MetricKey("loss_weight", m)] for m in trainer.model.modalities]
        assert min(weights) == 0.0
        assert all(math.isfinite(row[MetricKey("prototype_loss", m)]) for m in trainer.model.modalities)
    assert any(row[MetricKey("loss")] > row[MetricKey("task_loss")] for row in rows.steps.values())
