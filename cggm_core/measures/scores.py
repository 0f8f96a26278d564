"""Scores of a batch: the only definition, always higher-is-better, computed on the device."""

from __future__ import annotations

import torch
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


def true_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Softmax probability of the target's class, for every sample (and pixel), with its gradient.

    Args:
        logits: `[batch, classes, ...]`.
        target: `[batch, ...]` int64.

    Returns:
        `[batch, ...]` float32 in (0, 1].
    """
    return logits.float().softmax(dim=1).gather(1, target[:, None])[:, 0]


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


def region_counts(predicted: Tensor, target: Tensor, members: Tensor) -> Tensor:
    """Pixels of each region in both maps of labels, and in the one plus in the other.

    Args:
        predicted: labels below `classes`, int64.
        target: the same, of the same shape.
        members: `[regions, classes]` bool, the labels that make each region.

    Returns:
        `[regions, 2]` int64; counts of parts of a data set add up to those of the whole.
    """
    # Look-ups and not a histogram: on a GPU the size of a histogram is a value the host would wait for.
    there, said = members[:, target].flatten(1), members[:, predicted].flatten(1)
    return torch.stack([(there & said).sum(1), there.sum(1) + said.sum(1)], 1)


def dice(counts: Tensor) -> Tensor:
    """2 |A and B| / (|A| + |B|), by region.

    Args:
        counts: as `region_counts` gives them, `[regions, 2]`.

    Returns:
        `[regions]` in [0, 1] in the measuring dtype; 1 where a region is in neither map, as in the BraTS challenge.
    """
    both, sizes = counts.to(measure_dtype(counts.device)).unbind(1)
    return torch.where(sizes > 0, 2 * both / sizes.clamp_min(1), torch.ones_like(both))
