"""Health of the balancing coefficient: its sign, its size, and how much of it the optimiser let through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cggm_core.analysis import verdict_thresholds as limit
from cggm_core.analysis.series import FloatArray
from cggm_core.analysis.verdict_parts import Finding, percent, shown
from cggm_core.analysis.verdict_record import Record
from cggm_core.names import MetricKey

_STABLE = "The preset stable has no negative and no exploding coefficient; smaller rho and larger batches help too."


@dataclass(frozen=True)
class Health:
    """Coefficient of one modality over a run.

    Attributes:
        steps: with a finite coefficient.
        negative: share of steps below 0: the encoder climbed its loss.
        flips: share of steps whose sign differs from the step before.
        exploded: share of steps with |B| above 5.
        largest: greatest |B|.
        mean: of B.
        through: exponent of the update against the coefficient: 1 a doubled B doubles the update, 0 it changes
            nothing; NaN where B hardly varies.
    """

    steps: int
    negative: float
    flips: float
    exploded: float
    largest: float
    mean: float
    through: float


def health(record: Record) -> dict[str, Health]:
    """By modality; empty where no coefficient other than 1 was applied."""
    found = {}
    for m in record.modalities:
        b = record.of("balance_coefficient", m)
        if len(b):
            with np.errstate(over="ignore"):  # where coefficients fill the range of a float64, their mean is infinite
                mean = float(b.mean())
            found[m] = Health(
                len(b), float((b < 0).mean()), float((np.sign(b[1:]) != np.sign(b[:-1])).mean()) if len(b) > 1 else 0.0,
                float((np.abs(b) > limit.EXPLODED).mean()), float(np.abs(b).max()), mean,
                _through(record, m),
            )  # fmt: skip
    applied = any(not np.allclose(record.of("balance_coefficient", m), 1.0) for m in found)
    return found if applied else {}


def balance(record: Record) -> tuple[Finding, ...]:
    """Findings about the coefficient, and of clipping; nothing where nothing was balanced."""
    found = health(record)
    if not found:
        return ()
    made = [
        *_negative(found), *_exploding(found), *_undefined(record), *_cancelled(record, found), *_scale(found),
        *_clipped(record),
    ]  # fmt: skip
    if not any(finding.severity in ("problem", "warning") for finding in made):
        worst = max(found.values(), key=lambda one: one.largest)
        made.append(Finding(
            "coefficient_healthy", "", "fine",
            f"The balancing coefficient is sound: below 0 on {percent(max(o.negative for o in found.values()))} of "
            f"steps, largest {shown(worst.largest)}, mean {shown(float(np.mean([o.mean for o in found.values()])))}.",
            {"largest": worst.largest, "mean": float(np.mean([o.mean for o in found.values()]))}, "coefficient_health",
            "high",
        ))  # fmt: skip
    return tuple(made)


def _negative(found: dict[str, Health]) -> list[Finding]:
    return [Finding(
        "negative_coefficient", m, "problem",
        f"The gradient of {m} was reversed on {percent(one.negative)} of steps: its encoder climbed its loss; the sign "
        f"flipped on {percent(one.flips)} of steps.",
        {"share_negative": one.negative, "share_flips": one.flips, "steps": one.steps}, "coefficient_health", "high",
        _STABLE, "cggm", "stable",
    ) for m, one in found.items() if one.negative > limit.NEGATIVE_SHARE]  # fmt: skip


def _exploding(found: dict[str, Health]) -> list[Finding]:
    return [Finding(
        "exploding_coefficient", m, "problem",
        f"The coefficient of {m} was above {shown(limit.EXPLODED)} in size on {percent(one.exploded)} of steps, at "
        f"most {shown(one.largest)}.",
        {"share_exploded": one.exploded, "largest": one.largest, "steps": one.steps}, "coefficient_health", "high",
        _STABLE, "cggm", "stable",
    ) for m, one in found.items() if one.exploded > limit.EXPLODED_SHARE]  # fmt: skip


def _undefined(record: Record) -> list[Finding]:
    values = record.of("coefficient_undefined")
    share = float(values.mean()) if len(values) else 0.0
    if share <= limit.UNDEFINED_SHARE:
        return []
    return [Finding(
        "undefined_coefficient", "", "warning",
        f"On {percent(share)} of steps the gains of all modalities summed to zero, so the coefficient kept its "
        "last value.",
        {"share_undefined": share, "steps": len(values)}, "coefficient_health", "high",
        "A continuous score (a loss in place of accuracy) or larger batches make exact zeros rare.", "cggm",
    )]  # fmt: skip


def _cancelled(record: Record, found: dict[str, Health]) -> list[Finding]:
    """Modalities whose updates hardly follow the coefficient."""
    optimiser = str(record.training.get("optimiser", "the optimiser"))
    made = []
    for m, one in found.items():
        if not np.isfinite(one.through) or one.through >= limit.CANCELLED or one.steps < limit.FEW_STEPS:
            continue
        made.append(Finding(
            "cancelled_scale", m, "note",
            f"Doubling the coefficient of {m} enlarged its update by {percent(2 ** max(one.through, 0.0) - 1)}, "
            f"not 100 %: {optimiser} took the rest back.",
            {"exponent": one.through, "steps": one.steps, "optimiser": optimiser}, "update_ratios", "medium",
            "Adam divides by the size of recent gradients and so cancels a lasting scale; SGD does not, and scaling "
            "the update instead of the gradient is not cancelled.",
        ))  # fmt: skip
    return made


def _scale(found: dict[str, Health]) -> list[Finding]:
    mean = float(np.mean([one.mean for one in found.values()]))
    if abs(mean - 1.0) <= limit.MEAN_SCALE:
        return []
    word = "lowered" if mean < 1 else "raised"
    return [Finding(
        "mean_scale", "", "note",
        f"The coefficient is {shown(mean)} in the mean over modalities and steps: besides balancing it {word} every "
        "encoder's gradient.", {"mean": mean}, "coefficient_health", "high",
        "Compare with joint training at a learning rate changed by that factor before crediting the balance.",
    )]  # fmt: skip


def _clipped(record: Record) -> list[Finding]:
    clip = record.training.get("gradient_clip", 0)
    if not isinstance(clip, (int, float)) or clip <= 0:
        return []
    norms = _side_by_side(record, [MetricKey("gradient_norm", m) for m in record.modalities])
    whole = np.sqrt(np.square(norms).sum(1))
    whole = whole[np.isfinite(whole)]
    share = float((whole > clip).mean()) if len(whole) else 0.0
    if share <= limit.CLIPPED_SHARE:
        return []
    return [Finding(
        "clipped", "", "warning",
        f"On at least {percent(share)} of steps the encoders' gradients alone exceed the clip of {shown(clip)}: "
        "a large coefficient of one modality then starves all others.",
        {"share_clipped": share, "gradient_clip": float(clip), "steps": len(whole)}, "gradient_norms", "high",
        "Raise the clip, or bound the coefficient.",
    )]  # fmt: skip


def _through(record: Record, modality: str) -> float:
    """Slope of log update ratio against log |B| over steps, both less their slow course; NaN where B hardly varies."""
    b, update = _side_by_side(record, [MetricKey(name, modality) for name in ("balance_coefficient", "update_ratio")]).T
    kept = np.isfinite(b) & np.isfinite(update) & (np.abs(b) > 0) & (update > 0)
    x, y = _detrended(np.log(np.abs(b[kept]))), _detrended(np.log(update[kept]))
    if len(x) < limit.FEW_STEPS or float(x.std()) < limit.VARIES:
        return float("nan")
    return float((x @ y) / (x @ x))


def _side_by_side(record: Record, keys: Sequence[MetricKey]) -> FloatArray:
    """Series on the steps that all of them have, `[T, len(keys)]`; no step where one was not recorded."""
    if not keys or any(key not in record.steps for key in keys):
        return np.empty((0, len(keys)))
    shared = record.steps[keys[0]]
    for key in keys[1:]:
        shared = np.intersect1d(shared, record.steps[key])
    return np.stack([record.series[key][np.searchsorted(record.steps[key], shared)] for key in keys], axis=1)


def _detrended(values: FloatArray, window: int = 25) -> FloatArray:
    """Values less their moving mean, so that a schedule of the learning rate is no answer to the coefficient."""
    if len(values) < window:
        return values - values.mean() if len(values) else values
    kernel = np.ones(window)
    slow = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
    left: FloatArray = values - slow
    return left
