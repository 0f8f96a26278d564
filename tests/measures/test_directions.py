"""Oracles 8a, 8f, 8g; the closed form of the head's gradient against autograd; edges of cosines."""

import pytest
import torch
from torch import nn

from cggm_core.measures.directions import cosines, direction_loss, head_gradient, pair_cosines
from cggm_core.protocols.classification import Classification
from cggm_core.protocols.data import TaskSpec


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_oracle_8a_direction_loss_with_and_without_rho() -> None:
    cosine, shares = vector(0.2, -0.5, 0.9), vector(7 / 12, 10 / 12, 7 / 12)
    assert float(direction_loss(1.3 * shares, cosine)) == pytest.approx(0.769167, abs=1e-6)
    assert float(direction_loss(shares, cosine)) == pytest.approx(0.591667, abs=1e-6)


def test_oracle_8f_gradients_of_one_sample_factorise() -> None:
    fused = vector(-0.4, 0.4)[:, None] @ vector(1.0, 0.0)[None]
    alone = vector(-0.3, 0.3)[:, None] @ vector(0.6, 0.8)[None]
    assert float(cosines(fused.flatten(), alone.flatten()[None])) == pytest.approx(0.6)


def test_oracle_8g_cosine_of_weights_and_its_derivative() -> None:
    weight = vector(3.0, 4.0).requires_grad_()
    cosine = cosines(weight, vector(1.0, 0.0)[None])[0]
    (derivative,) = torch.autograd.grad(cosine, weight)
    assert float(cosine.detach()) == pytest.approx(0.6)
    torch.testing.assert_close(derivative, vector(0.128, -0.096))


def test_a_zero_vector_has_no_direction() -> None:
    assert torch.equal(cosines(torch.zeros(3), torch.eye(3)), torch.zeros(3))
    assert torch.equal(pair_cosines(torch.zeros(2, 3)), torch.zeros(1))


def test_the_cosine_of_a_zero_gradient_passes_no_nan_back() -> None:
    fused = torch.zeros(3, requires_grad=True)
    cosines(fused, torch.eye(3)).sum().backward()
    assert torch.isfinite(fused.grad).all()


def test_pairs_come_in_reading_order() -> None:
    found = pair_cosines(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([0.0, -1.0, 0.0]))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_closed_form_equals_double_backward_of_autograd(kind: str) -> None:
    """The value, and what lam L_gm sends on to everything before the head."""
    torch.manual_seed(0)
    if kind == "linear":
        head, task = nn.Linear(7, 4), Classification(TaskSpec("classification", 4))
        inputs, target = torch.randn(9, 7, requires_grad=True), torch.randint(4, (9,))
        logits = head(inputs.tanh())
        loss, closed = task.loss(logits, target), task.logit_gradient(logits, target)
    else:
        head = nn.Conv2d(7, 3, 1)
        inputs = torch.randn(2, 7, 5, 5, requires_grad=True)
        logits = head(inputs.tanh())
        loss, closed = logits.square().mean(), 2 * logits / logits.numel()
    others = torch.randn(2, head.weight.numel())
    seen = []
    for gradient in (
        head_gradient(head, inputs.tanh(), closed, loss),
        torch.autograd.grad(loss, head.weight, create_graph=True)[0],
    ):
        value = direction_loss(torch.tensor([0.7, -1.2]), cosines(gradient.flatten(), others))
        reached = torch.autograd.grad(value, [inputs, head.weight], retain_graph=True)
        seen.append((gradient.detach(), value.detach(), *reached))
    for ours, autograd in zip(*seen, strict=True):
        torch.testing.assert_close(ours, autograd, rtol=1e-5, atol=1e-6)


def test_without_a_closed_form_autograd_is_used() -> None:
    head, inputs = nn.Linear(3, 2), torch.randn(4, 3)
    loss = head(inputs).square().mean()
    gradient = head_gradient(head, inputs, None, loss)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss, head.weight)[0])


def test_single_precision_features_of_half_precision_training() -> None:
    head, inputs = nn.Linear(3, 2), torch.randn(4, 3).bfloat16()
    gradient = head_gradient(head, inputs, torch.randn(4, 2).bfloat16(), torch.zeros(()))
    assert gradient.dtype == torch.float32
