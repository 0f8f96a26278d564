"""The paper's pictures of one run: scores, gradients, directions, losses and what balancing does to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cggm_core import names
from cggm_core.analysis.series import FloatArray, robust_window
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel, label
from cggm_core.figures.view import AXIS_LABELS, RunView
from cggm_core.names import MetricKey

_MARKER_POINTS = 40
# A coefficient further from 1 than this gets a panel of its own, with a logarithmic scale.
EXPLODED = 10.0


def _score(text: str, view: RunView) -> str:
    """A score's axis label: what it is and in which unit, where that is known."""
    return f"{text}: {view.score}" if view.score else text


def scores(view: RunView) -> FigureSpec:
    """Score of every unimodal classifier and of the fused prediction on training batches (Fig. 2a, 3a)."""
    panel = _panel(
        view, "score", ["unimodal_score", "score"], _score("Score", view), level=view.chance, neutral_label="chance"
    )
    return _figure(
        view, "scores", "Scores on training batches", [panel],
        "A line that rises early and stays above the others belongs to the modality the network leans on; "
        "the fused line should end above every one of them.",
    )  # fmt: skip


def validation(view: RunView) -> FigureSpec:
    """The same scores on the validation split, one point an epoch."""
    panel = _panel(
        view, "validation", ["val_unimodal_score", "val_score"], _score("Validation score", view),
        smooth=False, level=view.chance, neutral_label="chance",
        empty="The first validation comes at the end of the first epoch.",
    )  # fmt: skip
    return _figure(
        view, "validation", "Scores on the validation split", [panel],
        "Each point is one pass over data the network does not learn from; the gap between a modality alone "
        "and the fused line is what fusion adds.",
    )  # fmt: skip


def coefficients(view: RunView) -> FigureSpec:
    """The factor put on each modality's gradients, with its neutral line at 1."""
    panel = _panel(
        view, "balance_coefficient", ["balance_coefficient"], names.metric("balance_coefficient").label,
        clip=True, neutral_label="1: unchanged",
        empty="This run records no balancing coefficient.",
    )  # fmt: skip
    return _figure(
        view, "coefficients", "Balancing coefficient", [panel, *_exploding(view)],
        "Above the line at 1 a modality's gradients are enlarged, below it damped, below 0 reversed; "
        "spikes mark steps where the summed change of scores is close to zero.",
    )  # fmt: skip


def _exploding(view: RunView) -> list[Panel]:
    """Where a coefficient gets far from 1: how far, on a logarithmic scale that cuts no spike off."""
    far = {}
    for key in _drawn(view, ["balance_coefficient"]):
        # A logarithmic axis has no place for 0, which is where nothing happens anyway.
        off = np.abs(view.curves[key].value - 1.0)
        far[key] = np.where(off > 0, off, np.nan)
    values = np.concatenate(list(far.values())) if far else np.empty(0)
    if not np.any(values[np.isfinite(values)] > EXPLODED):
        return []
    lines = [
        Line(key.modality, view.x(view.curves[key]), off, "line", theme.modality_colour(key.modality, view.modalities),
             "solid", 0.8, key.modality, legend=False)
        for key, off in far.items()
    ]  # fmt: skip
    # Below a tenth nothing happens to speak of; the height belongs to the spikes.
    y_range = (0.1, 1.3 * float(values[np.isfinite(values)].max()))
    return [
        Panel("balance_coefficient_distance", "Distance of B from 1", tuple(lines), "no spike cut off", "log", y_range)
    ]


def gradient_norms(view: RunView) -> FigureSpec:
    """Size of each modality's gradient before and after balancing (Fig. 2b, 3b)."""
    panels = [
        _panel(view, name, [name], "Gradient norm", scale="log", title=title)
        for name, title in (("gradient_norm_raw", "before balancing"), ("gradient_norm", "after balancing"))
    ]
    shared = _shared_range(panels)
    panels = [replace(panel, y_range=shared) for panel in panels]
    return _figure(
        view, "gradient_norms", "Gradient magnitude", panels,
        "The modality with the larger gradient learns faster; balancing works where the lines are closer "
        "together in the lower panel than in the upper one (both share one logarithmic scale).",
    )  # fmt: skip


