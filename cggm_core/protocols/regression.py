"""Regression: L1 loss; -MAE, or the share of right signs, as score."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cggm_core.errors import CapabilityError
from cggm_core.measures.scores import negative_mae, sign_accuracy
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.task import Task


def label_options(target: Tensor) -> dict[str, float | list[float]]:
    """What a regression task must know of its train labels, for `TaskSpec.options`.

    offset: median of each output, the best constant under L1. scale: the power of ten nearest to the mean
    distance from it (in logarithm), so that the model's numbers are of order 1 whatever the label's unit, and
    labels that are so already (sentiment from -3 to 3) keep the loss of the paper to the letter. spread: mean
    distance over all outputs, in the label's unit. positive: share of labels above 0.

    Args:
        target: train labels `[n, outputs]`.
    """
    wide = target.double().numpy()
    offset = np.median(wide, axis=0)
    distance = np.abs(wide - offset).mean(axis=0)
    return {
        "offset": offset.tolist(),
        "scale": [10.0 ** round(math.log10(d)) if d > 0 else 1.0 for d in distance.tolist()],
        "spread": float(distance.mean()),
        "positive": float((wide > 0).mean()),
    }


class Regression(Task):
    """One or more numbers a sample; logits `[batch, outputs]`, target `[batch, outputs]` in the label's unit.

    The prediction is offset + scale * logits, both from the train labels (`label_options`; 0 and 1 where a task
    is made without data): a label far from 0 or of large numbers is learnt as fast as one that is not, and the
    weight of an added loss term means the same in every unit. Score and metrics are in the label's unit; the
    loss is in units of `scale`.

    Raises:
        CapabilityError: for the binary score on labels of one sign.
    """

    value_name = "skill"
    scores = ("standard", "binary")

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self._offset = torch.tensor(spec.options.get("offset", [0.0] * spec.outputs), dtype=torch.float64)
        self._scale = torch.tensor(spec.options.get("scale", [1.0] * spec.outputs), dtype=torch.float64)
        self._binary = spec.options.get("score") == "binary"
        self.score_name = "sign accuracy" if self._binary else "-MAE"
        if self._binary and self._positive in (0.0, 1.0):
            raise CapabilityError(
                "the binary score needs labels on both sides of zero, but every train label is "
                f"{'positive' if self._positive else 'zero or less'}; take the standard score"
            )

    @property
    def chance(self) -> float:
        """Score of the best constant on the train labels; NaN for a task made without data.

        -MAE: minus the mean distance from the median (of each output). Sign accuracy: the larger side's share.
        """
        if self._binary:
            return max(self._positive, 1.0 - self._positive)
        return -float(self.spec.options.get("spread", math.nan))

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean of |logits - (target - offset) / scale| over samples and outputs, in float32."""
        return F.l1_loss(logits.float(), self._standardised(target))

    def per_sample_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the outputs of |logits - (target - offset) / scale|, of each sample."""
        return (logits.float() - self._standardised(target)).abs().flatten(1).mean(1)

    def logit_gradient(self, logits: Tensor, target: Tensor) -> Tensor:
        """sign(logits - (target - offset) / scale) / (batch * outputs); 0 where they are equal, as autograd has it."""
        return (logits.float() - self._standardised(target)).sign() / target.numel()

    def predict(self, logits: Tensor) -> Tensor:
        """The prediction in the label's unit, offset + scale * logits, in the measuring dtype; no gradient."""
        offset, scale = self._placed(logits.device)
        return offset + scale * logits.detach().to(offset.dtype)

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """-MAE in the label's unit, or the share of right signs (the released code's) where that was chosen."""
        measure = sign_accuracy if self._binary else negative_mae
        return measure(self.predict(logits), target)

    def agreement(self, logits: Tensor, target: Tensor) -> Tensor:
        """exp(-|prediction - target| / spread), mean over outputs; spread as in `label_options`, 1 without data.

        A prediction as wrong as the best constant is on average gives 1/e.
        """
        distance = (logits.float() - self._standardised(target)).abs() * self._unspread(logits.device)
        return (-distance).exp().flatten(1).mean(1)

    def evidence(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean absolute error over the outputs, in the label's unit: `[batch, 1]`."""
        wide = self.predict(logits)
        return (wide - target.to(wide.dtype)).abs().mean(dim=1, keepdim=True)

    def value_of(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Skill: 1 - MAE / MAE of the train median on train; a task made without data gives -MAE."""
        spread = float(self.spec.options.get("spread", math.nan))
        error = evidence[..., 0]
        return 1.0 - error / spread if spread > 0 else -error

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        """`mae corr acc2 acc7 f1`, in the label's unit; see `regression_metrics`."""
        return regression_metrics(self.predict(logits).cpu().numpy(), target.cpu().numpy())

    @property
    def _positive(self) -> float:
        return float(self.spec.options.get("positive", math.nan))

    def _unspread(self, device: torch.device) -> Tensor:
        """Factor from units of `scale` to units of the labels' spread, one an output."""
        spread = float(self.spec.options.get("spread", 1.0)) or 1.0
        return (self._placed(device)[1] / spread).float()

    def _standardised(self, target: Tensor) -> Tensor:
        offset, scale = self._placed(target.device)
        return ((target - offset) / scale).float()

    def _placed(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Offset and scale where they are needed; moved once, so that no step waits for the device."""
        if self._offset.device != device:
            wide = torch.float32 if device.type == "mps" else torch.float64
            self._offset = self._offset.to(wide).to(device)
            self._scale = self._scale.to(wide).to(device)
        return self._offset, self._scale


def regression_metrics(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> dict[str, float]:
    """The named metrics of regression, with the field's conventions about zero.

    mae: mean absolute error in the label's unit. corr: Pearson correlation, mean over outputs. acc2, f1:
    negative against positive, labels of exactly 0 LEFT OUT because they have no sign (the "non-zero" figures
    of the MOSI literature); a prediction counts as positive above 0; F1 is averaged over both signs, weighted
    by their samples. acc7: prediction and label clipped to -3..3 and rounded (halves to even), all samples.
    Where labels never change their sign (diabetes) acc2 and f1 say nothing, where they leave -3..3 neither
    does acc7.

    Args:
        prediction: `[n, outputs]`, in the label's unit.
        truth: `[n, outputs]`.

    Returns:
        By name; NaN where undefined: corr of a constant, acc2 and f1 without a label other than 0; all of them where
        a prediction is not finite.
    """
    # Imported here: a second that only the end of an epoch needs.
    from scipy.stats import pearsonr
    from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

    if not np.isfinite(prediction).all():
        return dict.fromkeys(("mae", "corr", "acc2", "acc7", "f1"), math.nan)
    constant = (np.ptp(prediction, axis=0) == 0) | (np.ptp(truth, axis=0) == 0)
    corr = math.nan if constant.any() or len(truth) < 2 else float(np.mean(pearsonr(prediction, truth).statistic))
    signed = truth != 0
    positive, right = prediction[signed] > 0, truth[signed] > 0
    classes = [np.round(values.clip(-3, 3)).astype(int).ravel() for values in (truth, prediction)]
    return {
        "mae": float(mean_absolute_error(truth, prediction)),
        "corr": corr,
        "acc2": float(accuracy_score(right, positive)) if len(right) else math.nan,
        "acc7": float(accuracy_score(*classes)),
        "f1": float(f1_score(right, positive, average="weighted", zero_division=0.0)) if len(right) else math.nan,
    }
