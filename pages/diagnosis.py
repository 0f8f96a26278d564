"""The verdict on one run: which modality carries it, what is wrong, the evidence, and what to try next."""

from __future__ import annotations

import streamlit as st

from cggm_core.cards import PageCard
from cggm_core.figures import diagnosis as pictures
from cggm_core.store import ENDED
from cggm_core.ui import presence, session
from cggm_core.ui.panels import PANEL_HEIGHT, figure_card
from cggm_core.ui.pickers import pick_run
from cggm_core.ui.replay_panel import replay_panel
from cggm_core.ui.safe import sentences
from cggm_core.ui.verdict_panel import (
    CARD_WIDTH,
    Diagnosed,
    ask_for_look,
    diagnosed,
    finding_cards,
    headline,
    state_notice,
)

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
    st.fragment(page, run_every=presence.every(REFRESH_SECONDS if living else None))(chosen.id)


def page(run_id: str) -> None:
    """Everything about one run; runs again by itself while the run lives."""
    with sentences():
        info = session.find(run_id)
        state_notice(info)
        if info.damaged:
            return
        reader = session.reader(run_id)
        found = diagnosed(reader, "diagnosis")
        headline(found, "diagnosis")
        if info.state == "running":
            ask_for_look(info)
        finding_cards(found, reader, "diagnosis")
        measures(found)
        st.header("What if", anchor=False)
        st.caption(
            "The coefficient of CGGM, computed anew from the scores this run recorded, for a setting of your choice; "
            "nothing is trained."
        )
        replay_panel(reader, "diagnosis.replay")


def measures(found: Diagnosed) -> None:
    """The other figures the verdict reads, whether or not a finding points at them."""
    st.header("All measures", anchor=False)
    specs = [
        pictures.preferences(found.record),
        *(pictures.robustness(found.record, kind) for kind in pictures.KINDS),
        *([pictures.coefficient_health(found.record)] if found.balanced else []),
    ]  # fmt: skip
    with st.grid(2, min_column_width=CARD_WIDTH, gap="small"):
        for spec in specs:
            figure_card(spec, key=f"diagnosis.{spec.key}", height=PANEL_HEIGHT)


main()
