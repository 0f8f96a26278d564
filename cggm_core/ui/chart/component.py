"""Mounts the live chart in a Streamlit page.

Why a component: `st.plotly_chart` of Streamlit 1.67 makes a new chart of every change of data and forgets
zoom and hidden lines; tests/browser/test_chart.py shows that this one does not. plotly.js comes from the
installed plotly package, so nothing is fetched from elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import plotly
import streamlit as st
from streamlit.components.v1 import declare_component

from cggm_core.figures import screen, theme
from cggm_core.figures.spec import FigureSpec
from cggm_core.ui.chart.delta import Picture, message

_HERE = Path(__file__).parent
_HTML = '<div class="cggm-chart"><div class="cggm-plot"></div><p class="cggm-chart-error" hidden></p></div>'


def live_chart(
    spec: FigureSpec, *, key: str, height: int = 320, link: str = "", max_points: int = screen.MAX_POINTS,
    on_pick: Callable[[int], None] | None = None, picture: Picture | None = None,
    on_view: Callable[[tuple[float, float] | None], None] | None = None,
) -> int:  # fmt: skip
    """Draw a figure that keeps its zoom, its hidden lines and its place while its data changes.

    Args:
        spec: what to draw.
        key: names this chart on the page, constant over refreshes.
        height: in pixels.
        link: charts of one page with the same word share their x range; "" stands alone.
        max_points: most points a trace.
        on_pick: called before the page runs again with what a clicked point of a cloud reports.
        picture: of what `screen.figure` makes of it, where that was done already; None does it here.
        on_view: called before the page runs again with the x range a person chose, None for all of it; a page
            that can draw that part in more detail asks for it.

    Returns:
        Bytes of data sent for this refresh.
    """
    state = _state(key)
    picture = picture or Picture.of(screen.figure(spec, max_points=max_points))
    data, state["sent"] = message(picture, state["sent"], whole=state["resend"])
    state["resend"] = False
    page = {
        "script": _script_url(), "height": height, "link": link, "alt": spec.alt, "tones": theme.TONES,
        "file": f"cggm-{spec.key}", "tell": on_view is not None,
    }  # fmt: skip
    # As bytes the payload is neither parsed nor sorted again by Streamlit on its way.
    payload = f'{{"figure":{data},"page":{json.dumps(page)}}}'.encode()
    _component()(key=key, data=payload, height=height, on_resend_change=lambda: _resend(state, on_view),
                 on_picked_change=lambda: _picked(key, on_pick),
                 on_view_change=lambda: _viewed(key, on_view))  # fmt: skip
    return len(payload)


def _picked(key: str, on_pick: Callable[[int], None] | None) -> None:
    said = st.session_state[key].get("picked")
    if on_pick is not None and isinstance(said, int):
        on_pick(said)


def _resend(state: dict[str, Any], on_view: Callable[[tuple[float, float] | None], None] | None) -> None:
    state["resend"] = True
    if on_view is not None:
        on_view(None)  # a chart that begins anew shows everything


def _viewed(key: str, on_view: Callable[[tuple[float, float] | None], None] | None) -> None:
    said: Any = (st.session_state[key].get("view") or {}).get("range")
    if on_view is None:
        return
    try:
        low, high = (float(edge) for edge in said)
        on_view((low, high) if math.isfinite(low) and math.isfinite(high) else None)
    except (TypeError, ValueError):  # no range, or one of dates and words
        on_view(None)


def _state(key: str) -> dict[str, Any]:
    """What this session's browser was told of this chart."""
    fresh: dict[str, Any] = {"sent": None, "resend": False}
    states = st.session_state.setdefault("_live_charts", {})
    found: dict[str, Any] = states.setdefault(key, fresh)
    sent = found["sent"]
    assert sent is None or isinstance(sent, Picture)
    return found


@cache
def _component() -> Callable[..., Any]:
    # Plotly puts its styles into the document's head, which a shadow root would hide from it.
    return st.components.v2.component(
        "cggm_live_chart",
        html=_HTML,
        css=(_HERE / "chart.css").read_text(encoding="utf-8"),
        js=(_HERE / "chart.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )


def _script_url() -> str:
    """Address of plotly.js on this server.

    Declaring a component of the older kind is Streamlit's public way of serving a package's own folder; it
    registers only inside a running page, so it is said again on every refresh (a dictionary look-up).
    """
    served = declare_component("plotly_js", path=str(Path(plotly.__file__).parent / "package_data"))
    base = str(st.get_option("server.baseUrlPath")).strip("/")
    prefix = f"/{base}" if base else ""
    return f"{prefix}/component/{served.name}/plotly.min.js?v={plotly.__version__}"
