"""The names of everything that is measured: unit, direction, label and place (the glossary as code).

A series is `(metric, modality)`; modality is empty for fused values and `"m|n"` for a pair. Suffix law:
`*_score` higher is better, `*_loss` lower is better, `*_ratio` and `*_coefficient` are 1 when neutral,
`*_cosine` lies in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from cggm_core.errors import ConfigError

Direction = Literal["higher", "lower", "neutral"]
Scope = Literal["fused", "modality", "both", "pair"]
Cadence = Literal["step", "epoch", "end"]

PAIR_SEPARATOR = "|"


class MetricKey(NamedTuple):
    """Name of one series: what is measured, and of which modality ("" for fused, "m|n" for a pair)."""

    metric: str
    modality: str = ""

    def __str__(self) -> str:
        return f"{self.metric}[{self.modality}]" if self.modality else self.metric


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is.

    Attributes:
        name: as stored and exported.
        label: as drawn on an axis, without unit.
        unit: "" where the number has none; "1" is never written.
        direction: which way is better; "neutral" where neither is.
        scope: fused, one series a modality, both, or one a pair of modalities.
        cadence: recorded every step, every epoch, or once at the end.
        neutral: the value that means "nothing happens", drawn as a line; None where there is none.
        bounds: lowest and highest possible value, None where open.
        description: one sentence: what it is computed from.
    """

    name: str
    label: str
    unit: str
    direction: Direction
    scope: Scope
    cadence: Cadence
    description: str
    neutral: float | None = None
    bounds: tuple[float | None, float | None] = (None, None)


def _step(
    name: str, label: str, unit: str, direction: Direction, scope: Scope, description: str,
    neutral: float | None = None, bounds: tuple[float | None, float | None] = (None, None),
) -> Metric:  # fmt: skip
    return Metric(name, label, unit, direction, scope, "step", description, neutral, bounds)


_EVERY_RUN = (
    _step("loss", "Total loss", "", "lower", "fused",
          "what backward ran on: task loss plus every weighted added term, mean over the training batch"),
    _step("task_loss", "Task loss", "", "lower", "fused",
          "the task's loss on the fused prediction, mean over the training batch"),
    _step("direction_loss", "Direction loss", "", "lower", "fused",
          "L_gm of Eq. 12, unweighted: (1/M) sum of |B_m| - B_m cos_m"),
    _step("score", "Fused score", "", "higher", "fused",
          "the task's score of the fused prediction on the training batch"),
    _step("unimodal_score", "Unimodal score", "", "higher", "modality",
          "the task's score of modality m's classifier on the training batch"),
    _step("unimodal_loss", "Unimodal loss", "", "lower", "modality",
          "the task's loss of modality m's classifier, mean over the training batch"),
    _step("score_gain", "Score gain", "", "neutral", "modality",
          "the change of the unimodal score that the coefficient used (Delta epsilon of Eq. 6)", 0.0),
    _step("balance_coefficient", "Balancing coefficient", "", "neutral", "modality",
          "B_m of Eq. 7, rho included: exactly the factor applied to the gradients of modality m (to the change of "
          "its weights where the method scales updates)", 1.0),
    _step("gradient_norm_raw", "Gradient norm, raw", "", "neutral", "modality",
          "L2 norm over the parameters of modality m, after backward, before the method, before clipping; "
          "loss is a mean over the batch", None, (0.0, None)),
    _step("gradient_norm", "Gradient norm", "", "neutral", "modality",
          "the same norm after the method, before clipping", None, (0.0, None)),
    _step("update_ratio", "Update ratio", "", "neutral", "modality",
          "L2 norm of the optimiser's change over L2 norm of the weights, parameters of modality m",
          None, (0.0, None)),
    _step("head_gradient_norm", "Head gradient norm", "", "neutral", "both",
          "L2 norm of the last layer's weight gradient: of the fusion head (task loss), of classifier m",
          None, (0.0, None)),
    _step("direction_cosine", "Direction cosine", "", "neutral", "modality",
          "cosine of the fusion head's and classifier m's last-layer weight gradients, flattened (Eq. 12)",
          0.0, (-1.0, 1.0)),
    _step("pair_cosine", "Pair cosine", "", "neutral", "pair",
          "cosine of the last-layer weight gradients of two modalities' classifiers", 0.0, (-1.0, 1.0)),
    _step("learning_rate", "Learning rate", "", "neutral", "fused",
          "the optimiser's rate at this step", None, (0.0, None)),
    _step("step_seconds", "Time per step", "s", "lower", "fused",
          "wall time since the end of the step before (pauses, validation, checkpoints and what a method does "
          "between epochs left out), as the training process saw it",
          None, (0.0, None)),
    _step("samples_per_second", "Throughput", "samples/s", "higher", "fused",
          "samples of the batch over the time of the step", None, (0.0, None)),
)  # fmt: skip

