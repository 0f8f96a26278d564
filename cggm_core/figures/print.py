"""Draws a specification on paper with matplotlib: vector PDF and SVG, PNG, the same bytes when repeated.

Why not the browser: this takes a third of a second, needs no Chromium, keeps text as text with embedded
TrueType fonts, and carries no date.
"""

from __future__ import annotations

import io
import textwrap
from functools import cache
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter, NullFormatter

from cggm_core.errors import ConfigError
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel

Format = Literal["pdf", "svg", "png"]
WIDTHS = {"column": 3.4, "page": 7.0}
DPI = 300
_LETTERS_PER_INCH = 19
_HANDLE, _LETTER = 0.5, 0.062  # inches of a legend's entry: its line with the space around, and a letter
_NAME_LETTERS = 44  # of a name in the legend, which a column of a paper holds
_LEGEND_LINE = 0.15
_NAME_SHARE = 0.45  # of the width, at most, for names of rows
_ROW = 0.17  # inches a named row
_DASHES: dict[str, Any] = {
    "solid": "solid", "dash": (0, (5, 2)), "dot": (0, (1.2, 1.6)), "dashdot": (0, (6, 2, 1.2, 2)),
    "longdash": (0, (9, 2.5)), "longdashdot": (0, (9, 2.5, 1.2, 2.5)),
}  # fmt: skip
_SYMBOLS = {"circle": "o", "diamond": "D", "cross": "P"}
_STYLE: dict[str, Any] = {
    "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "cggm-lab",
    "font.family": "DejaVu Sans", "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "axes.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "grid.linewidth": 0.4, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "text.usetex": False, "text.parse_math": False, "axes.unicode_minus": False,
    "path.simplify": False,
}  # fmt: skip
# Dates and versions would make every export differ.
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"Creator": "CGGM Lab", "Producer": "matplotlib", "CreationDate": None},
    "svg": {"Date": None, "Creator": "CGGM Lab"},
    "png": {"Software": "CGGM Lab"},
}


def rendered(spec: FigureSpec, form: Format = "pdf", *, width: float = WIDTHS["column"]) -> bytes:
    """The figure as a file.

    Args:
        spec: what to draw, the same that the screen draws.
        form: pdf and svg are vector with text as text; png has 300 dots an inch.
        width: in inches at final size: 3.4 is a paper's column, 7.0 its page.

    Raises:
        ConfigError: for another format or a width below 1 or above 40 inches.
    """
    if form not in _METADATA:
        raise ConfigError(f"a figure is printed as pdf, svg or png, not {form!r}")
    if not 1.0 <= width <= 40.0:
        raise ConfigError(f"a figure is 1 to 40 inches wide, not {width!r}; a column is 3.4, a page 7.0")
    with rc_context(_STYLE):  # type: ignore[arg-type]
        page = _drawn(spec, width)
        file = io.BytesIO()
        page.savefig(file, format=form, dpi=DPI, metadata=_METADATA[form])
    return file.getvalue()


def printable(text: str, limit: int = 200) -> str:
    """Text as the printed font can set it: on one line, a hollow square for what it has no shape for.

    Control and direction characters are dropped: SVG forbids some of them, and others would turn text around.
    """
    shapes = _shapes()
    kept = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return "".join(c if ord(c) in shapes else "\N{WHITE SQUARE}" for c in kept[:limit])


def _entry(name: str) -> str:
    """A name in the legend; matplotlib would leave out one that begins with an underscore."""
    text = _shortened(printable(name), _NAME_LETTERS)
    return f" {text}" if text.startswith("_") else text


def _shortened(text: str, limit: int) -> str:
    """A text's beginning and end: names of configurations often differ in their last setting alone."""
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end - 1]}…{text[-end:]}"


@cache
def _shapes() -> frozenset[int]:
    return frozenset(get_font(findfont(_STYLE["font.family"])).get_charmap())


