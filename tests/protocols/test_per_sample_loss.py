"""The loss of each sample: its mean is the task's loss, and so is its gradient."""

import math

import pytest
import torch
from torch import Tensor

from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.tasks import make_task

GENERATOR = torch.Generator().manual_seed(3)
CASES: list[tuple[TaskSpec, tuple[int, ...], Tensor]] = [
    (TaskSpec("classification", 3), (5, 3), torch.tensor([0, 1, 2, 1, 1])),
    (
        TaskSpec("regression", 2, options={"offset": [1.0, 50.0], "scale": [1.0, 10.0]}),
        (5, 2),
        torch.randn(5, 2, generator=GENERATOR) * 20,
    ),
    (
        TaskSpec("segmentation", 3, options={"class_weights": (0.2, 0.5, 1.0)}),
        (4, 3, 6, 5),
        torch.randint(0, 3, (4, 6, 5), generator=GENERATOR),
    ),
]


@pytest.mark.parametrize(("spec", "shape", "target"), CASES, ids=lambda v: v.name if isinstance(v, TaskSpec) else "")
def test_mean_is_the_loss_in_value_and_gradient(spec: TaskSpec, shape: tuple[int, ...], target: Tensor) -> None:
    task, logits = make_task(spec), torch.randn(shape, generator=GENERATOR, requires_grad=True)
    parts = task.per_sample_loss(logits, target)
    assert parts.shape == (shape[0],)
    assert parts.std() > 0
    whole = task.loss(logits, target)
    torch.testing.assert_close(parts.mean(), whole)
    (expected,), (found,) = (torch.autograd.grad(value, logits) for value in (whole, parts.mean()))
    torch.testing.assert_close(found, expected)


def test_classification_by_hand() -> None:
    task = make_task(TaskSpec("classification", 2))
    found = task.per_sample_loss(torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([math.log(4 / 3), math.log(2)])