_OF_METHODS = (
    _step("coefficient_undefined", "Coefficient undefined", "", "lower", "fused",
          "1 where the sum of score gains is zero to rounding, so that B kept its last value; else 0",
          0.0, (0.0, 1.0)),
    _step("soft_score", "Soft score", "", "higher", "modality",
          "continuous score of modality m's classifier on the training batch, whose gain the coefficient used: "
          "probability of the right class, exp(-|error|/spread), soft Dice", None, (0.0, 1.0)),
    _step("direction_weight", "Direction weight", "", "neutral", "modality",
          "the weight B_m that the direction loss used; equals the balancing coefficient where that is applied",
          1.0),
    _step("weight_cosine", "Weight cosine", "", "neutral", "modality",
          "cosine of the fusion head's and classifier m's last-layer WEIGHTS, what the released code compares",
          0.0, (-1.0, 1.0)),
    _step("strength_ratio", "Strength ratio", "", "neutral", "modality",
          "how much stronger modality m is than the others by the method's own reckoning; 1 is as strong as they are",
          1.0, (0.0, None)),
    _step("contribution_coefficient", "Contribution coefficient", "", "neutral", "modality",
          "factor on the gradient that flows back through modality m's share of the prediction", 1.0, (0.0, None)),
    _step("rate_coefficient", "Learning rate coefficient", "", "neutral", "modality",
          "factor on the learning rate of modality m's own parameters", 1.0, (0.0, None)),
    _step("loss_weight", "Loss weight", "", "neutral", "both",
          "weight of a loss of the method's own in the total: of modality m, or of the fused prediction", None),
    _step("prototype_loss", "Prototype loss", "", "lower", "modality",
          "cross-entropy of modality m's distances to the class prototypes, mean over the training batch",
          None, (0.0, None)),
    _step("kept_share", "Share kept", "", "neutral", "modality",
          "share of the batch's samples in which the method left modality m there", 1.0, (0.0, 1.0)),
    _step("learning_speed", "Conditional learning speed", "", "neutral", "modality",
          "logarithm of the speed of what modality m takes from the others over the speed of its own encoder", None),
    _step("gate_frozen", "Gate frozen", "", "neutral", "modality",
          "1 where modality m's gate was held at its running mean in this step; else 0", 0.0, (0.0, 1.0)),
    _step("head_loss", "Head loss", "", "lower", "modality",
          "the task's loss of the method's own head on modality m, whose gradient reaches the encoder"),
    _step("fusion_weight", "Fusion weight", "", "neutral", "modality",
          "mean over the batch of the weight that modality m's logits have in the fused prediction", None),
    _step("distillation_loss", "Distillation loss", "", "lower", "modality",
          "mean squared distance of modality m's features from its teacher's", None, (0.0, None)),
    _step("ranking_loss", "Ranking loss", "", "lower", "modality",
          "how much pairs of samples are ordered otherwise by modality m's confidence than by its past losses",
          None, (0.0, None)),
    _step("confidence_margin", "Confidence margin", "", "higher", "modality",
          "mean of modality m's logit of the true class minus that of the fused prediction's strongest wrong class",
          0.0),
    _step("guidance_share", "Guidance share", "", "neutral", "modality",
          "share of samples in which modality m guides another", None, (0.0, 1.0)),
    _step("conflict_cosine", "Conflict cosine", "", "neutral", "modality",
          "cosine of the fused loss's and modality m's own loss's gradients over modality m's parameters",
          0.0, (-1.0, 1.0)),
    _step("utilisation", "Utilisation", "", "neutral", "modality",
          "what modality m adds to the score of the others, relative to the fused score, at the last validation", 0.0),
    _step("contribution_share", "Contribution share", "", "neutral", "modality",
          "modality m's Shapley value of the agreement with the truth, negative ones as 0, divided by their sum",
          None, (0.0, 1.0)),
    _step("sharpness", "Sharpness", "", "lower", "fused",
          "the task loss at the perturbed weights minus that at the weights themselves, same batch", 0.0),
    _step("boost_rate", "Boost rate", "", "neutral", "fused",
          "learnt factor on the sum of unimodal logits", 1.0),
    _step("residual_weight", "Residual weight", "", "neutral", "fused",
          "mean weight of a sample's loss in the stage of one modality: smaller where the others are right already",
          None, (0.0, None)),
    _step("purity_gap", "Purity gap", "", "lower", "modality",
          "how much purer clusters of modality m's features are on training than on validation data, or less, at the "
          "last diagnosis", 0.0, (0.0, 1.0)),
    _step("reset_share", "Reset share", "", "neutral", "modality",
          "how far modality m's parameters were taken back to their start at the last diagnosis", 0.0, (0.0, 1.0)),
    _step("alignment_loss", "Alignment loss", "", "lower", "fused",
          "mean divergence of the predictions from one modality each, over all pairs", 0.0, (0.0, None)),
    _step("missing_share", "Share missing", "", "neutral", "modality",
          "mean over the batch of the rate at which the method left out places of modality m's input", 0.0, (0.0, 1.0)),
    _step("completeness_error", "Completeness error", "", "lower", "fused",
          "mean distance of the estimated from the true completeness of the dominant modality", None, (0.0, 1.0)),
)  # fmt: skip

