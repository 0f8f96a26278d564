"""Pictures behind the verdict: contributions over epochs, curves under damage, health of the coefficient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cggm_core.analysis import verdict_thresholds as limit
from cggm_core.analysis.series import FloatArray
from cggm_core.analysis.verdict_record import Record
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel
from cggm_core.names import MetricKey
from cggm_core.store import RobustnessCurve

KINDS = {
    "removal": ("Share of samples without the modality", "Removal", "its features are zero"),
    "permutation": ("Share of samples with another sample's", "Permutation", "it comes from another sample"),
    "noise": ("Noise, in standard deviations of the input", "Noise", "noise is added to its input"),
}
_ERRORS = 2.0
_COLUMNS = 60  # points of a share over the run: fewer steps a point than that are too few to count


def contributions(record: Record) -> FigureSpec:
    """Shapley value of every modality after each epoch, with two standard errors."""
    looks, names = record.contributions, record.modalities
    epoch = np.array([look.epoch + 1 for look in looks], np.float64)
    lines: list[Line] = []
    for m in names:
        value = np.array([_of(look.modalities, look.shapley, m) for look in looks])
        error = np.array([_error(look.modalities, look.covariance, m) for look in looks])
        lines += _banded(m, epoch, value, _ERRORS * error, names)
    unit = looks[-1].value if looks else "value"
    panel = Panel(
        "contributions", f"Contribution to {unit}", tuple(lines), neutral=0.0, neutral_label="0: adds nothing",
        empty="No contributions were recorded.",
    )  # fmt: skip
    return FigureSpec(
        "contributions", "Contribution of each modality",
        "The Shapley value: a modality's fair share of what the fused prediction gains over another sample's inputs. "
        "Lines add up to that gain; the area is two standard errors over the probe samples.",
        _alt("Contribution by epoch", lines), "Epoch", (panel,), x_axis="epoch",
    )  # fmt: skip


def robustness(record: Record, kind: str) -> FigureSpec:
    """How the value falls while one modality at a time is damaged.

    Args:
        record: with the curves of the last full look.
        kind: removal, permutation or noise.
    """
    x_label, title, what = KINDS[kind]
    mine = [curve for curve in record.curves if curve.kind == kind]
    lines: list[Line] = []
    for curve in mine:
        lines += _curve(curve, record.modalities)
    panel = Panel(kind, _first([c.value_name for c in mine], "value").capitalize(), tuple(lines),
                  empty="These curves are taken at the end of training, or on request while it runs.")  # fmt: skip
    return FigureSpec(
        kind, f"{title}, one modality at a time",
        f"The further a line falls as {what}, the more the prediction hangs on that modality; a flat line is unused or "
        "replaced by the others, a rising one does harm.",
        _alt(f"{title} curves", lines), x_label, (panel,), x_axis=kind,
    )  # fmt: skip


def coefficient_health(record: Record) -> FigureSpec:
    """Share of steps with a reversed and with an exploded coefficient, along the run."""
    reversed_: list[Line] = []
    exploded: list[Line] = []
    for m in record.modalities:
        key = MetricKey("balance_coefficient", m)
        step, b = record.steps.get(key, np.empty(0)), record.series.get(key, np.empty(0))
        for lines, hit in ((reversed_, b < 0), (exploded, np.abs(b) > limit.EXPLODED)):
            x, share = _shares(step, hit.astype(np.float64))
            lines.append(_line(m, x, share, record.modalities))
    empty = "This run records no balancing coefficient."
    panels = (
        Panel("negative", "Share below 0", tuple(reversed_), "gradient reversed",
              y_range=_of_shares(reversed_), empty=empty),
        Panel("exploded", f"Share above {limit.EXPLODED:g}", tuple(exploded), "gradient enlarged beyond measure",
              y_range=_of_shares(exploded), empty=empty),
    )  # fmt: skip
    return FigureSpec(
        "coefficient_health", "Health of the coefficient",
        "Both shares should be 0: below 0 an encoder climbs its loss, far above 1 one noisy batch decides the step.",
        _alt("Shares of unhealthy steps", [*reversed_, *exploded]), "Step", panels,
    )  # fmt: skip


def preferences(record: Record) -> FigureSpec:
    """To how many probe samples each modality contributes most, epoch by epoch."""
    looks, names = record.contributions, record.modalities
    epoch = np.array([look.epoch + 1 for look in looks], np.float64)
    lines = []
    for place, m in enumerate((*names, "")):
        share = [look.preferred[place] / look.samples if len(look.preferred) > place else np.nan for look in looks]
        colour = theme.NEUTRAL if not m else theme.modality_colour(m, names)
        lines.append(Line(m or "nobody leads", epoch, np.array(share, np.float64), colour=colour, markers=True,
                          dash="dot" if not m else theme.modality_dash(m, names)))  # fmt: skip
    panel = Panel("preferences", "Share of samples", tuple(lines), y_range=(0.0, 1.0),
                  empty="No contributions were recorded.")  # fmt: skip
    return FigureSpec(
        "preferences", "Which modality decides a sample",
        "Each sample counts for the modality that contributes most to it; where two contribute alike, nobody leads.",
        _alt("Share of samples led", lines), "Epoch", (panel,), x_axis="epoch",
    )  # fmt: skip


def _banded(name: str, x: FloatArray, y: FloatArray, reach: FloatArray, names: Sequence[str]) -> list[Line]:
    colour = theme.modality_colour(name, names)
    band = Line(f"{name}, two standard errors", x, y, "band", colour, low=y - reach, high=y + reach, group=name,
                legend=False)  # fmt: skip
    return [band, Line(name, x, y, "line", colour, theme.modality_dash(name, names), 2.0, group=name, markers=True)]


def _curve(curve: RobustnessCurve, names: Sequence[str]) -> list[Line]:
    x, y = np.array(curve.level), np.array(curve.value)
    return _banded(curve.modality, x, y, _ERRORS * np.array(curve.error), names)


def _line(name: str, x: FloatArray, y: FloatArray, names: Sequence[str]) -> Line:
    return Line(name, x, y, colour=theme.modality_colour(name, names), dash=theme.modality_dash(name, names))


def _of_shares(lines: Sequence[Line]) -> tuple[float, float]:
    """Range from 0, with room for a line on it, to the largest share; a tenth at least: lines at 0 have no scale."""
    largest = max([0.1, *(float(line.y.max()) for line in lines if len(line.y))])
    return -0.05 * largest, 1.05 * largest


def _shares(step: FloatArray, hit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means of consecutive parts, at their last step."""
    if not len(step):
        return step, hit
    parts = np.array_split(np.arange(len(step)), min(_COLUMNS, max(1, len(step) // 10)))
    return np.array([step[part[-1]] for part in parts]), np.array([hit[part].mean() for part in parts])


def _of(names: Sequence[str], values: Sequence[float], name: str) -> float:
    return values[names.index(name)] if name in names and values else float("nan")


def _error(names: Sequence[str], covariance: Sequence[Sequence[float]], name: str) -> float:
    place = names.index(name) if name in names else -1
    return float(np.sqrt(max(0.0, covariance[place][place]))) if place >= 0 and covariance else float("nan")


def _alt(title: str, lines: Sequence[Line]) -> str:
    told = [
        f"{line.name} {line.y[np.isfinite(line.y)][-1]:.3g}"
        for line in lines
        if line.role == "line" and np.isfinite(line.y).any()
    ]
    return f"{title}. Last values: {', '.join(told) or 'none recorded'}."


def _first(values: Sequence[str], fallback: str) -> str:
    return values[0] if values else fallback
