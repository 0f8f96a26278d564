"""Balanced learning against greed: worked speed of the methods reference (oracle 5), windows, and held gates."""

import pytest
import torch
from torch import nn

from cggm_core.engine.trainer import Trainer
from cggm_core.methods.greedy import Greedy, effective, learning_speeds
from cggm_core.names import MetricKey
from cggm_core.protocols.step import Step
from tests.support.training import tiny_config, tiny_data, trained

NAMES = ("m1", "m2", "m3")


def test_worked_speed() -> None:
    speeds = learning_speeds(torch.tensor([0.05 / 1, 0.02 / 1]), torch.tensor([0.04 / 4, 0.08 / 4]))
    assert speeds.tolist() == pytest.approx([0.698970, 0.0], abs=1e-6)


def test_effective_update_is_of_the_group_not_of_its_tensors() -> None:
    first, second, third = (nn.Parameter(torch.tensor(v)) for v in ([3.0, 0.0], [4.0], [9.0]))
    first.grad, second.grad = torch.tensor([1.0, 2.0]), torch.tensor([2.0])
    assert float(effective([first, second, third])) == pytest.approx(9 / 25)


def test_a_window_lasts_its_steps_and_holds_the_fastest() -> None:
    _, rows = trained(tiny_config("greedy", epochs=3, **{"method.epsilon": 0.0, "method.steps": 4}))
    flags = torch.tensor([[row[MetricKey("gate_frozen", m)] for m in NAMES] for row in rows.steps.values()])
    speeds = torch.tensor([[row[MetricKey("learning_speed", m)] for m in NAMES] for row in rows.steps.values()])
    assert not flags[:11].any(), "no window before epoch 1; the first opens at the end of its first step"
    assert flags.sum(1).tolist() == [0.0] * 11 + ([1.0] * 4 + [0.0]) * 3 + [1.0] * 4
    for begin in (11, 16, 21):
        assert int(flags[begin].argmax()) == int(speeds[begin - 1].argmax())
        assert torch.equal(speeds[begin - 1], speeds[begin + 3]), "sums stand still in a window"


def test_held_gates_carry_no_gradient_to_their_maker() -> None:
    config = tiny_config("greedy", **{"method.epsilon": 0.0, "method.start": 0})
    trainer = Trainer(config, tiny_data(config))
    method = trainer.method
    assert isinstance(method, Greedy)

    def look(step: Step) -> None:
        flags = [bool(step.readings[MetricKey("gate_frozen", m)] > 0) for m in NAMES]
        if step.index == 2:
            assert sum(flags) == 1
            excite = method.modules()["gates"]["excite"]  # type: ignore[index]
            for held, part in zip(flags, excite, strict=True):
                (gradient,) = torch.autograd.grad(step.task_loss, part.weight, retain_graph=True)
                assert bool(gradient.abs().sum() > 0) != held

    trainer.fit(between=lambda place: place.step < 3, on_step=look)


def test_a_step_whose_gradients_overflowed_leaves_the_sums() -> None:
    config = tiny_config("greedy")
    trainer = Trainer(config, tiny_data(config))
    plain, sums = trainer.method.on_gradients, []

    def overflowed(step: Step) -> None:
        first = trainer.parameters[NAMES[0]][0]
        kept = first.grad
        if step.index == 2:
            first.grad = torch.full_like(first, torch.inf)
        plain(step)
        first.grad = kept
        sums.append(trainer.method.state_dict()["state"]["own"].clone())

    trainer.method.on_gradients = overflowed  # type: ignore[method-assign]
    trainer.fit(between=lambda place: place.step < 4)
    assert torch.equal(sums[2], sums[1])
    assert (sums[3] > sums[2]).all()
    assert sums[3].isfinite().all()


def test_evaluation_uses_the_gates() -> None:
    trainer = trained(tiny_config("greedy"))[0]
    split = trainer.data.splits["val"]
    with torch.no_grad():
        features = trainer.model.encode({m: x[torch.arange(8)] for m, x in split.inputs.items()})
        assert not torch.equal(trainer.predict(features), trainer.model.head(trainer.model.fuse(features)))
