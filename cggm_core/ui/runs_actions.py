"""What can be done with the runs that are ticked: open, describe, put away, take along."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from cggm_core.store import ENDED, RunInfo, trash, update_marks
from cggm_core.ui import forms, moving, runs_table, session
from cggm_core.ui.pickers import MOST_RUNS, run_label
from cggm_core.ui.runs_facts import Facts, remark_of
from cggm_core.ui.safe import md, plain, sentences

CHOSEN = "runs.chosen"
NAMED = 5


def bar(facts: Sequence[Facts], listed: Callable[[], Sequence[Facts]]) -> None:
    """The row of buttons.

    Args:
        facts: the ticked runs.
        listed: gives all runs that the filters take, for the table as a file where nothing is ticked.
    """
    infos = [f.info for f in facts]
    own = [info for info in infos if not info.sample]
    ids = [info.id for info in infos]
    one = infos[0] if len(infos) == 1 else None
    few = 1 <= len(ids) <= MOST_RUNS
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="runs_actions"):
        if st.button("Monitor", icon=":material/monitoring:", disabled=one is None, type="primary",
                     help="Plots of one run, live while it trains"):  # fmt: skip
            session.go("monitor", run=ids[0])
        if st.button("Diagnose", icon=":material/stethoscope:", disabled=one is None,
                     help="Which modality one run relies on, and what to try"):  # fmt: skip
            session.go("diagnosis", run=ids[0])
        if st.button("Compare", icon=":material/compare_arrows:", disabled=not few,
                     help=f"Overlay of up to {MOST_RUNS} runs"):  # fmt: skip
            session.go("compare", runs=",".join(ids))
        if st.button("Report", icon=":material/description:", disabled=not few,
                     help=f"Figures and tables of up to {MOST_RUNS} runs, fit for print"):  # fmt: skip
            session.go("report", runs=",".join(ids))
        if st.button("Edit", icon=":material/edit:", disabled=not own, help="Name, tags, notes and pin"):
            if len(own) == 1:
                edit(own[0])
            else:
                edit_many(own)
        away = bool(own) and all(info.archived for info in own)
        if st.button("Unarchive" if away else "Archive", icon=":material/archive:", disabled=not own,
                     help="Archived runs stay on disk and leave the list"):  # fmt: skip
            mark(own, archived=not away)
        if st.button("Delete", icon=":material/delete:", disabled=not own, help="Move to the trash"):
            confirm_trash(own)
        if st.button("Export", icon=":material/ios_share:", disabled=not infos,
                     help="The ticked runs as one archive, to be imported elsewhere"):  # fmt: skip
            moving.export_dialog(infos)
        st.download_button(
            "CSV", lambda: runs_table.to_csv(facts or listed()), "runs.csv", "text/csv", on_click="ignore",
            icon=":material/download:", help="The ticked runs as a table, or all that the filters take",
        )  # fmt: skip
    if one is not None:
        details(one)


def details(info: RunInfo) -> None:
    """What the table has no room for: why it ended, and the notes."""
    remark = remark_of(info)
    if remark:
        st.caption(f":material/info: {md(remark, 400)}")
    if info.notes:
        st.text(plain(info.notes, 600))


def mark(infos: Sequence[RunInfo], *, archived: bool | None = None, pinned: bool | None = None) -> None:
    """Put runs into the archive or take them out; pin them or not."""
    with sentences():
        for info in infos:
            update_marks(session.catalogue().folder(info.id), archived=archived, pinned=pinned)
        st.rerun()


@st.dialog("Edit run", width="medium")
def edit(info: RunInfo) -> None:
    """Name, tags and notes of one run."""
    with st.form("runs.edit", border=False):
        name = st.text_input("Name", info.name, max_chars=200)
        tags = st.text_input("Tags", ", ".join(info.tags), help="Separated by commas")
        notes = st.text_area("Notes", info.notes, height=160, max_chars=20_000)
        pinned = st.checkbox("Pinned: stands above the others", info.pinned)
        if st.form_submit_button("Save", type="primary"):
            with sentences():
                folder = session.catalogue().folder(info.id)
                update_marks(folder, name=name, tags=forms.split_tags(tags), notes=notes, pinned=pinned)
                st.rerun()


@st.dialog("Edit runs", width="medium")
def edit_many(infos: Sequence[RunInfo]) -> None:
    """Tags and pins of several runs at once; everything else of them stays as it is."""
    named(infos)
    there = sorted({tag for info in infos for tag in info.tags}, key=str.casefold)
    with st.form("runs.edit_many", border=False):
        added = st.text_input("Add tags", help="Separated by commas")
        removed = st.multiselect("Remove tags", there, format_func=plain, placeholder="None", disabled=not there)
        pins = ("Leave pins", "Pin all", "Unpin all")
        pin = st.segmented_control("Pins", pins, default=pins[0], required=True)
        if st.form_submit_button("Save", type="primary"):
            with sentences():
                for info in infos:
                    update_marks(
                        session.catalogue().folder(info.id), tags=retagged(info.tags, forms.split_tags(added), removed),
                        pinned={pins[1]: True, pins[2]: False}.get(pin or ""),
                    )  # fmt: skip
                st.rerun()


def retagged(tags: Sequence[str], added: Sequence[str], removed: Sequence[str]) -> list[str]:
    """Tags of a run after a change: the old ones in their order, then the new; each once."""
    return list(dict.fromkeys([*(tag for tag in tags if tag not in removed), *added]))


@st.dialog("Move to the trash?")
def confirm_trash(infos: Sequence[RunInfo]) -> None:
    """Ask once, then move; a run that still trains stays and is named."""
    living = [info for info in infos if info.state not in ENDED and not info.damaged]
    named(infos)
    if living:
        st.warning(f"{len(living)} of them still train; stop them first. They stay where they are.")
    doomed = [info for info in infos if info not in living]
    if st.button(f"Move {len(doomed)} to the trash", type="primary", disabled=not doomed):
        with sentences():
            for info in doomed:
                trash(session.runs_root(), info.id)
            st.session_state[CHOSEN] = []
            st.rerun()


def named(infos: Sequence[RunInfo]) -> None:
    """The first of some runs by name, and how many more."""
    for info in infos[:NAMED]:
        st.markdown(f"- {md(run_label(info), 120)}")
    if len(infos) > NAMED:
        st.caption(f"and {len(infos) - NAMED} more")
