"""Which modality carries the fused prediction: dominant, lagging, unused, harmful; since when, how strongly, how sure.

The truth asked for is what the trained network does on validation data, not what the data could give: contributions
(Shapley values of the fused prediction) decide, with their standard errors; removal, permutation and the unimodal
classifiers are held against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cggm_core.analysis import verdict_thresholds as limit
from cggm_core.analysis.series import FloatArray
from cggm_core.analysis.verdict_parts import Confidence, Finding, Number, listed, percent, shown
from cggm_core.analysis.verdict_record import Record
from cggm_core.store import Contribution


@dataclass(frozen=True)
class Reliance:
    """What the fused prediction leans on.

    Attributes:
        dominant: its name, None where no single modality carries the prediction.
        lagging: names, in model order.
        headline: in one sentence.
        findings: of these rules.
    """

    dominant: str | None
    lagging: tuple[str, ...]
    headline: str
    findings: tuple[Finding, ...]


def reliance(record: Record) -> Reliance:
    """Judge a run by its last look at the probe set; without one by its unimodal classifiers, and less surely."""
    last = record.last
    if last is None:
        return _by_classifiers(record)
    if not np.isfinite([last.everyone, last.nobody, *last.shapley, *np.ravel(last.covariance)]).all():
        return _not_finite(last)
    total = last.everyone - last.nobody
    if total < max(limit.LEARNT, limit.LEARNT_ERRORS * _spread_of_sum(last)):
        return _nothing_learnt(record, last, total)
    ranked = np.argsort(-np.asarray(last.shapley), kind="stable")
    first, second = int(ranked[0]), int(ranked[1])
    sure = _errors_apart(last, first, second)
    alone = alone_progress(record)
    leads = last.shapley[first] >= limit.LEAD * max(last.shapley[second], 0.0) and sure >= limit.LEAD_ERRORS
    stronger = not np.isfinite(alone[[first, second]]).all() or alone[second] <= limit.ALONE * max(alone[first], 0.0)
    lagging = _lagging(last)
    others = [*_unused(record, last, alone), *_harmful(record, last)]
    if leads and stronger:
        name = last.modalities[first]
        found = _dominant(record, last, first, second, sure, alone)
        return Reliance(name, lagging, found.text, (found, *_lag_findings(last, lagging, name), *others))
    found = _none(last, first, second, sure, alone, leads=leads, lagging=lagging)
    return Reliance(None, lagging, found.text, (found, *_lag_findings(last, lagging, None), *others))


def alone_progress(record: Record) -> FloatArray:
    """How far each classifier gets alone on validation, chance 0 and perfect 1: mean of the last epochs, `[M]`."""
    ends = [record.of("val_unimodal_score", m)[-limit.RECENT :] for m in record.modalities]
    return np.array([record.progress(float(end.mean())) if len(end) else math.nan for end in ends])


def leaders(record: Record) -> dict[str, str]:
    """Whom each measure names as the strongest; measures that were not taken are left out."""
    last, found = record.last, {}
    if last is not None:
        found["Shapley value"] = _most(last.modalities, last.shapley)
        if np.isfinite(last.without).all():
            found["removal"] = _most(last.modalities, [last.everyone - v for v in last.without])
        if last.permuted and np.isfinite(last.permuted).all():
            found["permutation"] = _most(last.modalities, [last.everyone - v for v in last.permuted])
    alone = alone_progress(record)
    if len(alone) and np.isfinite(alone).all():
        found["unimodal classifiers"] = _most(record.modalities, list(alone))
    norms = [record.of("gradient_norm_raw", m) for m in record.modalities]
    if norms and all(len(one) for one in norms):
        found["gradient norm"] = _most(record.modalities, [float(one.mean()) for one in norms])
    return found


def onset(record: Record, name: str) -> int | None:
    """First epoch from which `name` leads by `LEAD` at every look to the end; None if not even at the last."""
    since = None
    for look in reversed(record.contributions):
        value = dict(zip(look.modalities, look.shapley, strict=True))
        rest = max(v for m, v in value.items() if m != name)
        if not np.isfinite([value[name], rest]).all() or value[name] <= 0 or value[name] < limit.LEAD * max(rest, 0.0):
            break
        since = look.epoch
    return since


def _dominant(record: Record, last: Contribution, first: int, second: int, sure: float, alone: FloatArray) -> Finding:
    name, total = last.modalities[first], last.everyone - last.nobody
    named = leaders(record)
    judges = {k: v for k, v in named.items() if k != "gradient norm"}
    agree = sum(v == name for v in judges.values())
    since = onset(record, name)
    share = last.shapley[first] / total
    confidence: Confidence = (
        "high" if sure >= limit.SURE_ERRORS and agree == len(judges) else "medium" if agree > len(judges) / 2 else "low"
    )
    when = f" since epoch {since + 1}" if since is not None and len(record.contributions) > 1 else ""
    evidence: dict[str, Number] = {
        "shapley": last.shapley[first], "standard_error": math.sqrt(max(0.0, last.covariance[first][first])),
        "share": share, "second": last.modalities[second], "second_shapley": last.shapley[second],
        "lead_in_standard_errors": sure, "since_epoch": None if since is None else since + 1,
        "lost_without_it": last.everyone - last.without[first], "alone": _finite(alone, first),
        "second_alone": _finite(alone, second), "measures_agreeing": agree, "measures": len(judges),
        "probe_samples": last.samples,
    }  # fmt: skip
    evidence |= {f"leader_by_{key.replace(' ', '_')}": value for key, value in named.items()}
    return Finding(
        "dominant", name, "warning",
        f"{name} carries the prediction{when}: it contributes {shown(last.shapley[first])} of "
        f"{shown(total)} {last.value} above nothing ({percent(share)}), {last.modalities[second]} the next "
        f"{shown(last.shapley[second])}; {agree} of {len(judges)} measures name it.",
        evidence, "contributions", confidence,
        "Train with a balancing method and see whether the others come up; if they do not, they may tell little: "
        "compare their scores alone with chance.", "cggm",
    )  # fmt: skip


def _none(
    last: Contribution, first: int, second: int, sure: float, alone: FloatArray, *, leads: bool,
    lagging: tuple[str, ...],
) -> Finding:  # fmt: skip
    names, phi = last.modalities, last.shapley
    evidence: dict[str, Number] = {
        "first": names[first], "first_shapley": phi[first], "second": names[second], "second_shapley": phi[second],
        "lead_in_standard_errors": sure, "first_alone": _finite(alone, first), "second_alone": _finite(alone, second),
        "probe_samples": last.samples,
    }  # fmt: skip
    if leads:
        text = (
            f"No modality dominates by what it knows, but the prediction leans on {names[first]} "
            f"({shown(phi[first])}, {names[second]} {shown(phi[second])}) although {names[second]} alone is nearly as "
            "good."
        )
        advice = f"{names[second]} is underused: a balancing method can let the fusion hear it."
        return Finding("underused", names[second], "warning", text, evidence, "contributions", "medium", advice, "cggm")
    shares = ", ".join(f"{m} {shown(v)}" for m, v in zip(names, phi, strict=True))
    carried = [m for m in names if m not in lagging]
    who = f"{listed(carried)} carry the prediction together" if lagging else "The prediction rests on all of them"
    unsure = phi[first] >= limit.LEAD * max(phi[second], 0.0)
    tail = f"; {names[first]} is ahead, but by no more than resampling the probe set would give" if unsure else ""
    return Finding(
        "balanced", "", "fine", f"No single modality dominates. {who}: {shares}{tail}.", evidence, "contributions",
        "low" if unsure else "high" if last.samples >= 200 else "medium",
    )  # fmt: skip


def _nothing_learnt(record: Record, last: Contribution, total: float) -> Reliance:
    text = (
        f"Nothing can be said about dominance: with all modalities the {last.value} is {shown(last.everyone)}, with "
        f"none {shown(last.nobody)}; that is no difference on {last.samples} samples."
    )
    found = Finding(
        "nothing_learnt", "", "problem", text,
        {"everyone": last.everyone, "nobody": last.nobody, "difference": total, "probe_samples": last.samples},
        "contributions", "high",
        "Train longer, or with another learning rate; look at the losses first."
        if record.ended else "Wait for more epochs.",
    )  # fmt: skip
    return Reliance(None, (), text, (found,))


def _not_finite(last: Contribution) -> Reliance:
    text = (
        f"Nothing can be said about dominance: the last look at the probe set, after epoch {last.epoch + 1}, gave "
        "numbers that are not finite."
    )
    found = Finding(
        "no_evidence", "", "problem", text, {"epoch": last.epoch + 1, "probe_samples": last.samples}, "contributions",
        "high", "The training has most likely diverged: look at the losses, and lower the learning rate.",
    )  # fmt: skip
    return Reliance(None, (), text, (found,))


def _lagging(last: Contribution) -> tuple[str, ...]:
    """Modalities that contribute less than `LAG` of the strongest, by two standard errors."""
    phi, covariance = np.asarray(last.shapley), np.asarray(last.covariance)
    top = int(phi.argmax())
    found = []
    for m, name in enumerate(last.modalities):
        weights = np.zeros(len(phi))
        weights[top], weights[m] = limit.LAG, -1.0
        error = math.sqrt(max(float(weights @ covariance @ weights), 1e-12))
        if m != top and weights @ phi > limit.LEAD_ERRORS * error:
            found.append(name)
    return tuple(found)


def _lag_findings(last: Contribution, lagging: tuple[str, ...], dominant: str | None) -> list[Finding]:
    top = max(last.shapley)
    made = []
    for name in lagging:
        value = last.shapley[last.modalities.index(name)]
        strongest = dominant or last.modalities[last.shapley.index(top)]
        made.append(Finding(
            "lagging", name, "note",
            f"{name} contributes {shown(value)}, less than half of {strongest} ({shown(top)}).",
            {"shapley": value, "strongest": strongest, "strongest_shapley": top}, "contributions", "high",
        ))  # fmt: skip
    return made


def _unused(record: Record, last: Contribution, alone: FloatArray) -> list[Finding]:
    """Modalities that change nothing: those that know something, and those that do not."""
    made, total = [], last.everyone - last.nobody
    for m, name in enumerate(last.modalities):
        lost = last.everyone - last.without[m]
        error = last.removal_error[m] if last.removal_error else 0.0
        idle = abs(last.shapley[m]) <= limit.IDLE * total and abs(lost) <= max(limit.LOSS, limit.ERRORS * error)
        mixed = last.everyone - last.permuted[m] if last.permuted else 0.0
        if not idle or abs(mixed) > max(limit.LOSS, limit.ERRORS * (last.permuted_error[m] if last.permuted else 0.0)):
            continue
        knows = bool(np.isfinite(alone[m]) and alone[m] > limit.KNOWS)
        evidence: dict[str, Number] = {
            "shapley": last.shapley[m], "share": last.shapley[m] / total, "lost_without_it": lost,
            "standard_error": error, "lost_when_permuted": mixed if last.permuted else None,
            "alone": _finite(alone, m),
        }  # fmt: skip
        if knows:
            made.append(Finding(
                "unused", name, "warning",
                f"{name} is predictive alone ({percent(alone[m])} of the way from chance to perfect) but unused: "
                f"without it the {last.value} changes by {shown(-lost)}.", evidence, "removal", "medium",
                "A balancing method, or a larger weight on its classifier, can bring it in.", "cggm",
            ))  # fmt: skip
        else:
            made.append(Finding(
                "uninformative", name, "note",
                f"{name} adds nothing: without it the {last.value} changes by {shown(-lost)}, and alone it is "
                "near chance.", evidence, "removal", "high" if last.permuted else "medium",
                "Check the data of this modality; balancing cannot draw out what is not there.",
            ))  # fmt: skip
    return made


def _harmful(record: Record, last: Contribution) -> list[Finding]:
    """Modalities without which the prediction is better."""
    made = []
    for m, name in enumerate(last.modalities):
        lost = last.everyone - last.without[m]
        error = last.removal_error[m] if last.removal_error else math.inf
        if -lost > max(limit.LOSS, limit.ERRORS * error):
            made.append(Finding(
                "harmful", name, "problem",
                f"{name} does harm: without it the {last.value} on validation is {shown(last.without[m])}, with it "
                f"{shown(last.everyone)}.",
                {"without_it": last.without[m], "with_it": last.everyone, "lost_without_it": lost,
                 "standard_error": error, "probe_samples": last.samples},
                "removal", "high" if -lost > limit.SURE_ERRORS * error else "medium",
                "Leave it out, regularise its encoder, or stop its training early.",
            ))  # fmt: skip
    return made


def _by_classifiers(record: Record) -> Reliance:
    """Without any look at the fused prediction: what the unimodal classifiers say, with low confidence."""
    alone = alone_progress(record)
    if len(alone) < 2 or not np.isfinite(alone).all():
        text = "Nothing was recorded that could tell which modality the prediction leans on."
        return Reliance(None, (), text, (Finding("no_evidence", "", "note", text, {}, "", "low"),))
    ranked = np.argsort(-alone, kind="stable")
    first, second = int(ranked[0]), int(ranked[1])
    names = record.modalities
    evidence: dict[str, Number] = {f"alone_{m}": float(v) for m, v in zip(names, alone, strict=True)}
    leads = alone[first] > limit.KNOWS and alone[first] >= limit.LEAD * max(alone[second], 0.0)
    shares = ", ".join(f"{m} {percent(v)}" for m, v in zip(names, alone, strict=True))
    if leads:
        text = f"{names[first]} alone knows at least twice as much as any other (way from chance to perfect: {shares})."
    else:
        text = f"No modality is twice as good alone as the others (way from chance to perfect: {shares})."
    lagging = tuple(m for m, v in zip(names, alone, strict=True) if v < limit.LAG * alone[first]) if leads else ()
    rule, severity = ("dominant", "warning") if leads else ("balanced", "fine")
    found = Finding(
        rule, names[first] if leads else "", severity, text, evidence, "validation", "low",  # type: ignore[arg-type]
        "Look at contributions before acting: what a classifier reads is not what the fusion uses.",
    )  # fmt: skip
    return Reliance(names[first] if leads else None, lagging, text, (found,))


def _errors_apart(last: Contribution, first: int, second: int) -> float:
    covariance = last.covariance
    variance = covariance[first][first] + covariance[second][second] - 2 * covariance[first][second]
    return (last.shapley[first] - last.shapley[second]) / math.sqrt(max(variance, 1e-12))


def _spread_of_sum(last: Contribution) -> float:
    """Standard error of everyone less nobody: the contributions' sum."""
    return math.sqrt(max(0.0, float(np.sum(last.covariance))))


def _most(names: tuple[str, ...], values: list[float] | tuple[float, ...]) -> str:
    return names[int(np.argmax(values))]


def _finite(values: FloatArray, place: int) -> float | None:
    return float(values[place]) if place < len(values) and math.isfinite(values[place]) else None
