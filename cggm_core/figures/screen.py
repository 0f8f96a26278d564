"""Draws a specification as Plotly JSON, for the live component and for HTML exports.

Arrays are float32 (int32 for whole numbers) and at most 2,000 points a trace, drawn as SVG `scatter`: without
a GPU `scattergl` takes ten times as long. Colours stay tokens until `resolved`, because only the browser
knows whether the page is light or dark.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Mark, Panel
from cggm_core.store.downsample import kept_indices

MAX_POINTS = 2000
_LARGEST = float(np.finfo(np.float32).max)
_MARK_TEXT = 300
# What stands over the values of a place on the x axis.
_HOVERED = {"step": "step %{x:,d}", "epoch": "epoch %{x:.4~g}", "seconds": "%{x:,.1f} s"}
_CONTEXT = 0.35
_ROW_LETTERS = 44


def figure(spec: FigureSpec, *, max_points: int = MAX_POINTS) -> dict[str, Any]:
    """`{"data": [...], "layout": {...}}` with numpy arrays inside; same specification, same figure.

    Args:
        spec: what to draw.
        max_points: most points a trace has; extremes are kept.
    """
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    for number, panel in enumerate(spec.panels, start=1):
        for line in panel.lines:
            word = line.group or line.name  # lines without a group are each their own
            first = line.legend and word not in named
            named |= {word} if line.legend else set()
            data += _traces(spec, panel, line, number, first, max_points)
    return {"data": data, "layout": _layout(spec)}


def resolved(drawn: Mapping[str, Any], mode: str = "light") -> dict[str, Any]:
    """A figure with its colour tokens replaced by the colours of "light" or "dark"."""
    tones = theme.TONES[mode]

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return tones.get(value, value)
        if isinstance(value, dict):
            return {key: put(inner) for key, inner in value.items()}
        return [put(inner) for inner in value] if isinstance(value, list) else value

    return dict(put(dict(drawn)))


def to_json(drawn: Mapping[str, Any]) -> str:
    """Canonical JSON: sorted keys, arrays in Plotly's base64 form."""
    return json.dumps(drawn, sort_keys=True, default=_encoded, allow_nan=False)


def compact(values: Sequence[float] | np.ndarray, *, whole: bool = False) -> np.ndarray:
    """Values as the browser gets them: float32, or int32 where they are whole numbers of that range.

    Args:
        values: shape [points]; NaN and infinities become gaps.
        whole: try int32 first (float32 holds whole numbers exactly only up to 16,777,216).
    """
    array = np.asarray(values, np.float64)
    if whole and len(array) and np.all(np.abs(array) < 2**31) and np.all(array == np.floor(array)):
        return array.astype(np.int32)
    return np.where(np.abs(array) <= _LARGEST, array, np.nan).astype(np.float32)


def safe_text(text: str) -> str:
    """Text for a Plotly label, where tags would be markup: shown letter by letter."""
    return html.escape(text.replace("\n", " ")[:_MARK_TEXT], quote=False)


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str[1:], "bdata": base64.b64encode(value.tobytes()).decode()}
    raise TypeError(f"a figure holds numbers, texts and arrays, not {type(value).__name__}")


def _traces(
    spec: FigureSpec, panel: Panel, line: Line, number: int, first: bool, max_points: int
) -> list[dict[str, Any]]:  # fmt: skip
    kept = np.arange(len(line.y))
    if len(line.y) > max_points and line.role != "points":
        kept = kept_indices(kept, line.y, max_points)
    x = compact(line.x[kept], whole=spec.x_axis == "step")
    axes = {"xaxis": _axis("x", number), "yaxis": _axis("y", number)}
    common = {
        "type": "scatter", "x": x, "name": safe_text(line.name), "legendgroup": line.group,
        "uid": _uid(panel.key, line.name, line.role), **axes,
    }  # fmt: skip
    if line.low is not None and line.high is not None:
        return _band(line, common, kept)
    if line.role == "points":
        return [_cloud(line, common, first)]
    if line.role == "context":
        return [{**common, "y": compact(line.y[kept]), "mode": "lines", "opacity": _CONTEXT, "showlegend": False,
                 "line": {"color": theme.NEUTRAL, "width": 1.0},
                 "hovertemplate": f"{safe_text(line.name)}: %{{y:.4g}}<extra></extra>"}]  # fmt: skip
    raw = line.role == "raw"
    unit = f" {safe_text(panel.unit())}" if panel.unit() else ""
    shown = f"%{{y:.4g}}{unit}{' raw' if raw else ' smoothed' if line.role == 'smooth' else ''}"
    made = {
        **common,
        "y": compact(line.y[kept]),
        "mode": "lines+markers" if line.markers else "lines",
        "line": {"color": line.colour, "width": line.width, "dash": "solid" if raw else line.dash},
        "opacity": theme.RAW_OPACITY if raw else 1.0,
        "showlegend": first,
        "hovertemplate": f"{safe_text(line.name)}: {shown}<extra></extra>",
    }
    if line.markers:
        made["marker"] = {"size": 5, "color": line.colour}
    return [made]