_EPOCH = (
    ("loss", "loss", "", "lower", "fused", "the task's loss, mean over all samples"),
    ("score", "score", "", "higher", "fused", "the task's score of the fused prediction"),
    ("unimodal_score", "unimodal score", "", "higher", "modality",
     "the task's score of modality m's classifier"),
    ("missing_score", "score under missing data", "", "higher", "fused",
     "the task's score, mean over missing rates 0, 0.1 ... 0.9 of every modality's input"),
    ("accuracy", "accuracy", "", "higher", "fused", "share of samples predicted right"),
    ("f1", "F1", "", "higher", "fused",
     "F1 averaged over classes (regression: both signs, labels of zero left out), weighted by their samples"),
    ("mae", "MAE", "label units", "lower", "fused", "mean absolute error"),
    ("corr", "correlation", "", "higher", "fused", "Pearson correlation of prediction and label"),
    ("acc2", "Acc-2", "", "higher", "fused", "share of samples with the right sign, labels of zero left out"),
    ("acc7", "Acc-7", "", "higher", "fused", "share of samples right after clipping to -3..3 and rounding"),
    ("dice_wt", "Dice, whole tumour", "", "higher", "fused", "Dice of the whole tumour"),
    ("dice_tc", "Dice, tumour core", "", "higher", "fused", "Dice of the tumour core"),
    ("dice_et", "Dice, enhancing tumour", "", "higher", "fused", "Dice of the enhancing tumour"),
    ("dice_mean", "Dice, mean", "", "higher", "fused", "mean Dice of the regions, or of the foreground classes"),
    ("dice", "Dice", "", "higher", "fused", "Dice of the foreground"),
)  # fmt: skip


