"""The continuous score: by hand, between 0 and 1, and moving where the counted score stands still."""

import math

import pytest
import torch

from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.tasks import make_task

CASES = {
    "classification": (3, {}, (8, 3), lambda: torch.randint(0, 3, (8,))),
    "regression": (2, {"spread": 2.0, "scale": [10.0, 1.0], "offset": [1.0, 0.0]}, (8, 2), lambda: torch.randn(8, 2)),
    "segmentation": (3, {}, (4, 3, 6, 5), lambda: torch.randint(0, 3, (4, 6, 5))),
}


def test_probability_of_the_right_class_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]], requires_grad=True)
    found = make_task(TaskSpec("classification", 2)).soft_score(logits, torch.tensor([0, 1]))
    assert float(found) == pytest.approx((0.75 + 0.5) / 2)
    assert found.dtype == torch.float64
    assert not found.requires_grad


def test_soft_dice_by_hand_leaves_the_background_out() -> None:
    """Foreground probability 1/4 everywhere, one true pixel of four: (2 * 1/4 + 1) / (1 + 1 + 1)."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0] = math.log(3.0)
    target = torch.tensor([[[1, 0], [0, 0]]])
    task = make_task(TaskSpec("segmentation", 2))
    assert float(task.soft_score(logits, target)) == pytest.approx(0.5)
    assert float(task.score(logits, target)) == 0.0
    logits[0, 1, 0, 0] += 0.5  # still background by count
    assert float(task.score(logits, target)) == 0.0
    assert float(task.soft_score(logits, target)) > 0.51


@pytest.mark.parametrize("name", CASES)
def test_it_stays_inside_its_bounds_and_rises_towards_the_truth(name: str) -> None:
    outputs, options, shape, draw = CASES[name]
    task = make_task(TaskSpec(name, outputs, options=options))  # type: ignore[arg-type]
    for seed in range(5):
        torch.manual_seed(seed)
        logits, target = 5 * torch.randn(shape), draw()
        found = task.soft_score(logits, target)
        assert 0 < float(found) <= 1
        derivative = task.logit_gradient(logits, target)
        assert derivative is not None
        assert float(task.soft_score(logits - 1e-2 * derivative, target)) > float(found)
