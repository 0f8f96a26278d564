"""The paper's Fig. 5: a score over the values of one knob, beside joint training, with the spread over seeds."""

from __future__ import annotations

import math

import numpy as np

from cggm_core import names
from cggm_core.analysis.ablation import JOINT, SYMBOLS
from cggm_core.analysis.ablation_tables import Sweep
from cggm_core.analysis.comparison import LEVEL, Sample, sample
from cggm_core.analysis.series import FloatArray
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel, label

_KNOBS = {"rho": "ρ, scale of the coefficient", "lam": "λ, weight of the direction loss"}
_NAME, _CGGM = "CGGM", theme.ordinal_colour(0)


def swept(sweep: Sweep) -> FigureSpec:
    """Above: the score at each value and joint training as a band. Below: the difference to joint, paired by seed.

    Args:
        sweep: as `analysis.ablation_tables.swept` gives it.
    """
    meaning = names.metric(sweep.key.metric)
    x = np.array(sweep.values)
    found = [sample(list(scores.values())) for scores in sweep.scores]
    unit = label(meaning.label, meaning.unit)
    shown = Panel("score", unit, (*_joint(sweep, x), *_points(sweep, x, found)), empty=_nothing(sweep))
    apart = Panel(
        "difference", "difference to joint", _difference(sweep, x), neutral=0.0, neutral_label="no difference",
        note=_incomplete(sweep), empty="No seed that both a value and joint training have finished.",
    )  # fmt: skip
    better = "Higher is better. " if meaning.direction == "higher" else "Lower is better. "
    how = (
        f"{better}Above, each value's mean over seeds with a bar of one standard deviation up and down, every run as a "
        f"cross, and joint training as the grey band; below, the mean difference seed by seed with its {LEVEL:.0%} t "
        "interval. Whether a value differs from joint training is for the test below to say."
    )
    return FigureSpec(
        f"ablation-{sweep.knob}", f"{meaning.label} over {SYMBOLS[sweep.knob]}", how, _alt(sweep, found),
        _KNOBS[sweep.knob], (shown, apart), x_axis=sweep.knob,
    )  # fmt: skip


def _joint(sweep: Sweep, x: FloatArray) -> list[Line]:
    joint = sample(list(sweep.joint.values()))
    if not joint.n or not len(x):
        return []
    ends = np.array([x[0], x[-1]])
    name, mean = f"joint (n = {joint.n})", np.full(2, joint.mean)
    low, high = np.full(2, joint.mean - joint.std), np.full(2, joint.mean + joint.std)
    band = [Line(f"{name}, standard deviation", ends, mean, "band", theme.FUSED, low=low, high=high, group=name,
                 legend=False)] if joint.n > 1 else []  # fmt: skip
    return [*band, Line(name, ends, mean, "line", theme.FUSED, "dash", group=name)]


def _points(sweep: Sweep, x: FloatArray, found: list[Sample]) -> list[Line]:
    mean, std = np.array([one.mean for one in found]), np.array([one.std for one in found])
    made = _barred(x, mean, mean - std, mean + std, "standard deviation")
    single = [(value, seed, score) for value, scores in zip(sweep.values, sweep.scores, strict=True)
              for seed, score in scores.items()]  # fmt: skip
    if not single:
        return made
    symbol = SYMBOLS[sweep.knob]
    crosses = Line(
        "single runs", np.array([value for value, _, _ in single]), np.array([score for _, _, score in single]),
        "points", theme.NEUTRAL, group="single runs", symbol="cross",
        told=tuple(f"{symbol} = {value:g}, seed {seed}: {score:.4g}" for value, seed, score in single),
    )  # fmt: skip
    return [crosses, *made]


def _difference(sweep: Sweep, x: FloatArray) -> tuple[Line, ...]:
    pairs = [cells[0].paired for name, cells in sweep.table.rows.items() if name != sweep.table.baseline]
    mean, low, high = (
        np.array([math.nan if pair is None else getattr(pair, part) for pair in pairs], np.float64)
        for part in ("mean", "low", "high")
    )
    return tuple(_barred(x, mean, low, high, f"{LEVEL:.0%} interval"))


def _barred(x: FloatArray, mean: FloatArray, low: FloatArray, high: FloatArray, what: str) -> list[Line]:
    """A line through neighbouring values, broken where one is missing, and a bar at each value with a spread."""
    sure = np.isfinite(low)
    gaps = np.full(int(sure.sum()), np.nan)
    bar_x = np.column_stack([x[sure], x[sure], gaps]).ravel()
    bar_y = np.column_stack([low[sure], high[sure], gaps]).ravel()
    made = [Line(_NAME, x, mean, "line", _CGGM, markers=True, group=_NAME)]
    if sure.any():
        made.append(Line(f"{_NAME}, {what}", bar_x, bar_y, "line", _CGGM, width=1.4, group=_NAME, legend=False))
    return made


def _incomplete(sweep: Sweep) -> str:
    symbol = SYMBOLS[sweep.knob]
    empty = [f"{value:g}" for value, scores in zip(sweep.values, sweep.scores, strict=True) if not scores]
    most = max((len(scores) for scores in sweep.scores), default=0)
    fewer = [f"{value:g} ({len(scores)} of {most})" for value, scores in zip(sweep.values, sweep.scores, strict=True)
             if 0 < len(scores) < most]  # fmt: skip
    told = [f"No finished run yet at {symbol} = {', '.join(empty)}."] if empty and most else []
    told += [f"Fewer seeds at {symbol} = {', '.join(fewer)}."] if fewer else []
    told += [f"No finished run of {JOINT} to compare with."] if not sweep.joint and most else []
    return " ".join(told)


def _nothing(sweep: Sweep) -> str:
    return f"No finished run at any of these values of {SYMBOLS[sweep.knob]}."


def _alt(sweep: Sweep, found: list[Sample]) -> str:
    name = names.metric(sweep.key.metric).label
    symbol = SYMBOLS[sweep.knob]
    told = [f"{symbol} = {value:g}: {one.mean:.4g} (n = {one.n})"
            for value, one in zip(sweep.values, found, strict=True) if one.n]  # fmt: skip
    joint = sample(list(sweep.joint.values()))
    beside = f" Joint training: {joint.mean:.4g} (n = {joint.n})." if joint.n else ""
    return f"{name} over {symbol}, mean over seeds: {', '.join(told) or 'nothing finished yet'}.{beside}"