_COSTS: tuple[tuple[str, str, str, Direction, str], ...] = (
    ("median_step_seconds", "Time per step, median", "s", "lower",
     "median of the time per step over the newest 4,096 steps"),
    ("median_processor_seconds", "Processor time per step, median", "s", "lower",
     "median processor time of a step, of all threads; on the CPU alone"),
    ("median_method_seconds", "Method's time per step, median", "s", "lower",
     "median processor time of a step in the method's own moments, but for backward and update; on the CPU alone"),
    ("median_classifier_seconds", "Classifiers' time per step, median", "s", "lower",
     "median processor time of a step in the unimodal classifiers, with their backward and update; on the CPU alone"),
    ("median_measuring_seconds", "Measuring's time per step, median", "s", "lower",
     "median processor time of a step that goes into the per-step series; on the CPU alone"),
    ("method_epoch_seconds", "Method's time between epochs, per step", "s", "lower",
     "time that the method took before and after epochs (teachers, trials, prototypes), spread over the steps since "
     "the run was started or resumed; processor time on the CPU, else wall time"),
    ("model_parameters", "Parameters of the model", "", "neutral", "numbers that are weights of the model"),
    ("model_bytes", "Memory of the model", "B", "lower",
     "the model's weights, buffers, gradients and optimiser state; no activations"),
    ("classifier_parameters", "Parameters of the classifiers", "", "neutral",
     "numbers that are weights of the unimodal classifiers"),
    ("classifier_bytes", "Memory of the classifiers", "B", "lower",
     "the classifiers' weights, buffers, gradients and optimiser state; no activations (Table 8)"),
    ("method_parameters", "Parameters of the method", "", "neutral",
     "numbers that are weights of the method's own parts, whether they learn (heads) or not (teachers)"),
    ("method_bytes", "Memory of the method's parts", "B", "lower",
     "weights, buffers, gradients and optimiser state of the method's own parts; no activations"),
    ("peak_memory_bytes", "Peak memory", "B", "lower",
     "on a GPU the most its tensors took, else the most the whole process had in memory, libraries and data included"),
)  # fmt: skip


def _cost_metrics() -> tuple[Metric, ...]:
    return tuple(
        Metric(name, label, unit, direction, "fused", "epoch", f"{what}; as it stands at the end of the epoch", None,
               (0.0, None))
        for name, label, unit, direction, what in _COSTS
    )  # fmt: skip


def _epoch_metrics() -> tuple[Metric, ...]:
    made: list[Metric] = []
    splits: tuple[tuple[str, str, Cadence, str], ...] = (
        ("val_", "Validation", "epoch", "on the validation split at the end of the epoch"),
        ("test_", "Test", "end", "on the test split, once, after the last epoch; chooses nothing"),
    )
    for prefix, split, cadence, where in splits:
        for name, label, unit, direction, scope, what in _EPOCH:
            made.append(
                Metric(
                    prefix + name, f"{split} {label}", unit, direction, scope, cadence,  # type: ignore[arg-type]
                    f"{what}, {where}",
                )
            )  # fmt: skip
    return tuple(made)


_ALL = (*_EVERY_RUN, *_OF_METHODS, *_epoch_metrics(), *_cost_metrics())
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
COSTS = frozenset(cost.name for cost in _cost_metrics())  # for a table: nobody wants to see flat lines drawn
EVERY_RUN = frozenset(metric.name for metric in _EVERY_RUN)  # per step, whatever the method


def metric(name: str) -> Metric:
    """What a recorded name means; a name nobody declared is described as such, never refused.

    Runs from a user's own loop may hold metrics of their own, and a page must still draw them.
    """
    found = METRICS.get(name)
    return found or Metric(name, name.replace("_", " ").capitalize(), "", "neutral", "both", "step",
                           "recorded by the run; not one of the lab's own metrics")  # fmt: skip


def pair(first: str, second: str) -> str:
    """Name of an unordered pair of modalities in model order: `"first|second"`."""
    return f"{first}{PAIR_SEPARATOR}{second}"


def check_modality(name: str) -> str:
    """A modality's name as given, if a series and a file can carry it.

    Args:
        name: 1 to 64 characters; letters, digits, space, `_`, `-`, `.`; starts with a letter or digit.

    Raises:
        ConfigError: if it is anything else; `|` and `[` would make series names ambiguous.
    """
    if 1 <= len(name) <= 64 and name[0].isalnum() and all(c.isalnum() or c in " _-." for c in name):
        return name
    raise ConfigError(
        f"modality name {name[:64]!r} cannot be used: take 1 to 64 letters, digits, spaces, '_', '-' or '.', "
        "the first a letter or digit"
    )