def directions(view: RunView) -> FigureSpec:
    """Cosine between the fused gradient and each classifier's (Fig. 2c, 3c)."""
    panel = _panel(
        view, "direction_cosine", ["direction_cosine"], names.metric("direction_cosine").label,
        neutral_label="0: unrelated", empty="This run records no gradient directions.",
    )  # fmt: skip
    return _figure(
        view, "directions", "Gradient direction", [panel],
        "At 1 the fused model moves the way this modality wants, at 0 it ignores it, below 0 it moves "
        "against it.",
    )  # fmt: skip


def losses(view: RunView) -> FigureSpec:
    """Total, task and unimodal losses, and the direction term on its own scale."""
    panels = [_panel(view, "loss", ["unimodal_loss", "task_loss", "loss"], "Loss", clip=True, keep=0.98)]
    if any(_drawn(view, ["direction_loss"])):
        panels.append(
            _panel(view, "direction_loss", ["direction_loss"], "Direction loss", title="direction term",
                   clip=True)
        )  # fmt: skip
    return _figure(
        view, "losses", "Losses on training batches", panels,
        "Where the total runs away from the task loss, an added term rules the training; a unimodal loss "
        "that stays flat belongs to a modality that is not learnt.",
    )  # fmt: skip


def update_ratios(view: RunView) -> FigureSpec:
    """How far the optimiser really moved each modality's weights."""
    panel = _panel(view, "update_ratio", ["update_ratio"], names.metric("update_ratio").label, scale="log")
    return _figure(
        view, "update_ratios", "Update ratio", [panel],
        "The change of the weights relative to their size: what is left of balancing once the optimiser has "
        "had its say (Adam cancels a constant factor).",
    )  # fmt: skip


Builder = Callable[[RunView], FigureSpec]
FIGURES: dict[str, Builder] = {
    "scores": scores,
    "validation": validation,
    "coefficients": coefficients,
    "directions": directions,
    "gradient_norms": gradient_norms,
    "losses": losses,
    "update_ratios": update_ratios,
}
DRAWN: tuple[str, ...] = (
    "loss", "task_loss", "direction_loss", "score", "unimodal_score", "unimodal_loss",
    "balance_coefficient", "gradient_norm_raw", "gradient_norm", "update_ratio", "direction_cosine",
    "val_score", "val_unimodal_score",
)  # fmt: skip


def run_figures(view: RunView) -> tuple[FigureSpec, ...]:
    """Every figure of a run, in the order of the page."""
    return tuple(build(view) for build in FIGURES.values())


def _drawn(view: RunView, metrics: Sequence[str]) -> list[MetricKey]:
    """Series of these metrics, modalities in the run's order, metric by metric."""
    found = []
    for metric in metrics:
        for modality in (*view.modalities, ""):
            key = MetricKey(metric, modality)
            if key in view.curves and len(view.curves[key].step):
                found.append(key)
    return found


def _panel(
    view: RunView, key: str, metrics: Sequence[str], y_label: str, *, title: str = "", scale: str = "linear",
    smooth: bool = True, clip: bool = False, keep: float = 0.9, level: float | None = None,
    neutral_label: str = "", empty: str = "Nothing recorded yet.",
) -> Panel:  # fmt: skip
    meaning = names.metric(metrics[0])
    keys = _drawn(view, metrics)
    lines = [line for found in keys for line in _lines(view, found, smooth=smooth)]
    y_range, note = None, ""
    if clip and keys:
        y_range, note = _clipped(view, keys, keep, meaning.neutral)
    elif key == "direction_cosine" and keys:
        y_range = _cosine_range([view.curves[found].value for found in keys])
    level = meaning.neutral if level is None else level
    return Panel(
        key, label(y_label, meaning.unit), tuple(lines), title, "log" if scale == "log" else "linear",
        y_range, level if neutral_label else None, neutral_label, note, empty,
    )  # fmt: skip


_FUSED_NAMES = {"loss": "total", "task_loss": "task", "direction_loss": "direction term"}


