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


def negative_mae(prediction: Tensor, target: Tensor) -> Tensor:
    """-mean |prediction - target| over samples and outputs, in the label's unit.

    Args:
        prediction: `[batch, outputs]`, in the label's unit.
        target: `[batch, outputs]`.

    Returns:
        Scalar, at most 0, in the measuring dtype.
    """
    wide = measure_dtype(prediction.device)
    return -(prediction.to(wide) - target.to(wide)).abs().mean()


def sign_accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """Share of numbers on the right side of zero: positive against not positive, labels of zero included.

    That is what the released code of CGGM takes as the score of regression (methods reference G6).

    Args:
        prediction: `[batch, outputs]`, in the label's unit.
        target: `[batch, outputs]`.

    Returns:
        Scalar in [0, 1] in the measuring dtype, a count over a count.
    """
    right = ((prediction > 0) == (target > 0)).sum()
    return right.to(measure_dtype(prediction.device)) / target.numel()
