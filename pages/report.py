"""Chosen runs as one archive: figures and tables fit for print, with the configurations that made them."""

from __future__ import annotations

import io

import streamlit as st

from cggm_core.analysis.scores import configurations
from cggm_core.cards import PageCard
from cggm_core.embedding.obtained import obtained
from cggm_core.figures.print import WIDTHS
from cggm_core.figures.report import write_report
from cggm_core.store import RunInfo
from cggm_core.ui import session
from cggm_core.ui.pickers import pick_runs, suggested
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="report",
    title="Report",
    summary="The paper's figures and tables from your runs, as PDF, SVG, PNG, HTML, CSV and LaTeX in one archive.",
    icon=":material/description:",
    order=80,
    section="Several runs",
    alias=("export", "print", "latex", "pdf", "archive"),
)

HALF_LIVES = (0, 2, 5, 10, 20, 50, 100, 200, 500)
# A figure in three formats takes about 0.4 seconds; said before a long wait begins.
SECONDS_A_FIGURE = 0.4
FIGURES_A_RUN = 7


def main() -> None:
    """The page."""
    st.title("Report")
    st.caption(CARD.summary)
    picked = pick_runs("report.runs", default=suggested)
    chosen = [info for info in picked if not info.damaged]
    if not chosen:
        st.info("Choose the runs that the report is to show. Runs that differ in the seed alone are one configuration.",
                icon=":material/info:")  # fmt: skip
        return
    with sentences():
        by_name = configurations(chosen)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            baseline = st.selectbox("Baseline", list(by_name), key="report.baseline", format_func=plain, width=280)
            width = st.segmented_control(
                "Width on paper", list(WIDTHS), default="column", key="report.width", required=True,
                format_func=lambda name: f"{name}, {WIDTHS[name]} in")  # fmt: skip
            half_life = st.select_slider("Smoothing, half-life in steps", HALF_LIVES, 10, key="report.half_life",
                                         width=280, format_func=lambda n: "raw" if n == 0 else str(n))  # fmt: skip
        st.markdown(contents(by_name))
        made = st.session_state.get("report.made")
        asked = (tuple(info.id for info in chosen), baseline, width, half_life)
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button("Make the report", type="primary", icon=":material/build:", key="report.make"):
                data = make(chosen, str(baseline), float(half_life or 0), WIDTHS[width or "column"])
                made = st.session_state["report.made"] = (asked, data)
            if made is not None and made[0] == asked:
                st.download_button(f"Download, {len(made[1]) / 1e6:.1f} MB", made[1], "cggm-report.zip",
                                   "application/zip", on_click="ignore", icon=":material/download:",
                                   key="report.download")  # fmt: skip
            elif made is not None:
                st.caption("The choice has changed since the last report was made.")


def contents(by_name: dict[str, tuple[RunInfo, ...]]) -> str:
    """What the archive will hold, before it is made."""
    listed = "\n".join(f"- **{md(name, 80)}**: {len(runs)} {'seed' if len(runs) == 1 else 'seeds'}"
                       for name, runs in by_name.items())  # fmt: skip
    seconds = SECONDS_A_FIGURE * FIGURES_A_RUN * len(by_name)
    return (
        f"{listed}\n\nIn the archive: for each configuration the curves of one run (its lowest seed, not chosen by "
        "result), the comparison over all seeds, the table of final scores with paired differences, the settings "
        "that differ, every configuration, and a page that opens offline. "
        f"Making it takes about {max(1, round(seconds))} s."
    )


def make(chosen: list[RunInfo], baseline: str, half_life: float, width: float) -> bytes:
    """The archive, drawn in this session with its progress shown; leaving the page or Stop cancels it."""
    bar = st.progress(0.0, "Reading the runs")
    file = io.BytesIO()
    write_report(
        [(info, session.reader(info.id)) for info in chosen], file, baseline=baseline, half_life=half_life,
        width=width,
        mapped=lambda found, tell: obtained(session.runs_root(), found.vectors, "tsne", tell=tell),
        tell=lambda share, what: bar.progress(min(1.0, share), md(what, 120)) and None,
    )  # fmt: skip
    bar.empty()
    return file.getvalue()


main()
