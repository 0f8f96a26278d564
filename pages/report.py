"""Chosen runs as one archive: the paper's figures and tables fit for print, with the configurations that made them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence

import streamlit as st

from cggm_core.analysis.scores import Members
from cggm_core.cards import PageCard
from cggm_core.embedding.obtained import obtained
from cggm_core.figures.print import WIDTHS
from cggm_core.figures.report import write_report
from cggm_core.store import RunInfo
from cggm_core.ui import session
from cggm_core.ui.configuration_picker import pick_configurations, short
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="report",
    title="Report",
    summary="The paper's figures and tables from your runs, as PDF, SVG, PNG, HTML, LaTeX, CSV and Parquet.",
    icon=":material/description:",
    order=80,
    section="Several runs",
    alias=("export", "print", "latex", "pdf", "archive"),
)

HALF_LIVES = (0, 2, 5, 10, 20, 50, 100, 200, 500)
# A figure in all its forms takes about half a second; said before a long wait begins.
SECONDS_A_FIGURE = 0.5
FIGURES_A_RUN = 15
MOST_DRAWN, FIRST_DRAWN = 20, 4
HELD = (
    "**Figures of the paper** for one run of each configuration drawn (its lowest seed, not chosen by result): scores, "
    "gradient magnitude and direction (Fig. 2, 3), gradient map with its numbers (Fig. 4, where snapshots were kept), "
    "losses (Fig. 6), balancing coefficient (Fig. 7); further validation, update ratios, and what the verdict reads.",
    "**Over all seeds**: validation curves with spread, differences to the baseline with intervals; ρ and λ sweeps "
    "(Fig. 5) where the runs hold them.",
    "**Tables**: data (1), the task's metrics (2 to 4), classifiers (5), magnitude and direction (6), hyperparameters "
    "(7), cost (8), all scores with paired tests, verdicts, settings that differ.",
    "**Forms**: figures as PDF, SVG, PNG and a page to zoom, tables as LaTeX; all numbers as CSV and Parquet; every "
    "configuration, versions, and `index.html`, which opens offline, shows everything and says what is missing.",
)


def main() -> None:
    """The page."""
    st.title("Report")
    st.caption(CARD.summary)
    with sentences():
        picked = pick_configurations("report")
        if picked is None or not picked.by_name:
            st.info("There is nothing to report yet: start runs on the page New run, or choose configurations above.",
                    icon=":material/info:")  # fmt: skip
            return
        by_name = picked.by_name
        drawn = in_full(by_name)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            width = st.segmented_control(
                "Width on paper", list(WIDTHS), default="column", key="report.width", required=True,
                format_func=lambda name: f"{name}, {WIDTHS[name]} in")  # fmt: skip
            half_life = st.select_slider("Smoothing, half-life in steps", HALF_LIVES, 10, key="report.half_life",
                                         width=280, format_func=lambda n: "raw" if n == 0 else str(n))  # fmt: skip
        contents(by_name, len(drawn))
        chosen = tuple(info for runs in by_name.values() for info in runs)
        asked = (tuple(info.id for info in chosen), picked.baseline, drawn, width, half_life)
        made = st.session_state.get("report.made")
        row = st.container(horizontal=True, vertical_alignment="center")
        if row.button("Make the report", type="primary", icon=":material/build:", key="report.make"):
            data = make(chosen, picked.baseline, drawn, float(half_life or 0), WIDTHS[width or "column"])
            made = st.session_state["report.made"] = (asked, data)
        if made is not None and made[0] == asked:
            row.download_button(f"Download, {len(made[1]) / 1e6:.1f} MB", made[1], "cggm-report.zip",
                                "application/zip", on_click="ignore", icon=":material/download:",
                                key="report.download")  # fmt: skip
        elif made is not None:
            row.caption("The choice has changed since the last report was made.")


def in_full(by_name: Members) -> tuple[str, ...]:
    """Configurations of which a run is drawn in full."""
    names = list(by_name)
    chosen = st.multiselect(
        "Drawn in full", names, names[:FIRST_DRAWN], key=f"report.drawn.{short(str(names))}",
        max_selections=MOST_DRAWN, format_func=lambda name: plain(name, 60),
        help="Curves, verdict and gradient map of one run each. Comparison and tables show every configuration.",
    )  # fmt: skip
    return tuple(chosen)


def contents(by_name: Mapping[str, Sequence[RunInfo]], drawn: int) -> None:
    """What the archive will hold, before it is made."""
    runs = sum(map(len, by_name.values()))
    seconds = max(1, round(SECONDS_A_FIGURE * (FIGURES_A_RUN * drawn + 5)))
    many = "configuration" if len(by_name) == 1 else "configurations"
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**In the archive** · {runs} {'run' if runs == 1 else 'runs'} of {len(by_name)} {many}")
        for line in HELD:
            st.markdown(f"- {line}")
        st.caption(f"Making it takes about {seconds} s on a quiet machine; leaving the page or Stop ends it.")


def make(
    chosen: Sequence[RunInfo], baseline: str, drawn: Sequence[str], half_life: float, width: float
) -> bytes:  # fmt: skip
    """The archive, drawn in this session with its progress shown; leaving the page or Stop cancels it."""
    bar = st.progress(0.0, "Reading the runs")
    file = io.BytesIO()
    with contextlib.ExitStack() as held:
        opened = [
            (info, held.enter_context(contextlib.closing(session.catalogue().reader(info.id)))) for info in chosen
        ]
        write_report(
            opened, file, baseline=baseline, half_life=half_life, width=width, drawn=drawn,
            mapped=lambda found, tell: obtained(session.runs_root(), found.vectors, "tsne", tell=tell),
            tell=lambda share, what: bar.progress(min(1.0, share), md(what, 120)) and None,
        )  # fmt: skip
    bar.empty()
    return file.getvalue()


main()
