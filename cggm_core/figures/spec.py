"""What a figure shows, said once: the screen and the print renderer both draw exactly this.

Every array is in data units; the table of a figure holds the numbers drawn and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cggm_core.analysis.series import FloatArray
from cggm_core.figures import theme

Role = Literal["raw", "smooth", "line", "band", "points", "context"]
Scale = Literal["linear", "log"]
NOTHING: FloatArray = np.empty(0)


@dataclass(frozen=True)
class Line:
    """One series as drawn.

    Attributes:
        name: in the legend.
        x, y: shape [points]; NaN breaks the line. For a band, y is its middle.
        role: raw (faint), smooth or line (strong), band (a filled area from `low` to `high`), points (a cloud), context
            (thin and grey, named when pointed at: what the others stand out from).
        colour: a hexadecimal colour or a token of `theme`.
        dash: one of `theme.DASHES`.
        width: in points.
        group: lines of one group are hidden and shown together.
        legend: whether the legend names it.
        low, high: edges of a band, shape [points].
        markers: whether the points themselves are drawn (few points, or points far apart).
        symbol: shape of a cloud's points: circle, diamond or cross.
        told: what each point of a cloud says when pointed at, one a point.
        picks: what a click on each point of a cloud reports, one a point; a step, say.
    """

    name: str
    x: FloatArray
    y: FloatArray
    role: Role = "line"
    colour: str = theme.FUSED
    dash: str = "solid"
    width: float = 1.8
    group: str = ""
    legend: bool = True
    low: FloatArray | None = None
    high: FloatArray | None = None
    markers: bool = False
    symbol: str = "circle"
    told: tuple[str, ...] = ()
    picks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A vertical line at an event.

    Attributes:
        x: place on the x axis.
        kind: the event's kind; a warning is drawn in the warning colour.
        text: what happened, in words; may be a user's.
        warning: whether it is a warning.
    """

    x: float
    kind: str
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        key: names it in exports.
        y_label: with its unit.
        lines: in the order drawn.
        title: above the panel; "" where the figure's title says it all.
        scale: of the y axis.
        y_range: view of the y axis, None for all.
        neutral: value of the line that means "nothing happens", None for none.
        neutral_label: what that line means.
        note: what the reader must know of this panel, such as points outside the view.
        empty: what to say where there is nothing to draw.
        rows: names in place of a scale: y counts them from 0 at the top.
    """

    key: str
    y_label: str
    lines: tuple[Line, ...]
    title: str = ""
    scale: Scale = "linear"
    y_range: tuple[float, float] | None = None
    neutral: float | None = None
    neutral_label: str = ""
    note: str = ""
    empty: str = "Nothing recorded yet."
    rows: tuple[str, ...] = ()

    def points(self) -> int:
        """Finite points there are to draw."""
        return sum(int(np.isfinite(line.y).sum()) for line in self.lines)

    def unit(self) -> str:
        """Unit of the y axis, as its label has it; "" without one."""
        return self.y_label.rpartition("[")[2][:-1] if self.y_label.endswith("]") else ""

    def message(self) -> str:
        """What to say instead of, or beside, a curve: "" when there are two points or more."""
        if self.points() == 0:
            return self.empty
        longest = max(int(np.isfinite(line.y).sum()) for line in self.lines)
        return "One point so far." if longest == 1 else ""


@dataclass(frozen=True)
class FigureSpec:
    """A figure.

    Attributes:
        key: names it in exports and on the page.
        title: what it shows.
        how_to_read: one sentence.
        alt: what it shows now, in words and numbers, for those who do not see it.
        x_label: with its unit.
        panels: from top to bottom, sharing the x axis.
        marks: events, drawn on every panel.
        x_axis: which axis it is; a zoom belongs to it. The word "map" means two axes of one scale without
            numbers, since distances alone have a meaning.
    """

    key: str
    title: str
    how_to_read: str
    alt: str
    x_label: str
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...] = ()
    x_axis: str = "step"

    def notes(self) -> tuple[str, ...]:
        """What the reader must know, panel by panel."""
        return tuple(panel.note for panel in self.panels if panel.note)

    def table(self) -> pd.DataFrame:
        """The numbers drawn: panel, series, role, x, y, and low and high where there are bands."""
        parts = []
        for panel in self.panels:
            for line in panel.lines:
                part = {"panel": panel.key, "series": line.name, "role": line.role, "x": line.x, "y": line.y}
                if line.low is not None and line.high is not None:
                    part |= {"low": line.low, "high": line.high}
                parts.append(pd.DataFrame(part))
        filled = [part for part in parts if len(part)]
        if not filled:
            return pd.DataFrame(columns=["panel", "series", "role", "x", "y"])
        return pd.concat(filled, ignore_index=True)


def label(text: str, unit: str) -> str:
    """An axis label with its unit."""
    return f"{text} [{unit}]" if unit else text
