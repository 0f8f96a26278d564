"""Scores of a batch: the only definition, always higher-is-better, computed on the device."""

from __future__ import annotations

from torch import Tensor

from cggm_core.measures.gradients import measure_dtype


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """Share of samples whose largest logit is the target's.

    Args:
        logits: `[batch, classes]`.
        target: `[batch]` int64.

    Returns:
        Scalar in [0, 1] in the measuring dtype, a count over the batch size, so exact to rounding.
    """
    right = (logits.argmax(dim=1) == target).sum()
    return right.to(measure_dtype(logits.device)) / len(target)
