"""Agreement of a prediction with the truth, each task by hand: in (0, 1], by sample, differentiable."""

import math

import pytest
import torch

from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.tasks import make_task


def test_classification_is_the_true_class_probability() -> None:
    task = make_task(TaskSpec("classification", 2))
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]], requires_grad=True)
    found = task.agreement(logits, torch.tensor([0, 0]))
    assert found.tolist() == pytest.approx([0.75, 0.25])
    found.sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.abs().sum() > 0)


def test_regression_falls_to_one_over_e_at_the_labels_spread() -> None:
    options = {"offset": [100.0], "scale": [10.0], "spread": 20.0}
    task = make_task(TaskSpec("regression", 1, options=options))
    logits = torch.tensor([[0.0], [2.0], [4.0]])  # 100, 120, 140
    found = task.agreement(logits, torch.full((3, 1), 100.0))
    assert found.tolist() == pytest.approx([1.0, math.exp(-1), math.exp(-2)])


def test_segmentation_is_the_mean_over_pixels() -> None:
    task = make_task(TaskSpec("segmentation", 2))
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0, 0, 0] = math.log(3)
    assert task.agreement(logits, torch.zeros(1, 1, 2, dtype=torch.int64)).tolist() == pytest.approx([0.625])
