"""Configurations over one another: mean curves with bands over seeds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cggm_core import names
from cggm_core.analysis.comparison import LEVEL, Band, Spread, band
from cggm_core.analysis.series import Axis, FloatArray, robust_window
from cggm_core.analysis.tables import ScoreTable
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel, label
from cggm_core.figures.view import AXIS_LABELS
from cggm_core.names import MetricKey

SPREADS: dict[Spread, str] = {
    "std": "standard deviation",
    "interval": f"{LEVEL:.0%} t interval of the mean",
    "range": "lowest to highest",
}
_MARKER_POINTS = 40
ORDINALS = len(theme.OKABE_ITO)
_KEPT = 0.7  # middle share of the means that decides what most curves need
_FLATTENED = 4.0  # times the height of what most curves need, from which the others are left outside the view
FIRST = 5  # colours of which no two look alike on either page


@dataclass(frozen=True)
class Group:
    """One configuration as drawn.

    Attributes:
        name: in the legend.
        place: decides colour and dash; -1 is the baseline, which stands out.
        members: (x, y) of each run.
        faint: whether it is only the background that others stand out from.
    """

    name: str
    place: int
    members: tuple[tuple[FloatArray, FloatArray], ...]
    faint: bool = False


def places(names: Iterable[str]) -> dict[str, int]:
    """Which colour and dash each configuration has: the first (the baseline) stands out, the others by their names.

    A configuration keeps its colour when others are added or taken away, unless two want the same one: then the one
    later in the alphabet moves on to the next that is free.

    Args:
        names: of the configurations, the baseline first.
    """
    first, *others = names
    taken: set[int] = set()
    made = {first: -1}
    for name in sorted(others):
        wanted = zlib.crc32(name.encode("utf-8", "replace")) % FIRST
        # All different while there are as many colours, those that look alike last; then colour and dash together.
        order = [*((wanted + k) % FIRST for k in range(FIRST)), *range(FIRST, ORDINALS)]
        free = next((place for place in order if place not in taken), len(taken))
        taken.add(free)
        made[name] = free
    return {name: made[name] for name in (first, *others)}


def compared(
    groups: Sequence[Group], key: MetricKey, *, axis: Axis = "step", spread: Spread = "std",
    members: bool = False, note: str = "",
) -> FigureSpec:  # fmt: skip
    """Mean curve and band of every group.

    Args:
        groups: in the order of the legend.
        key: what is drawn.
        axis: how runs are aligned.
        spread: what the band shows.
        members: whether each run is drawn faintly as well.
        note: what the reader must know besides.
    """
    meaning = names.metric(key.metric)
    bands = [(group, band(group.members, spread)) for group in groups]
    behind = [Line(_counted(group, found), found.x, found.mean, "context", theme.NEUTRAL, legend=False)
              for group, found in bands if group.faint]  # fmt: skip
    lines = behind + [line for group, found in bands if not group.faint for line in _lines(group, found, members)]
    title = f"{meaning.label} of {key.modality}" if key.modality else meaning.label
    unsure = meaning.neutral is not None
    y_range, outside = _window(lines, meaning.neutral)
    note = " ".join(text for text in (note, outside) if text)
    panel = Panel(
        str(key), label(meaning.label, meaning.unit), tuple(lines), y_range=y_range,
        neutral=meaning.neutral, neutral_label="neutral" if unsure else "", note=note,
        empty="None of the chosen runs records this.",
    )  # fmt: skip
    better = {"higher": "Higher is better. ", "lower": "Lower is better. "}.get(meaning.direction, "")
    how = (
        f"{better}Each line is the mean over the seeds of one configuration, the area its {SPREADS[spread]}; "
        "one seed has no area. Whether two configurations differ is for the table below to say."
    )
    if behind:
        how = f"{how} Thin grey lines are the {len(behind)} configurations that are not highlighted."
    return FigureSpec(f"compare-{key.metric}", title, how, _alt(title, bands), AXIS_LABELS[axis], (panel,), x_axis=axis)


def _window(lines: Sequence[Line], neutral: float | None) -> tuple[tuple[float, float] | None, str]:
    """A view that a few curves running away do not flatten, and what it leaves out; None where all fit well."""
    values = np.concatenate([line.y for line in lines if line.role != "raw"] or [np.empty(0)])
    found = robust_window(values, keep=_KEPT, include=() if neutral is None else (neutral,))
    if found is None or not found.outside:
        return None, ""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high - low <= _FLATTENED * (found.high - found.low):
        return None, ""
    told = f"{100 * found.outside:.1f} % of the means lie outside this view; they reach from {low:.4g} to {high:.4g}."
    return (found.low, found.high), told


def _lines(group: Group, found: Band, members: bool) -> list[Line]:
    colour = theme.FUSED if group.place < 0 else theme.ordinal_colour(group.place)
    dash = "solid" if group.place < 0 else theme.ordinal_dash(group.place)
    name = _counted(group, found)
    made = []
    if np.isfinite(found.low).any():
        made.append(Line(f"{name}, spread", found.x, found.mean, "band", colour, low=found.low, high=found.high,
                         group=name, legend=False))  # fmt: skip
    if members:
        made += [Line(f"{name}, run {number}", x, y, "raw", colour, width=1.0, group=name, legend=False)
                 for number, (x, y) in enumerate(group.members, start=1)]  # fmt: skip
    few = len(found.x) <= _MARKER_POINTS
    return [*made, Line(name, found.x, found.mean, "line", colour, dash, 2.0, group=name, markers=few)]


def _counted(group: Group, found: Band) -> str:
    return f"{group.name} (n = {int(found.n.max()) if len(found.n) else 0})"


def apart(table: ScoreTable, number: int = 0, *, strong: Sequence[str] = ()) -> FigureSpec:
    """Difference of every configuration to the baseline, a row each, the best mean on top.

    Args:
        table: scores, the baseline first.
        number: column of the table.
        strong: configurations in colour, the baseline first; empty for all of them.
    """
    column, adjusted, place = table.columns[number], table.adjusted(), places(strong or table.rows)
    pairs = {name: pair for name, cells in table.rows.items() if (pair := cells[number].paired) and pair.n}
    sign = -1.0 if column.direction == "lower" else 1.0
    order = sorted(pairs, key=lambda name: -sign * pairs[name].mean)
    lines = [Line("no difference", np.zeros(2), np.array([-0.6, len(order) - 0.4]), "line", theme.NEUTRAL, "dash", 1.2)]
    for row, name in enumerate(order):
        pair = pairs[name]
        colour = theme.ordinal_colour(place[name]) if name in place else theme.NEUTRAL
        seeds = np.asarray(pair.differences)
        lines.append(Line(f"{name}, seeds", seeds, np.full(len(seeds), row + 0.24), "points", theme.NEUTRAL, group=name,
                          legend=False, symbol="cross", told=tuple(f"{name}, seed {seed}: {value:+.4f}"
                          for seed, value in zip(pair.seeds, pair.differences, strict=True))))  # fmt: skip
        if np.isfinite(pair.low):
            ends = np.array([pair.low, pair.high])
            lines.append(Line(f"{name}, interval", ends, np.full(2, float(row)), "line", colour, width=2.4, group=name,
                              legend=False, markers=True))  # fmt: skip
        told = f"{name}: {pair.mean:+.4f}" + (
            f" ({LEVEL:.0%} interval {pair.low:+.4f} to {pair.high:+.4f}; p {pair.p:.3g}, Holm "
            f"{adjusted[name, number]:.3g}; {pair.test})" if np.isfinite(pair.low) else f" ({pair.test})"
        )  # fmt: skip
        lines.append(Line(name, np.array([pair.mean]), np.array([float(row)]), "points", colour, group=name,
                          legend=False, told=(told,)))  # fmt: skip
    better = {"higher": "To the right is better. ", "lower": "To the left is better. "}.get(column.direction, "")
    panel = Panel("difference", "", tuple(lines) if order else (), rows=tuple(order),
                  empty=f"No seed that {table.baseline} and another configuration both have.")  # fmt: skip
    shown = ", ".join(f"{name} {pairs[name].mean:+.4g}" for name in order[:8])
    return FigureSpec(
        "compare-difference", f"{column.label}: difference to {table.baseline}",
        f"{better}Dots are mean differences seed by seed, bars their {LEVEL:.0%} t intervals, crosses single seeds; "
        "a bar that crosses the dashed line leaves open which of the two is better.",
        f"Differences to {table.baseline}: {shown or 'none'}{' and others' if len(order) > 8 else ''}.",
        f"Difference in {column.label.lower()}", (panel,), x_axis="difference",
    )  # fmt: skip


def _alt(title: str, bands: Sequence[tuple[Group, Band]]) -> str:
    told = []
    for group, found in bands:
        finite = np.flatnonzero(np.isfinite(found.mean))
        if len(finite):
            last = finite[-1]
            told.append(f"{group.name} {found.mean[last]:.4g} (n = {found.n[last]})")
    return f"{title}, mean over seeds. Last values: {', '.join(told) or 'none recorded'}."
