"""Norms and scales of gradients: the only definition of `gradient_norm` and `update_ratio`.

Every function takes lists of tensors of one modality and stays on their device: no value is read by the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


def measure_dtype(device: torch.device) -> torch.dtype:
    """Number format of everything measured: float64 where the device has it, else float32 (Apple GPUs).

    Scores are differences of counts over a batch; in float32 their cancellation in Eq. 7 would show.
    """
    return torch.float32 if device.type == "mps" else torch.float64


_HALF = (torch.float16, torch.bfloat16)


def l2_norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm over all elements of all tensors, a scalar; 0 for an empty list.

    In float32 for half-precision tensors too, whose own format ends at 65504 or has three digits; float64 stays.
    With the loss a mean over the batch, the norm does not grow with the batch.
    """
    if not tensors:
        return torch.zeros(())
    if half := [t for t in tensors if t.dtype in _HALF]:
        norms = torch._foreach_norm(half, 2, dtype=torch.float32)
        if whole := [t for t in tensors if t.dtype not in _HALF]:
            norms = (*norms, get_total_norm(whole))
        found: Tensor = torch.linalg.vector_norm(torch.stack(list(norms)))
        return found
    return get_total_norm(tensors)


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients there are, in the parameters' order."""
    return [p.grad for p in parameters if p.grad is not None]


def scale_(tensors: Sequence[Tensor], coefficient: Tensor) -> None:
    """Multiply every tensor by a scalar tensor in place, without reading it on the host.

    A coefficient of exactly 1 leaves every bit as it was.
    """
    if tensors:
        # The list form is one call for an encoder instead of one per weight; PyTorch's optimisers rest on it.
        torch._foreach_mul_(list(tensors), coefficient.to(tensors[0].dtype))


def scale_change_(parameters: Sequence[nn.Parameter], before: Sequence[Tensor], coefficient: Tensor) -> None:
    """Theta <- theta + (B - 1) (theta - theta_before), in place: multiply a change by B.

    A coefficient of exactly 1 leaves every value as it was.

    Args:
        parameters: as they are after the change.
        before: copies from before it; left unchanged.
        coefficient: B, a scalar tensor, not read on the host.
    """
    if parameters:
        with torch.no_grad():
            change = torch._foreach_sub(list(parameters), list(before))
            torch._foreach_mul_(change, (coefficient - 1).to(change[0].dtype))
            torch._foreach_add_(list(parameters), change)


def keep_copy(parameters: Sequence[Tensor], into: list[Tensor]) -> None:
    """Copy parameters into buffers of the same shapes, in place."""
    torch._foreach_copy_(into, [p.detach() for p in parameters])


def update_ratio(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
    """||after - before|| / ||before||: what the optimiser really changed, a float32 scalar.

    Args:
        parameters: as they are after the update.
        before: copies from before it; left unchanged.

    Returns:
        At least 0; 0 where nothing moved; NaN where the weights were all zero and stayed so.
    """
    change = torch._foreach_sub([p.detach() for p in parameters], list(before))
    return l2_norm(change) / l2_norm(before)