def _cloud(line: Line, common: dict[str, Any], first: bool) -> dict[str, Any]:
    """Points that tell something when pointed at; none is left out, for each may be the one looked for."""
    return {
        **common, "y": compact(line.y), "x": compact(line.x), "mode": "markers", "showlegend": first,
        "marker": {"size": 8, "color": line.colour, "symbol": line.symbol, "opacity": 0.75,
                   "line": {"width": 0.6, "color": theme.PAPER}},
        "text": [safe_text(text) for text in line.told], "customdata": list(line.picks),
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _uid(*parts: str) -> str:
    """A lasting name for a trace; Plotly looks it up as a style class, so letters and digits only."""
    return "u" + hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:12]


def _band(line: Line, common: dict[str, Any], kept: np.ndarray) -> list[dict[str, Any]]:
    """A filled area as two edges; the lower fills up to the upper, which stands right before it."""
    assert line.low is not None
    assert line.high is not None
    edge = {
        **common, "mode": "lines", "line": {"width": 0, "color": line.colour}, "showlegend": False,
        "hoverinfo": "skip",
    }  # fmt: skip
    upper = {**edge, "y": compact(line.high[kept]), "uid": f"{common['uid']}high"}
    lower = {
        **edge, "y": compact(line.low[kept]), "uid": f"{common['uid']}low", "fill": "tonexty",
        "fillcolor": theme.faded(line.colour),
    }  # fmt: skip
    return [upper, lower]


def _layout(spec: FigureSpec) -> dict[str, Any]:
    count = len(spec.panels)
    layout: dict[str, Any] = {
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": theme.TEXT, "size": 12}, "margin": {"l": 54, "r": 10, "t": 30, "b": 42},
        "hovermode": "closest" if _pointed(spec) else "x unified",
        "hoverlabel": {"font": {"size": 11}}, "uirevision": "keep",
        "legend": {
            "orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom",
            "uirevision": "keep", "bgcolor": "rgba(0,0,0,0)", "font": {"size": 11}, "groupclick": "togglegroup",
        },
        "shapes": [], "annotations": [], "showlegend": True, "dragmode": "zoom",
    }  # fmt: skip
    for number, panel in enumerate(spec.panels, start=1):
        top = 1 - (number - 1) / count
        low, high = (0.045 if number < count else 0), (0.045 if number > 1 else 0)
        domain = [round(top - 1 / count + low, 4), round(top - high, 4)]
        layout[_axis("xaxis", number)] = _x_axis(spec, number, count)
        layout[_axis("yaxis", number)] = _y_axis(panel, domain)
        if spec.x_axis == "map":
            layout[_axis("yaxis", number)] |= {"showticklabels": False, "scaleanchor": "x"}
        layout["shapes"] += _shapes(spec.marks, panel, number)
        layout["annotations"] += _annotations(spec.marks, panel, number, domain)
    return layout


def _pointed(spec: FigureSpec) -> bool:
    """Whether one thing is told at a time: at most of these places stands one thing, or far too many."""
    return spec.x_axis == "map" or any(
        panel.rows or any(line.role == "context" for line in panel.lines) for panel in spec.panels
    )


def _axis(kind: str, number: int) -> str:
    return kind if number == 1 else f"{kind}{number}"


