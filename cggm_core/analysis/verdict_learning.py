"""What else goes wrong while modalities learn together: overfitting, fusion below its best, conflict, divergence."""

from __future__ import annotations

import math

import numpy as np

from cggm_core.analysis import verdict_thresholds as limit
from cggm_core.analysis.verdict_parts import Finding, percent, shown
from cggm_core.analysis.verdict_record import Record
from cggm_core.names import pair


def learning(record: Record) -> tuple[Finding, ...]:
    """Findings of every rule of this file."""
    return (*_diverged(record), *_overfitting(record), *_fusion_below_best(record), *_conflicts(record))


def _diverged(record: Record) -> list[Finding]:
    key = next((key for key in record.series if key.metric == "loss"), None)
    values = np.empty(0) if key is None else record.series[key]
    bad = int((~np.isfinite(values)).sum())
    if key is None or not bad:
        return []
    first = int(record.steps[key][np.argmax(~np.isfinite(values))])
    return [Finding(
        "diverged", "", "problem", f"The loss was not finite on {bad} of {len(values)} steps, first at step {first}.",
        {"steps": bad, "of": len(values), "first_step": first}, "losses", "high",
        "Lower the learning rate, or clip the gradient.",
    )]  # fmt: skip


def _overfitting(record: Record) -> list[Finding]:
    """Modalities whose classifier knows the training samples and not the validation samples."""
    made = []
    for m in record.modalities:
        epochs = int(max(1, round(record.steps_per_epoch))) * limit.RECENT
        train, val = record.of("unimodal_score", m)[-epochs:], record.of("val_unimodal_score", m)[-limit.RECENT :]
        if not len(train) or not len(val):
            continue
        seen, unseen = record.progress(float(train.mean())), record.progress(float(val.mean()))
        gap = seen - unseen
        if not math.isfinite(gap) or gap < max(limit.GAP, limit.GAP_SHARE * seen):
            continue
        made.append(Finding(
            "overfitting", m, "problem",
            f"{m} overfits: its classifier comes {percent(seen)} of the way from chance to perfect on training "
            f"batches and {percent(unseen)} on validation.",
            {"train_score": float(train.mean()), "val_score": float(val.mean()), "train_progress": seen,
             "val_progress": unseen, "gap": gap, "chance": record.chance},
            "validation", "high" if gap > 2 * limit.GAP else "medium",
            "Regularise this modality's encoder (dropout, weight decay, augmentation, less width), or stop its "
            "training early; check that the splits share no speaker, patient or scene.",
        ))  # fmt: skip
    return made


def _fusion_below_best(record: Record) -> list[Finding]:
    fused = record.of("val_score")[-limit.RECENT :]
    alone = {m: record.of("val_unimodal_score", m)[-limit.RECENT :] for m in record.modalities}
    if not len(fused) or not alone or not all(len(v) for v in alone.values()):
        return []
    best = max(alone, key=lambda m: float(alone[m].mean()))
    with_all, with_one = record.progress(float(fused.mean())), record.progress(float(alone[best].mean()))
    error, lost = _progress_error(record, with_one), with_one - with_all
    if not math.isfinite(lost) or lost <= max(limit.LOSS * _progress_unit(record), limit.ERRORS * error):
        return []
    return [Finding(
        "fusion_below_best", best, "problem",
        f"Fusion is worse than its best part: on validation all modalities together score "
        f"{shown(float(fused.mean()))}, {best} alone {shown(float(alone[best].mean()))}.",
        {"val_score": float(fused.mean()), "best_alone": float(alone[best].mean()), "chance": record.chance,
         "standard_error_of_progress": error},
        "validation", "high" if lost > limit.SURE_ERRORS * error else "medium",
        "Look for a harmful or overfitting modality first; a balancing method, or late fusion of the classifiers, "
        "is the next thing to try.", "cggm",
    )]  # fmt: skip


def _progress_unit(record: Record) -> float:
    """How much progress one whole unit of accuracy or Dice is; 1 in regression, whose unit (skill) is progress."""
    return 1.0 if record.perfect == 0.0 else 1.0 / (record.perfect - record.chance)


def _progress_error(record: Record, progress: float) -> float:
    """Standard error of a progress on the validation split.

    Of the probe set where its value is the score's kind; else of as many tosses of a coin, which in regression is no
    less than the error of any value from 0 to 1.
    """
    unit, last = _progress_unit(record), record.last
    if last is not None and last.samples > 1 and (last.value == "skill") == (record.perfect == 0.0):
        scale = math.sqrt(last.samples / record.samples) if record.samples else 1.0
        return last.everyone_error * min(1.0, scale) * unit
    share = min(max(progress if record.perfect == 0.0 else record.chance + progress / unit, 0.0), 1.0)
    return math.sqrt(share * (1 - share) / record.samples) * unit if record.samples else 0.0


def _conflicts(record: Record) -> list[Finding]:
    """Modalities that pull against the fusion, and pairs that pull against each other, in the later half."""
    made = []
    for m in record.modalities:
        made += _conflict(record, "direction_cosine", m, m, "the fused gradient", "directions")
    for a, b in record.pairs():
        made += _conflict(record, "pair_cosine", pair(a, b), a, b, "directions")
    return made


def _conflict(record: Record, metric: str, series: str, who: str, against: str, figure: str) -> list[Finding]:
    values = record.of(metric, series)
    late = values[len(values) // 2 :]
    if len(late) < limit.FEW_STEPS:
        return []
    share, mean = float((late < 0).mean()), float(late.mean())
    if share < limit.CONFLICT_SHARE or mean > limit.CONFLICT_COSINE:
        return []
    return [Finding(
        "conflicting", who, "warning",
        f"{who} pulls against {against}: in the later half the cosine of their last-layer gradients is below 0 on "
        f"{percent(share)} of steps, {shown(mean)} in the mean.",
        {"share_below_0": share, "mean_cosine": mean, "steps": len(late), "against": against}, figure,
        "medium", "The direction term of CGGM turns the fused gradient towards the classifiers' gradients.", "cggm",
    )]  # fmt: skip
