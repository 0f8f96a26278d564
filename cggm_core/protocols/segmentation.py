"""Segmentation: soft Dice plus weighted cross-entropy, Dice of regions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cggm_core.errors import DataError
from cggm_core.measures.gradients import measure_dtype
from cggm_core.measures.scores import dice, region_counts, true_probability
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.task import Tally, Task

SMOOTHING = 1.0
BRATS_REGIONS: Mapping[str, tuple[int, ...]] = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
BRATS_WEIGHTS = (0.2, 0.3, 0.25, 0.25)
BRATS_CLASSES = ("background", "core, not enhancing", "oedema", "enhancing")


class Segmentation(Task):
    """One class a pixel; logits `[batch, classes, h, w]`, target `[batch, h, w]` int64, class 0 the background.

    Loss = 1 - mean_c D_c + CE, with D_c = (2 I_c + s) / (P_c + T_c + s) over the foreground classes c, where
    I_c, P_c, T_c are the sums of p_c y_c, p_c and y_c over all pixels of the whole batch, p the softmax, y the
    target as 0 or 1, and s = 1 pixel. Pooled over the batch and not image by image: a slice without any
    foreground has no Dice of its own. CE = sum w_y (-log p_y) / sum w_y over all pixels, w the class weights.

    Score: Dice of the predicted labels, pooled over the batch, mean over the regions. A region is a set of
    labels; without any being named, each foreground class is one. A region that is neither predicted nor there
    counts as 1, as in the BraTS challenge.

    `TaskSpec.options` may hold `class_weights` (one number above 0 a class; left out, all alike) and `regions`
    (name -> labels).

    Reference: Guo et al., NeurIPS 2024, appendix B: L_Dice + 1 CE, weights 0.2, 0.3, 0.25, 0.25.

    Departs from the released code: Dice by class and then the mean, not pooled over classes; smoothing 1, not
    0.01; no factor 1/2 (methods reference S3).

    Raises:
        DataError: for options that do not fit the number of classes.
    """

    score_name = value_name = "Dice"

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        named = spec.options.get("regions") or {}
        self.regions: dict[str, tuple[int, ...]] = {name: tuple(labels) for name, labels in named.items()}
        weights = spec.options.get("class_weights") or (1.0,) * spec.outputs
        if len(weights) != spec.outputs or not all(weight > 0 for weight in weights):
            raise DataError(f"class_weights is {weights!r:.80}, expected {spec.outputs} numbers above 0, one a class")
        if any(not labels or not set(labels) <= set(range(spec.outputs)) for labels in self.regions.values()):
            raise DataError(f"regions is {named!r:.80}, expected sets of labels from 0 to {spec.outputs - 1}")
        self._weights = torch.tensor(weights, dtype=torch.float32)
        scored = list(self.regions.values()) or [(label,) for label in range(1, spec.outputs)]
        # The last row is the plain foreground, a metric and no part of the score.
        sets = [*scored, tuple(range(1, spec.outputs))]
        self._members = torch.tensor([[label in labels for label in range(spec.outputs)] for labels in sets])

    @property
    def chance(self) -> float:
        """0: what the best constant prediction, background everywhere, scores where there is any foreground."""
        return 0.0

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Soft Dice loss plus weighted cross-entropy, in float32."""
        z = logits.float()
        weights = self._to("_weights", z.device)
        cross_entropy: Tensor = F.cross_entropy(z, target, weights)
        overlap, sizes = self.soft_counts(z.softmax(dim=1), self.masks(target, z))
        return cross_entropy + self.dice_loss(overlap, sizes)

    def per_sample_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Each image's part of the cross-entropy, times the batch, plus the Dice loss of the whole batch.

        The Dice is pooled and has no parts: samples differ by their cross-entropy alone.
        """
        z = logits.float()
        weights = self._to("_weights", z.device)
        parts = F.cross_entropy(z, target, weights, reduction="none").flatten(1).sum(1)
        overlap, sizes = self.soft_counts(z.softmax(dim=1), self.masks(target, z))
        return parts * len(z) / weights[target].sum() + self.dice_loss(overlap, sizes)

    def logit_gradient(self, logits: Tensor, target: Tensor) -> Tensor:
        """w_y (p - y) / sum w_y  +  p (g - sum_k p_k g_k), with g_c = -(2 y_c - D_c) / (C' (P_c + T_c + s)).

        C' foreground classes; g of the background is 0.
        """
        p = logits.float().softmax(dim=1)
        y = self.masks(target, p)
        pixel_weights = self._to("_weights", p.device)[target]
        plain = (p - y) * (pixel_weights / pixel_weights.sum())[:, None]
        overlap, sizes = self.soft_counts(p, y)
        whole = (sizes + SMOOTHING)[None, :, None, None]
        score = (2 * overlap[None, :, None, None] + SMOOTHING) / whole
        by_probability = (score - 2 * y[:, 1:]) / (whole * (self.spec.outputs - 1))
        pulled = p[:, 1:] * by_probability
        through = torch.cat([torch.zeros_like(p[:, :1]), pulled], 1) - p * pulled.sum(1, keepdim=True)
        return plain + through

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Dice of the predicted labels in [0, 1], see the class."""
        return self.score_of(self.counts(logits, target))

    def agreement(self, logits: Tensor, target: Tensor) -> Tensor:
        """Probability of the true class, mean over the pixels."""
        return true_probability(logits, target).flatten(1).mean(1)

    def soft_score(self, logits: Tensor, target: Tensor) -> Tensor:
        """mean_c D_c as in the loss: the background, which every modality knows at once, is no part of it."""
        p = logits.detach().float().softmax(dim=1)
        return 1 - self.dice_loss(*self.soft_counts(p, self.masks(target, p))).to(measure_dtype(p.device))

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        """See `metrics_of`."""
        return self.metrics_of(self.counts(logits, target))

    def tally(self) -> Tally:
        """Sums over pixels in place of the logits: masks of a whole split would not fit."""
        return _SegmentationTally(self)

    def evidence(self, logits: Tensor, target: Tensor) -> Tensor:
        """Pixels of each scored region in both maps, and their sum, image by image: `[batch, regions * 2]`."""
        wide = measure_dtype(logits.device)
        each = [self.counts(z[None], y[None])[:-1].flatten() for z, y in zip(logits, target, strict=True)]
        return torch.stack(each).to(wide)

    def value_of(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean Dice of the regions, pixels pooled; a region that is in neither map counts as 1."""
        both, sizes = evidence[..., 0::2], evidence[..., 1::2]
        found: NDArray[np.float64] = np.where(sizes > 0, 2 * both / np.where(sizes > 0, sizes, 1), 1.0).mean(-1)
        return found

    def counts(self, logits: Tensor, target: Tensor) -> Tensor:
        """Pixels by region, int64 `[regions + 1, 2]`: in both prediction and target, and their sum."""
        return region_counts(logits.detach().argmax(dim=1), target, self._to("_members", logits.device))

    def score_of(self, counts: Tensor) -> Tensor:
        """Mean Dice of the regions, from `counts`."""
        return dice(counts[:-1]).mean()

    def metrics_of(self, counts: Tensor) -> dict[str, float]:
        """`dice` of the plain foreground; with several regions their mean, and each that has a name.

        All pooled: pixels are summed over the whole split before the quotient is taken once.
        """
        *found, foreground = dice(counts).tolist()
        named = {f"dice_{name}": value for name, value in zip(self.regions, found, strict=False)}
        mean = {"dice_mean": sum(found) / len(found)} if len(found) > 1 else {}
        return {**named, **mean, "dice": foreground}

    def soft_counts(self, p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """I_c and P_c + T_c of the foreground classes, each `[classes - 1]`."""
        front, truth = p[:, 1:], y[:, 1:]
        return (front * truth).sum((0, 2, 3)), (front + truth).sum((0, 2, 3))

    @staticmethod
    def dice_loss(overlap: Tensor, sizes: Tensor) -> Tensor:
        """1 - mean_c D_c, from `soft_counts`."""
        return 1 - ((2 * overlap + SMOOTHING) / (sizes + SMOOTHING)).mean()

    def cross_entropy_sums(self, z: Tensor, target: Tensor) -> Tensor:
        """Weighted sum of -log p_y, and sum of the weights, `[2]`."""
        weights = self._to("_weights", z.device)
        return torch.stack([F.cross_entropy(z, target, weights, reduction="sum"), weights[target].sum()])

    @staticmethod
    def masks(target: Tensor, like: Tensor) -> Tensor:
        """Target as 0 or 1 a class, shape and format of `like`."""
        return torch.zeros_like(like, requires_grad=False).scatter_(1, target[:, None], 1.0)

    def _to(self, name: str, device: torch.device) -> Tensor:
        """A constant of this task on a device; moved there once, since a copy would wait for the device."""
        held: Tensor = getattr(self, name)
        if held.device != device:
            held = held.to(device)
            setattr(self, name, held)
        return held


class _SegmentationTally(Tally):
    """Sums over pixels, in float64 on the device."""

    def __init__(self, task: Segmentation) -> None:
        self._task = task
        self._soft: tuple[Tensor, ...] = ()
        self._counts: Tensor | None = None

    def add(self, logits: Tensor, target: Tensor) -> None:
        """Count a part."""
        z, task = logits.detach().float(), self._task
        overlap, sizes = task.soft_counts(z.softmax(dim=1), task.masks(target, z))
        number = measure_dtype(z.device)
        soft = tuple(part.to(number) for part in (overlap, sizes, task.cross_entropy_sums(z, target)))
        counts = task.counts(z, target)
        self._soft = tuple(a + b for a, b in zip(self._soft, soft, strict=True)) if self._soft else soft
        self._counts = counts if self._counts is None else self._counts + counts

    def loss(self) -> Tensor:
        """As of the whole split in one batch."""
        overlap, sizes, (weighed, weights) = self._soft
        whole: Tensor = weighed / weights + self._task.dice_loss(overlap, sizes)
        return whole

    def score(self) -> Tensor:
        """Pooled over the whole split."""
        return self._task.score_of(self._all())

    def metrics(self) -> dict[str, float]:
        """Pooled over the whole split."""
        return self._task.metrics_of(self._all())

    def _all(self) -> Tensor:
        assert self._counts is not None, "nothing was counted"
        return self._counts