def _x_axis(spec: FigureSpec, number: int, count: int) -> dict[str, Any]:
    bottom = number == count
    made: dict[str, Any] = {
        "anchor": _axis("y", number), "gridcolor": theme.GRID, "zeroline": False, "showticklabels": bottom,
        "linecolor": theme.GRID, "uirevision": spec.x_axis, "autorange": True,
    }  # fmt: skip
    if spec.x_axis in _HOVERED:
        made["unifiedhovertitle"] = {"text": _HOVERED[spec.x_axis]}
    if bottom:
        made["title"] = {"text": spec.x_label, "standoff": 8}
    if number > 1:
        made["matches"] = "x"
    if spec.x_axis == "map":
        made["showticklabels"] = False
    if not any(len(line.x) for panel in spec.panels for line in panel.lines):
        made |= {"autorange": False, "range": [0, 1], "showticklabels": False}
    return made


def _y_axis(panel: Panel, domain: list[float]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "domain": domain, "gridcolor": theme.GRID, "zeroline": False, "type": panel.scale,
        "title": {"text": panel.y_label, "standoff": 6}, "automargin": False, "tickformat": "~g", "nticks": 6,
        "autorange": True,
    }  # fmt: skip
    if panel.scale == "log":
        made |= {"dtick": 1, "exponentformat": "power", "tickformat": ""}
    if panel.y_range is not None:
        low, high = panel.y_range
        if panel.scale == "log":
            low, high = np.log10(low), np.log10(high)
            made["dtick"] = max(1, round((high - low) / 5))
        made |= {"range": [round(float(low), 6), round(float(high), 6)], "autorange": False}
    if panel.rows:
        made |= {"automargin": True, "tickmode": "array", "tickvals": list(range(len(panel.rows))), "tickformat": "",
                 "ticktext": [safe_text(_short(name)) for name in panel.rows], "autorange": False,
                 "range": [len(panel.rows) - 0.4, -0.6]}  # fmt: skip
    if not panel.points():
        made |= {"showticklabels": False, "range": [0, 1], "autorange": False, "type": "linear"}
    return made


def _short(name: str) -> str:
    return name if len(name) <= _ROW_LETTERS else f"{name[: _ROW_LETTERS - 1].rstrip()}…"


def _shapes(marks: Sequence[Mark], panel: Panel, number: int) -> list[dict[str, Any]]:
    x, y = _axis("x", number), _axis("y", number)
    made: list[dict[str, Any]] = []
    if panel.neutral is not None and panel.points():
        line = {"color": theme.NEUTRAL, "width": 1.2, "dash": "dash"}
        made.append({"type": "line", "name": panel.neutral_label, "layer": "below",
                     "showlegend": bool(panel.neutral_label),
                     "xref": f"{x} domain", "x0": 0, "x1": 1,
                     "yref": y, "y0": panel.neutral, "y1": panel.neutral, "line": line})  # fmt: skip
    return made + [_event_line(mark, x, y) for mark in marks]


def _event_line(mark: Mark, x: str, y: str) -> dict[str, Any]:
    colour = theme.WARNING if mark.warning else theme.EVENT
    return {
        "type": "line", "name": f"event {safe_text(mark.kind)}", "layer": "below", "xref": x, "x0": mark.x,
        "x1": mark.x, "yref": f"{y} domain", "y0": 0, "y1": 1,
        "line": {"color": colour, "width": 1.1, "dash": "dot"},
    }  # fmt: skip


def _annotations(marks: Sequence[Mark], panel: Panel, number: int, domain: list[float]) -> list[dict[str, Any]]:
    x, y = _axis("x", number), _axis("y", number)
    inside = {"xref": f"{x} domain", "yref": f"{y} domain", "showarrow": False}
    made: list[dict[str, Any]] = []
    if panel.message():
        made.append({**inside, "x": 0.5, "y": 0.5, "text": panel.message(), "font": {"color": theme.NEUTRAL}})
    if panel.title:
        made.append({**inside, "x": 0.995, "y": 0.99, "xanchor": "right", "yanchor": "top", "text": panel.title,
                     "font": {"color": theme.NEUTRAL, "size": 11}})  # fmt: skip
    return made + [_event_handle(mark, x, domain[1]) for mark in marks if number == 1]


def _event_handle(mark: Mark, x: str, top: float) -> dict[str, Any]:
    """A mark to point at: it tells the event."""
    return {
        "xref": x, "x": mark.x, "yref": "paper", "y": top, "yanchor": "top", "showarrow": False, "text": "▼",
        "hovertext": f"{safe_text(mark.kind)}: {safe_text(mark.text)}",
        "font": {"size": 13, "color": theme.WARNING if mark.warning else theme.EVENT},
    }  # fmt: skip
