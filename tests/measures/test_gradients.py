"""Norms and ratios against numbers on paper."""

import pytest
import torch
from torch import nn

from cggm_core.measures.gradients import gradients_of, keep_copy, l2_norm, scale_, scale_change_, update_ratio
from cggm_core.measures.scores import accuracy


def test_norm_over_several_tensors() -> None:
    assert float(l2_norm([torch.tensor([3.0]), torch.tensor([[4.0, 0.0]])])) == pytest.approx(5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_norm_in_half_precision_is_taken_in_float32(kind: torch.dtype) -> None:
    many = [torch.full((100, 100), 1000.0, dtype=kind), torch.tensor([3.0])]
    found = l2_norm(many)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(1e5, rel=1e-4)
    assert l2_norm([torch.ones(1, dtype=torch.float64)]).dtype == torch.float64


def test_norm_of_nothing_is_zero() -> None:
    assert float(l2_norm([])) == 0


def test_scaling_by_one_keeps_every_bit() -> None:
    before = torch.tensor([1e-45, -0.0, float("inf"), float("nan"), 3.3])
    after = before.clone()
    scale_([after], torch.ones((), dtype=torch.float64))
    assert before.numpy().tobytes() == after.numpy().tobytes()


def test_scaling_by_a_coefficient() -> None:
    tensors = [torch.tensor([2.0]), torch.tensor([[1.0, -4.0]])]
    scale_(tensors, torch.tensor(-0.5, dtype=torch.float64))
    assert tensors[0].tolist() == [-1.0]
    assert tensors[1].tolist() == [[-0.5, 2.0]]
    scale_([], torch.tensor(2.0))


def test_update_ratio_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    before = [torch.empty(2)]
    keep_copy([weight], before)
    weight.data.add_(torch.tensor([0.6, 0.8]))
    assert float(update_ratio([weight], before)) == pytest.approx(1 / 5)
    assert before[0].tolist() == [3.0, 4.0]


def test_parameters_without_a_gradient_are_left_out() -> None:
    with_one, without = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    with_one.grad = torch.ones(1)
    assert gradients_of([with_one, without]) == [with_one.grad]


def test_accuracy_is_an_exact_count() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 4.0]])
    found = accuracy(logits, torch.tensor([0, 1, 1]))
    assert found.dtype == torch.float64
    assert float(found) == 2 / 3


def test_a_change_is_scaled_by_hand() -> None:
    one, other = nn.Parameter(torch.tensor([3.0, -1.0])), nn.Parameter(torch.tensor([[5.0]]))
    scale_change_([one, other], [torch.tensor([1.0, -1.0]), torch.tensor([[1.0]])], torch.tensor(0.25).double())
    assert one.tolist() == [1.5, -1.0]
    assert other.tolist() == [[2.0]]


def test_a_change_scaled_by_one_or_by_zero() -> None:
    after = torch.tensor([1e-45, 0.0, 3.3, -1e30])
    before, kept, undone = torch.tensor([1.0, 2.0, 3.0, 1e30]), nn.Parameter(after.clone()), nn.Parameter(after.clone())
    scale_change_([kept], [before], torch.ones((), dtype=torch.float64))
    assert kept.detach().numpy().tobytes() == after.numpy().tobytes()
    scale_change_([undone], [before], torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(undone.detach(), before)
    scale_change_([], [], torch.ones(()))