def _lines(view: RunView, key: MetricKey, *, smooth: bool) -> list[Line]:
    """Raw and smoothed line of one series, or the raw one alone."""
    curve = view.curves[key]
    x = view.x(curve)
    # Two fused series in one panel (total and task loss) differ by their dash.
    dash = "dash" if key.metric == "task_loss" else theme.modality_dash(key.modality, view.modalities)
    name = key.modality or _FUSED_NAMES.get(key.metric, "fused")
    colour = theme.modality_colour(key.modality, view.modalities)
    width = 2.2 if not key.modality else 1.8
    if not smooth or view.half_life <= 0:
        few = len(curve.step) <= _MARKER_POINTS
        return [Line(name, x, curve.value, "line", colour, dash, width, name, markers=few)]
    return [
        Line(name, x, curve.value, "raw", colour, width=1.0, group=name, legend=False),
        Line(name, x, curve.smooth, "smooth", colour, dash, width, name),
    ]


def _clipped(
    view: RunView, keys: Sequence[MetricKey], keep: float, neutral: float | None
) -> tuple[tuple[float, float] | None, str]:
    """Robust view of the y axis and the sentence that says what it leaves out."""
    sample = np.concatenate([view.curves[key].sample for key in keys])
    window = robust_window(sample, keep=keep, include=() if neutral is None else (neutral,))
    if window is None:
        return None, ""
    view_range = (window.low, window.high)
    values = np.concatenate([view.curves[key].value for key in keys])
    finite = values[np.isfinite(values)]
    strange = sum(int((~np.isfinite(view.curves[key].sample)).sum()) for key in keys)
    note = ""
    if window.outside > 0 or finite.min() < window.low or finite.max() > window.high:
        # A sample cannot show a rare point; the extremes, which are exact, still say that it is there.
        share = f"{100 * window.outside:.1f} %" if window.outside >= 0.0005 else "Fewer than 0.1 %"
        sampled = sum(view.curves[key].total for key in keys) > len(sample)
        note = (
            f"{'About ' if sampled and window.outside >= 0.0005 else ''}{share} of the points lie outside "
            f"this view; they reach from {finite.min():.4g} to {finite.max():.4g}."
        )
    if strange:
        note = f"{note} {100 * strange / len(sample):.1f} % are not finite and leave gaps.".strip()
    return view_range, note


def _cosine_range(values: Sequence[FloatArray]) -> tuple[float, float]:
    """A view around 0 that shows small cosines as lines, but never blows noise up to the whole height."""
    whole = np.abs(np.concatenate(values))
    reach = min(1.05, max(0.2, 1.1 * float(np.nanmax(whole, initial=0.0, where=np.isfinite(whole)))))
    return -reach, reach


def _shared_range(panels: Sequence[Panel]) -> tuple[float, float] | None:
    """One view for panels that are to be compared, in data units; logarithmic axes only."""
    values = [line.y for panel in panels for line in panel.lines]
    whole = np.concatenate(values) if values else np.empty(0)
    whole = whole[np.isfinite(whole) & (whole > 0)]
    if not len(whole):
        return None
    return float(whole.min()) / 1.3, float(whole.max()) * 1.3


def _figure(view: RunView, key: str, title: str, panels: Sequence[Panel], how_to_read: str) -> FigureSpec:
    return FigureSpec(
        key, title, how_to_read, _alt(view, title, panels), AXIS_LABELS[view.axis], tuple(panels), view.marks,
        view.axis,
    )  # fmt: skip


def _alt(view: RunView, title: str, panels: Sequence[Panel]) -> str:
    """What the figure shows now: every line's newest value."""
    parts = []
    for panel in panels:
        newest = []
        for line in panel.lines:
            finite = np.flatnonzero(np.isfinite(line.y))
            if line.role != "raw" and len(finite):
                newest.append(f"{line.name} {line.y[finite[-1]]:.4g}")
        where = f"{panel.title or panel.y_label}: "
        parts.append(where + (", ".join(newest) if newest else panel.empty))
    return f"{title} by {AXIS_LABELS[view.axis].split(' [')[0].lower()}. Newest values: {'; '.join(parts)}"
