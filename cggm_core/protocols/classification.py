"""Classification: cross-entropy, accuracy, F1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cggm_core.measures.gradients import measure_dtype
from cggm_core.measures.scores import accuracy, true_probability
from cggm_core.protocols.task import Task


class Classification(Task):
    """One class a sample; logits `[batch, classes]`, target `[batch]` int64."""

    score_name = value_name = "accuracy"

    @property
    def chance(self) -> float:
        """1 / classes."""
        return 1.0 / self.spec.outputs

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, mean over the batch, in float32."""
        return F.cross_entropy(logits.float(), target)

    def per_sample_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of each sample."""
        return F.cross_entropy(logits.float(), target, reduction="none")

    def logit_gradient(self, logits: Tensor, target: Tensor) -> Tensor:
        """(softmax(z) - onehot(y)) / batch."""
        p = logits.float().softmax(dim=1)
        return (p - F.one_hot(target, self.spec.outputs).to(p.dtype)) / len(target)

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Accuracy in [0, 1]."""
        return accuracy(logits.detach(), target)

    def agreement(self, logits: Tensor, target: Tensor) -> Tensor:
        """Probability of the true class."""
        return true_probability(logits, target)

    def evidence(self, logits: Tensor, target: Tensor) -> Tensor:
        """1 where the largest logit is the target's, else 0: `[batch, 1]`."""
        return (logits.detach().argmax(dim=1) == target)[:, None].to(measure_dtype(logits.device))

    def value_of(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Accuracy."""
        return evidence[..., 0]

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        """`accuracy` and `f1` (averaged over classes, weighted by their samples, as the field reports it)."""
        # Imported here: a second that only the end of an epoch needs.
        from sklearn.metrics import accuracy_score, f1_score

        predicted, truth = logits.argmax(dim=1).cpu().numpy(), target.cpu().numpy()
        return {
            "accuracy": float(accuracy_score(truth, predicted)),
            "f1": float(f1_score(truth, predicted, average="weighted", zero_division=0.0)),
        }
