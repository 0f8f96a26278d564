"""What a task is: loss, score, the loss's derivative, named metrics.

It replaces every `if dataset in [...]`: a method asks the task for the score whose change it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from cggm_core.protocols.data import TaskSpec


class Task(ABC):
    """One kind of prediction problem.

    Every method is pure and free of host-device synchronisation except `metrics`, which runs once an epoch.

    Attributes:
        spec: outputs, class names, unit.
        score_name: what the score is, in a word: accuracy, -MAE, Dice.
        scores: words that `TaskSpec.options["score"]` may hold; "standard" is the task's own.
    """

    score_name: str
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
    def logit_gradient(self, logits: Tensor, target: Tensor) -> Tensor | None:
        """Derivative of `loss` by the logits, differentiable itself, shape of `logits`.

        None where there is no closed form; the engine then falls back to double backward.
        """

    @abstractmethod
    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Score of the batch, a scalar, higher is better, in `score_dtype`; no gradient flows from it."""

    @abstractmethod
    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        """The task's named metrics over a whole split, on the host (`accuracy f1`, `mae corr ...`, `dice_wt ...`)."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """Score of the best constant prediction: of balanced classes, of the train labels in regression.

        A reference line in figures; NaN where it is not known.
        """
