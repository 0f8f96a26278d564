"""Directions of last-layer gradients: the only definition of `direction_cosine`, `pair_cosine` and L_gm.

Reference: Guo et al., NeurIPS 2024, Eq. 9-12 and appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def head_gradient(head: nn.Linear | nn.Conv2d, fused: Tensor, logit_gradient: Tensor | None, loss: Tensor) -> Tensor:
    """Gradient of the loss by the last layer's weight, differentiable by everything before it.

    For a linear head the chain rule has a closed form, G = (dL/dz)^T h, so no second backward through
    autograd is needed; a 1x1 convolution is the same summed over pixels.

    Args:
        head: last layer.
        fused: its input, `[batch, width]`, `[batch, tokens, width]` or `[batch, width, h, w]`.
        logit_gradient: dL/dlogits, shape of the logits, or None where the task has no closed form.
        loss: the scalar loss, used (by double backward) only without a closed form.

    Returns:
        Shape of `head.weight`, float32.

    Reference: Guo et al., Eq. 10; closed form: our derivation, checked against autograd in the tests.
    """
    if logit_gradient is None:
        return torch.autograd.grad(loss, head.weight, create_graph=True)[0]
    z, h = logit_gradient.float(), fused.float()
    if isinstance(head, nn.Linear):
        return z.flatten(0, -2).T @ h.flatten(0, -2)  # (C, n) x (n, d) -> (C, d)
    if head.kernel_size != (1, 1) or head.groups != 1:
        return torch.autograd.grad(loss, head.weight, create_graph=True)[0]
    return torch.einsum("bohw,bchw->oc", z, h)[:, :, None, None]


def cosines(first: Tensor, others: Tensor) -> Tensor:
    """Cosine of one vector with each of several.

    Args:
        first: `[k]`, may carry a graph.
        others: `[m, k]`.

    Returns:
        `[m]`, each in [-1, 1]; 0 where either vector is zero, for it has no direction.
    """
    dots = others @ first
    norms = torch.linalg.vector_norm(others, dim=1) * torch.linalg.vector_norm(first)
    return torch.where(norms > 0, dots / norms.clamp_min(torch.finfo(norms.dtype).tiny), torch.zeros_like(dots)).clamp(
        -1, 1
    )


def pair_cosines(vectors: Tensor) -> Tensor:
    """Cosines between all pairs, in the order (0,1), (0,2), ..., (m-2, m-1).

    Args:
        vectors: `[m, k]`.

    Returns:
        `[m (m-1) / 2]`, each in [-1, 1]; 0 where a vector is zero.
    """
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    unit = vectors / norms.clamp_min(torch.finfo(vectors.dtype).tiny)
    rows, columns = torch.triu_indices(len(vectors), len(vectors), 1, device=vectors.device)
    found: Tensor = (unit @ unit.T)[rows, columns].clamp(-1, 1)
    return found


def direction_loss(coefficients: Tensor, cosine: Tensor) -> Tensor:
    """L_gm = (1/M) sum_m |B_m| - B_m cos_m.

    Args:
        coefficients: B, `[m]`, no graph.
        cosine: `[m]` in [-1, 1], may carry a graph.

    Returns:
        Scalar in the coefficients' dtype, at least 0 and at most 2 mean |B|. A negative B pushes the fused
        gradient away from that modality.

    Reference: Guo et al., Eq. 12.
    """
    return (coefficients.abs() - coefficients * cosine.to(coefficients.dtype)).mean()