def _drawn(spec: FigureSpec, width: float) -> Figure:
    count = len(spec.panels)
    height = width * (0.7 if count == 1 else 0.5 * count) if width < 5 else (2.4 if count == 1 else 1.9 * count)
    height = max(height, 1.2 + _ROW * max((len(panel.rows) for panel in spec.panels), default=0))
    page = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(page)
    all_axes = page.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, spec.panels, strict=True):
        _panel(axes, panel, spec, width)
        if panel.note:
            # A view that leaves points out must say so on paper too.
            note = textwrap.fill(printable(panel.note, 400), int(width * _LETTERS_PER_INCH))
            axes.set_title(note, loc="left", fontsize=6)
    all_axes[-1].set_xlabel(printable(spec.x_label))
    if spec.x_axis == "map":
        for axes in all_axes:
            axes.set_aspect("equal", adjustable="datalim")
            axes.tick_params(labelbottom=False, labelleft=False)
    shown: dict[str, Any] = {}
    for axes in all_axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(name, handle)
    if shown:
        longest = max(map(len, shown))
        columns = max(1, int((width - 0.1) / (_HANDLE + _LETTER * longest)))
        # A legend of many lines takes its room from the paper, never from the picture.
        page.set_size_inches(width, height + _LEGEND_LINE * max(0, -(-len(shown) // columns) - 2))
        page.legend(list(shown.values()), list(shown), loc="outside upper left", ncols=min(len(shown), columns, 5),
                    frameon=False, handlelength=2.4, columnspacing=1.2)  # fmt: skip
    return page


def _panel(axes: Axes, panel: Panel, spec: FigureSpec, width: float) -> None:
    tones = theme.TONES["light"]
    axes.grid(True, color=tones[theme.GRID])
    axes.set_axisbelow(True)
    axes.set_ylabel(printable(panel.y_label))
    if panel.points():
        axes.set_yscale(panel.scale)
        if panel.scale == "log":
            # The usual formatter writes formulas, and formulas stay off so that names are printed as they are.
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        for line in panel.lines:
            _line(axes, line)
        if panel.rows:
            letters = int(_NAME_SHARE * width / _LETTER)
            axes.set_yticks(range(len(panel.rows)), [_shortened(printable(n), letters) for n in panel.rows])
            axes.set_ylim(len(panel.rows) - 0.4, -0.6)
        if panel.y_range is not None and spec.x_axis != "map":  # a map's axes have one scale and show every point
            axes.set_ylim(*panel.y_range)
        if panel.neutral is not None:
            axes.axhline(
                panel.neutral,
                color=tones[theme.NEUTRAL],
                linewidth=0.8,
                linestyle=(0, (4, 2)),
                zorder=1,
                label=printable(panel.neutral_label),
            )
        edges = axes.get_xlim()
        for mark in spec.marks:
            colour = tones[theme.WARNING if mark.warning else theme.EVENT]
            axes.axvline(mark.x, color=colour, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=1)
        if spec.marks:
            axes.set_xlim(edges)
    if panel.message():
        axes.text(0.5, 0.5, printable(panel.message()), transform=axes.transAxes, ha="center", va="center",
                  color=tones[theme.NEUTRAL])  # fmt: skip
    if panel.title:
        axes.text(0.99, 0.97, printable(panel.title), transform=axes.transAxes, ha="right", va="top", fontsize=7,
                  color=tones[theme.NEUTRAL])  # fmt: skip


def _line(axes: Axes, line: Line) -> None:
    colour = theme.TONES["light"].get(line.colour, line.colour)
    # A line of a logarithmic axis and float noise must not raise; what cannot be drawn is a gap.
    y = np.where(np.isfinite(line.y), line.y, np.nan)
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=theme.BAND_OPACITY, linewidth=0)
        return
    if line.role == "context":
        axes.plot(line.x, y, color=theme.TONES["light"][theme.NEUTRAL], alpha=0.35, linewidth=0.4, zorder=1)
        return
    if line.role == "points":
        axes.plot(
            line.x, y, linestyle="none", marker=_SYMBOLS[line.symbol], markersize=3, color=colour, alpha=0.75,
            markeredgewidth=0, label=_entry(line.name) if line.legend else None,
        )  # fmt: skip
        return
    raw = line.role == "raw"
    axes.plot(
        line.x, y, color=colour, alpha=theme.RAW_OPACITY if raw else 1.0, linewidth=0.5 if raw else 0.6 * line.width,
        linestyle="solid" if raw else _DASHES[line.dash], marker="o" if line.markers else None, markersize=2.2,
        label=_entry(line.name) if line.legend else None,
    )  # fmt: skip
