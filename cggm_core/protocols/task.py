"""What a task is: loss, score, the loss's derivative, named metrics.

It replaces every `if dataset in [...]`: a method asks the task for the score whose change it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cggm_core.measures.gradients import measure_dtype
from cggm_core.protocols.data import TaskSpec


class Task(ABC):
    """One kind of prediction problem.

    Every method is pure and free of host-device synchronisation except `metrics`, which runs once an epoch.

    Attributes:
        spec: outputs, class names, unit.
        score_name: what the score is, in a word: accuracy, -MAE, Dice.
        value_name: what `value_of` is, in a word.
        scores: words that `TaskSpec.options["score"]` may hold; "standard" is the task's own.
    """

    score_name: str
    value_name: str
    scores: tuple[str, ...] = ("standard",)

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss over the batch, a scalar.

        Args:
            logits: `[batch, outputs]` (segmentation `[batch, outputs, h, w]`).
            target: as in `protocols.data.Split`.
        """

    @abstractmethod
    def per_sample_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each sample, `[batch]` float32, with its gradient; its mean is `loss` to rounding.

        What a task pools over the batch, as segmentation does its Dice, is the same number for every sample.
        """

    @abstractmethod
    def logit_gradient(self, logits: Tensor, target: Tensor) -> Tensor | None:
        """Derivative of `loss` by the logits, differentiable itself, shape of `logits`.

        None where there is no closed form; the engine then falls back to double backward.
        """

    @abstractmethod
    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Score of the batch, a scalar, higher is better, in `score_dtype`; no gradient flows from it."""

    @abstractmethod
    def agreement(self, logits: Tensor, target: Tensor) -> Tensor:
        """How far each sample's prediction agrees with the truth, `[batch]` in (0, 1], higher is better; float32.

        What methods that compare modalities by a quotient need: a positive number without the jumps of a count.
        """

    def soft_score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Score of the batch without the steps of a count, in (0, 1], higher is better, in the measuring dtype.

        The mean agreement, unless the task's score is pooled otherwise. Small changes of a prediction change it a
        little, and it moves long before the first prediction turns right; no gradient flows from it.
        """
        return self.agreement(logits.detach(), target).to(measure_dtype(logits.device)).mean()

    @abstractmethod
    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        """The task's named metrics over a whole split, on the host (`accuracy f1`, `mae corr ...`, `dice_wt ...`)."""

    @abstractmethod
    def evidence(self, logits: Tensor, target: Tensor) -> Tensor:
        """What each sample adds to the value of a prediction, `[batch, k]` in the measuring dtype, no gradient.

        Rows are additive: `value_of` of their mean is the value of the samples together.
        """

    @abstractmethod
    def value_of(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """How good a prediction is, higher is better, from mean evidence `[..., k]` to `[...]`, on the host.

        Accuracy; in regression the skill 1 - MAE / MAE of the best constant (0 useless, 1 perfect, open below); mean
        Dice of the regions, pooled. It is what contributions are shares of (methods reference 0.3).
        """

    def tally(self) -> Tally:
        """An empty count of a whole split; a task whose predictions are large replaces what this one holds."""
        return WholeSplit(self)

    @property
    @abstractmethod
    def chance(self) -> float:
        """Score of the best constant prediction: of balanced classes, of the train labels in regression.

        A reference line in figures; NaN where it is not known.
        """


class Tally(ABC):
    """Loss, score and metrics of a whole split, counted part by part; equal to those of all of it at once."""

    @abstractmethod
    def add(self, logits: Tensor, target: Tensor) -> None:
        """Count a part: shapes as in `Task.loss`, one sample or more, on any one device."""

    @abstractmethod
    def loss(self) -> Tensor:
        """The task's loss over everything added, a scalar."""

    @abstractmethod
    def score(self) -> Tensor:
        """The task's score over everything added, a scalar."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The task's metrics over everything added, on the host."""


class WholeSplit(Tally):
    """Keeps every prediction and asks the task once: exact, and small where a sample has few outputs."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, logits: Tensor, target: Tensor) -> None:
        """Keep a part."""
        self._logits.append(logits)
        self._targets.append(target)

    def loss(self) -> Tensor:
        """Of all parts joined."""
        return self._task.loss(*self._joined())

    def score(self) -> Tensor:
        """Of all parts joined."""
        return self._task.score(*self._joined())

    def metrics(self) -> dict[str, float]:
        """Of all parts joined."""
        return self._task.metrics(*self._joined())

    def _joined(self) -> tuple[Tensor, Tensor]:
        if len(self._logits) > 1:
            self._logits, self._targets = [torch.cat(self._logits)], [torch.cat(self._targets)]
        return self._logits[0], self._targets[0]
