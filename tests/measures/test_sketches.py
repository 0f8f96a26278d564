"""Sketches keep cosines within the stated bound, whatever the vectors look like."""

from __future__ import annotations

import pytest
import torch

from cggm_core.measures.sketches import SIZE, sketch


def test_a_sketch_of_few_numbers_holds_each_with_a_sign() -> None:
    vector = torch.tensor([1.0, 2.0, 4.0])
    assert sorted(sketch(vector, size=8).abs().tolist()) == [0, 0, 0, 0, 0, 1, 2, 4]
    assert sketch(vector, size=1).shape == (1,)


def test_same_seed_same_bits_other_seed_other_bits_and_no_global_draw() -> None:
    vector = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    assert torch.equal(sketch(vector, seed=3), sketch(vector, seed=3))
    assert not torch.equal(sketch(vector, seed=3), sketch(vector, seed=4))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sketch_is_linear() -> None:
    a, b = torch.randn(2, 3000, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(sketch(a - 2 * b), sketch(a) - 2 * sketch(b), atol=1e-4, rtol=1e-5)


def _pairs(kind: str, length: int, cosine: float, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of exactly that cosine."""
    generator = torch.Generator().manual_seed(length + count)
    a, b = torch.randn(2, count, length, generator=generator)
    if kind == "heavy":
        a, b = a**3, b**3
    if kind == "sparse":
        few = torch.rand(count, length, generator=generator) < 20 / length
        a, b = a * few, b * few
        a[:, 0] += 1e-6
        b[:, 1] += 1e-6
    a = a / a.norm(dim=1, keepdim=True)
    b = b - (a * b).sum(1, keepdim=True) * a
    b = b / b.norm(dim=1, keepdim=True)
    return a, cosine * a + (1 - cosine**2) ** 0.5 * b


@pytest.mark.parametrize("kind", ["dense", "heavy", "sparse"])
@pytest.mark.parametrize("length", [1500, 10_000, 78_000])
@pytest.mark.parametrize("cosine", [0.0, 0.6, 1.0])
def test_inner_products_stay_within_the_stated_error(kind: str, length: int, cosine: float) -> None:
    count = 24
    a, b = _pairs(kind, length, cosine, count)
    found = torch.stack([
        torch.dot(sketch(u, seed=seed), sketch(v, seed=seed)) for seed in range(8) for u, v in zip(a, b, strict=True)
    ])  # fmt: skip
    error = found - cosine
    bound = ((1 + cosine**2) / SIZE) ** 0.5
    assert error.square().mean().sqrt() < 1.15 * bound  # 192 draws know a spread to some 10 %
    assert abs(error.mean()) < 4 * bound / count**0.5
