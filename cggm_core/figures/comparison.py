"""Configurations over one another: mean curves with bands over seeds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cggm_core import names
from cggm_core.analysis.comparison import LEVEL, Band, Spread, band
from cggm_core.analysis.series import Axis, FloatArray
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


@dataclass(frozen=True)
class Group:
    """One configuration as drawn.

    Attributes:
        name: in the legend.
        place: decides colour and dash; -1 is the baseline, which stands out.
        members: (x, y) of each run.
    """

    name: str
    place: int
    members: tuple[tuple[FloatArray, FloatArray], ...]


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
        wanted = zlib.crc32(name.encode("utf-8", "replace")) % ORDINALS
        # All different while there are as many colours; afterwards colour and dash together.
        free = next((p for k in range(ORDINALS) if (p := (wanted + k) % ORDINALS) not in taken), len(taken))
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
    lines = [line for group, found in bands for line in _lines(group, found, members)]
    title = f"{meaning.label} of {key.modality}" if key.modality else meaning.label
    unsure = meaning.neutral is not None
    panel = Panel(
        str(key), label(meaning.label, meaning.unit), tuple(lines),
        neutral=meaning.neutral, neutral_label="neutral" if unsure else "", note=note,
        empty="None of the chosen runs records this.",
    )  # fmt: skip
    better = {"higher": "Higher is better. ", "lower": "Lower is better. "}.get(meaning.direction, "")
    how = (
        f"{better}Each line is the mean over the seeds of one configuration, the area its {SPREADS[spread]}; "
        "one seed has no area. Whether two configurations differ is for the table below to say."
    )
    return FigureSpec(f"compare-{key.metric}", title, how, _alt(title, bands), AXIS_LABELS[axis], (panel,), x_axis=axis)


def _lines(group: Group, found: Band, members: bool) -> list[Line]:
    colour = theme.FUSED if group.place < 0 else theme.ordinal_colour(group.place)
    dash = "solid" if group.place < 0 else theme.ordinal_dash(group.place)
    n = int(found.n.max()) if len(found.n) else 0
    name = f"{group.name} (n = {n})"
    made = []
    if np.isfinite(found.low).any():
        made.append(Line(f"{name}, spread", found.x, found.mean, "band", colour, low=found.low, high=found.high,
                         group=name, legend=False))  # fmt: skip
    if members:
        made += [Line(f"{name}, run {number}", x, y, "raw", colour, width=1.0, group=name, legend=False)
                 for number, (x, y) in enumerate(group.members, start=1)]  # fmt: skip
    few = len(found.x) <= _MARKER_POINTS
    return [*made, Line(name, found.x, found.mean, "line", colour, dash, 2.0, group=name, markers=few)]


def _alt(title: str, bands: Sequence[tuple[Group, Band]]) -> str:
    told = []
    for group, found in bands:
        finite = np.flatnonzero(np.isfinite(found.mean))
        if len(finite):
            last = finite[-1]
            told.append(f"{group.name} {found.mean[last]:.4g} (n = {found.n[last]})")
    return f"{title}, mean over seeds. Last values: {', '.join(told) or 'none recorded'}."
