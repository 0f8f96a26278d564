"""A figure on a page: title, live chart, how to read it, and its export out of the way."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cggm_core.figures.print import WIDTHS, Format, rendered
from cggm_core.figures.report import figure_csv, figure_parquet
from cggm_core.figures.spec import FigureSpec
from cggm_core.ui.chart import Picture, live_chart
from cggm_core.ui.safe import md, plain

PANEL_HEIGHT = 300
STACKED_HEIGHT = 420
# A chart beside another is some 600 pixels wide; two points a pixel show all there is to see.
BESIDE_POINTS = 1000


def figure_card(
    spec: FigureSpec, *, key: str, link: str = "", height: int = 0, max_points: int = BESIDE_POINTS,
    on_pick: Callable[[int], None] | None = None, picture: Picture | None = None,
    on_view: Callable[[tuple[float, float] | None], None] | None = None,
) -> int:  # fmt: skip
    """One figure in its frame.

    Args:
        spec: what to draw.
        key: constant over refreshes.
        link: charts of the same word share their x range.
        height: of the chart in pixels; 0 takes what suits the number of panels.
        max_points: most points a trace.
        on_pick: called with what a clicked point of a cloud reports.
        picture: of the figure, where it is drawn already; None draws it.
        on_view: as of `live_chart`.

    Returns:
        Bytes of data sent for this refresh.
    """
    tall = height or (PANEL_HEIGHT if len(spec.panels) == 1 else STACKED_HEIGHT)
    with st.container(border=True, gap="xsmall"):
        head = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
        head.markdown(f"**{md(spec.title)}**")
        with head:
            _export(spec, key)
        sent = live_chart(
            spec, key=key, height=tall, link=link, max_points=max_points, on_pick=on_pick, picture=picture,
            on_view=on_view,
        )  # fmt: skip
        notes = "".join(f" **{md(note)}**" for note in spec.notes())
        st.caption(md(spec.how_to_read, 400) + notes)
    return sent


def _export(spec: FigureSpec, key: str) -> None:
    """Downloads, made when clicked; the buttons exist only while the menu is open."""
    menu = st.popover(
        "Save", icon=":material/download:", type="tertiary", key=f"{key}.export", on_change="rerun",
        help=f"Save {plain(spec.title).lower()}",
    )  # fmt: skip
    if not menu.open:
        return
    with menu:
        width = st.segmented_control(
            "Width on paper", list(WIDTHS), default="column", key=f"{key}.width", required=True,
            format_func=lambda name: f"{name}, {WIDTHS[name]} in",
        )  # fmt: skip
        forms: tuple[tuple[Format, str], ...] = (
            ("pdf", "application/pdf"), ("svg", "image/svg+xml"), ("png", "image/png"),
        )  # fmt: skip
        for form, mime in forms:
            _button(
                form.upper(),
                lambda form=form: rendered(spec, form, width=WIDTHS[width or "column"]),
                f"cggm-{spec.key}.{form}",
                mime,
                f"{key}.{form}",
            )  # type: ignore[misc]
        _button("CSV of the numbers drawn", lambda: figure_csv(spec), f"cggm-{spec.key}.csv", "text/csv", f"{key}.csv")
        _button("Parquet of the same", lambda: figure_parquet(spec), f"cggm-{spec.key}.parquet",
                "application/vnd.apache.parquet", f"{key}.parquet")  # fmt: skip


def _button(label: str, make: object, file: str, mime: str, key: str) -> None:
    st.download_button(label, make, file, mime, key=key, on_click="ignore", width="stretch")  # type: ignore[arg-type]
