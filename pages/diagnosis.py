"""The verdict on one run: which modality carries it, what is wrong, the evidence, and what to try next."""

from __future__ import annotations

import streamlit as st

from cggm_core.analysis.verdict import Verdict
from cggm_core.cards import PageCard
from cggm_core.figures import diagnosis as pictures
from cggm_core.store import ENDED, RunInfo
from cggm_core.ui import session
from cggm_core.ui.panels import figure_card
from cggm_core.ui.pickers import pick_run
from cggm_core.ui.replay_panel import replay_panel
from cggm_core.ui.safe import md, sentences
from cggm_core.ui.verdict_panel import Diagnosed, ask_for_look, diagnosed, finding_cards, state_notice

CARD = PageCard(
    name="diagnosis",
    title="Diagnosis",
    summary="The verdict on one run: which modality dominates, since when, how surely, and what to try.",
    icon=":material/stethoscope:",
    order=40,
    section="One run",
    alias=("verdict", "dominant", "shapley", "contribution", "robustness"),
)

REFRESH_SECONDS = 5.0


def main() -> None:
    """The page."""
    st.title("Diagnosis")
    chosen = pick_run("diagnosis.run")
    if chosen is None:
        st.info("There is no run to judge. Start one on the page New run, or choose one above.",
                icon=":material/info:")  # fmt: skip
        return
    living = chosen.state not in ENDED and not chosen.damaged
    st.fragment(page, run_every=REFRESH_SECONDS if living else None)(chosen.id)


def page(run_id: str) -> None:
    """Everything about one run; runs again by itself while the run lives."""
    with sentences():
        info = session.find(run_id)
        state_notice(info)
        if info.damaged:
            return
        found = diagnosed(session.reader(run_id), "diagnosis")
        headline(found.verdict, info)
        finding_cards(found, "diagnosis")
        evidence(found)
        st.subheader("What if", anchor=False)
        replay_panel(session.reader(run_id), "diagnosis.replay")


def headline(verdict: Verdict, info: RunInfo) -> None:
    """The verdict in words, and what could not be looked at."""
    st.markdown(f"### {md(verdict.headline, 600)}")
    lagging = ", ".join(f"**{md(name, 60)}**" for name in verdict.lagging) or "nobody"
    st.markdown(f"Dominant: **{md(verdict.dominant or 'no single modality', 80)}** · lagging: {lagging}")
    for sentence in verdict.missing:
        st.info(md(sentence, 400), icon=":material/visibility_off:")
    if info.state == "running":
        ask_for_look(info)


def evidence(found: Diagnosed) -> None:
    """Every figure the verdict reads, whether or not a finding points at it."""
    st.subheader("Evidence", anchor=False)
    specs = [
        pictures.contributions(found.record), pictures.preferences(found.record),
        *(pictures.robustness(found.record, kind) for kind in pictures.KINDS),
        *([pictures.coefficient_health(found.record)] if found.balanced else []),
    ]  # fmt: skip
    for start in range(0, len(specs), 2):
        columns = st.columns(2, gap="small")
        for column, spec in zip(columns, specs[start : start + 2], strict=False):
            with column:
                figure_card(spec, key=f"diagnosis.{spec.key}")


main()
