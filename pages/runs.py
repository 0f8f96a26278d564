"""All runs: filter, choose, open, compare, describe, put away."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cggm_core.cards import PageCard
from cggm_core.errors import CggmError
from cggm_core.store import ENDED, RunInfo, open_reader, restore, trash, trashed, update_marks
from cggm_core.store import delete as delete_for_good
from cggm_core.store.trashcan import TRASH
from cggm_core.ui import forms, moving, runs_table, session, welcome
from cggm_core.ui.pickers import MOST_RUNS, run_label
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="runs",
    title="Runs",
    summary="All runs with state, progress and scores; open, compare, describe, put away.",
    icon=":material/table_rows:",
    order=10,
    section="",
)

TABLE, ORDER, CHOSEN, DRAWN = "runs.table", "runs.order", "runs.chosen", "runs.drawn"
LIVE_SECONDS, IDLE_SECONDS, FEW_RUNS = 2.0, 10.0, 300
TABLE_ROWS = 18


def filters(infos: Sequence[RunInfo]) -> runs_table.Filter:
    """The row of filters; what is chosen stands in the address, so that a reload shows the same."""
    states = [state for state in runs_table.STATES if any(runs_table.state_of(i) == state for i in infos)]
    datasets = sorted({runs_table.dataset_of(i) for i in infos} - {""})
    methods = sorted({runs_table.word(i, "method") for i in infos} - {""})
    choices = (("State", "state", states), ("Data set", "dataset", datasets), ("Method", "method", methods))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input(
            "Search", key="q", bind="query-params", placeholder="Name, tag, note or id", icon=":material/search:",
            width=280,
        )  # fmt: skip
        picked = [
            tuple(st.multiselect(label, options, key=key, bind="query-params", placeholder="Any", width=190))
            for label, key, options in choices
        ]
        archived = st.toggle("Archived", key="archived", bind="query-params", help="Also list archived runs")
    return runs_table.Filter(text, picked[0], picked[1], picked[2], archived)


def listed(wanted: runs_table.Filter) -> list[RunInfo]:
    """The runs that fit the filters, as they stand now: pinned ones first, then the newest."""
    return sorted((info for info in session.catalogue().runs() if wanted.takes(info)), key=lambda i: not i.pinned)


def counted(infos: Sequence[RunInfo], chosen: Sequence[str]) -> str:
    """How many runs are listed and chosen, in words."""
    if not chosen:
        return f"{len(infos)} runs. Tick rows to open, compare or describe them."
    samples = sum(info.sample for info in infos if info.id in chosen)
    return f"{len(chosen)} of {len(infos)} chosen" + (f"; {samples} sample, read-only." if samples else ".")


def note_selection() -> None:
    """Remember the runs behind the chosen rows: rows move when a run starts, runs do not."""
    rows = st.session_state[TABLE]["selection"]["rows"]
    order = st.session_state.get(ORDER, [])
    st.session_state[CHOSEN] = [order[row] for row in rows if row < len(order)]


def table(wanted: runs_table.Filter) -> None:
    """The table itself; drawn again by its own timer, without the rest of the page."""
    with sentences():
        infos = listed(wanted)
        if not infos:
            st.info("No run fits these filters. Clear one to see more.", icon=":material/filter_alt_off:")
            st.session_state[CHOSEN] = []
            return
        order = [info.id for info in infos]
        chosen = [run_id for run_id in st.session_state.get(CHOSEN, []) if run_id in order]
        if order != st.session_state.get(ORDER) or TABLE not in st.session_state:
            rows = [order.index(run_id) for run_id in chosen]
            st.session_state[TABLE] = {"selection": {"rows": rows, "columns": [], "cells": []}}
        st.session_state[ORDER], st.session_state[CHOSEN] = order, chosen
        st.dataframe(
            runs_table.frame(infos), key=TABLE, hide_index=True, on_select=note_selection,
            column_config=runs_table.column_config(infos), placeholder="",
            height=36 * (min(len(infos), TABLE_ROWS) + 1) + 2, row_height=36, lazy=False,
            alt=f"{len(infos)} runs with state, progress and scores",
        )  # fmt: skip
        st.caption(counted(infos, st.session_state[CHOSEN]))
    if st.session_state[CHOSEN] != st.session_state[DRAWN]:
        # The buttons above the table stand outside this fragment and must follow the selection.
        st.session_state[DRAWN] = st.session_state[CHOSEN]
        st.rerun()


def actions(infos: Sequence[RunInfo], wanted: runs_table.Filter) -> None:
    """What can be done with the chosen runs."""
    own = [info for info in infos if not info.sample]
    one = infos[0] if len(infos) == 1 else None
    ids = [info.id for info in infos]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("Monitor", icon=":material/monitoring:", disabled=one is None, type="primary",
                     help="Plots of one run, live while it trains"):  # fmt: skip
            session.go("monitor", run=ids[0])
        if st.button("Compare", icon=":material/compare_arrows:", disabled=not 1 <= len(ids) <= MOST_RUNS,
                     help=f"Overlay of up to {MOST_RUNS} runs"):  # fmt: skip
            session.go("compare", runs=",".join(ids))
        if st.button("Edit", icon=":material/edit:", disabled=one is None or one.sample,
                     help="Name, tags and notes of one run") and one:  # fmt: skip
            edit(one)
        away = bool(own) and all(info.archived for info in own)
        if st.button("Unarchive" if away else "Archive", icon=":material/archive:", disabled=not own,
                     help="Archived runs stay on disk and leave the list"):  # fmt: skip
            archive(own, not away)
        if st.button("Delete", icon=":material/delete:", disabled=not own, help="Move to the trash"):
            confirm_trash(own)
        if st.button("Export", icon=":material/ios_share:", disabled=not infos,
                     help="The chosen runs as one archive, to be imported elsewhere"):  # fmt: skip
            moving.export_dialog(infos)
        if st.button("Report", icon=":material/description:", disabled=not 1 <= len(ids) <= MOST_RUNS,
                     help="Figures and tables of the chosen runs, fit for print"):  # fmt: skip
            session.go("report", runs=",".join(ids))
        st.download_button(
            "CSV", lambda: runs_table.to_csv(infos or listed(wanted)), "runs.csv", "text/csv", on_click="ignore",
            icon=":material/download:", help="The chosen runs as a table, or all that are listed",
        )  # fmt: skip
    if one is not None:
        details(one)


def details(info: RunInfo) -> None:
    """What the table has no room for: the whole name, why it ended, notes."""
    remark = runs_table.remark_of(info)
    if remark:
        st.caption(f":material/info: {md(remark, 400)}")
    if info.notes:
        st.text(plain(info.notes, 600))


def archive(infos: Sequence[RunInfo], away: bool) -> None:
    """Put runs into the archive or take them out."""
    with sentences():
        for info in infos:
            update_marks(session.catalogue().folder(info.id), archived=away)
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


@st.dialog("Move to the trash?")
def confirm_trash(infos: Sequence[RunInfo]) -> None:
    """Ask once, then move; a run that still trains stays and is named."""
    living = [info for info in infos if info.state not in ENDED and not info.damaged]
    for info in infos[:5]:
        st.markdown(f"- {md(run_label(info), 120)}")
    if len(infos) > 5:
        st.caption(f"and {len(infos) - 5} more")
    if living:
        st.warning(f"{len(living)} of them still train; stop them first. They stay where they are.")
    doomed = [info for info in infos if info not in living]
    if st.button(f"Move {len(doomed)} to the trash", type="primary", disabled=not doomed):
        with sentences():
            for info in doomed:
                trash(session.runs_root(), info.id)
            st.session_state[CHOSEN] = []
            st.rerun()


@st.dialog("Delete for good?")
def confirm_delete(run_ids: Sequence[str]) -> None:
    """The only step that cannot be taken back."""
    st.markdown(f"{len(run_ids)} run(s) will be removed from disk. This cannot be undone.")
    if st.button("Delete for good", type="primary"):
        with sentences():
            for run_id in run_ids:
                delete_for_good(session.runs_root(), run_id)
            st.rerun()


def trash_shelf() -> None:
    """Runs in the trash, to be restored or deleted for good."""
    root = session.runs_root()
    run_ids = trashed(root)
    if not run_ids:
        return
    with st.expander(f"Trash ({len(run_ids)})", icon=":material/delete:"):
        labels = {run_id: trash_label(run_id) for run_id in run_ids[:200]}
        chosen = st.multiselect(
            "Runs in the trash", run_ids, key="runs.trash", format_func=lambda i: labels.get(i, i),
            placeholder="Choose runs", help="Newest first",
        )  # fmt: skip
        with st.container(horizontal=True):
            if st.button("Restore", icon=":material/restore_from_trash:", disabled=not chosen):
                for run_id in chosen:
                    restore(root, run_id)
                st.rerun()
            if st.button("Delete for good", icon=":material/delete_forever:", disabled=not chosen):
                confirm_delete(chosen)


def trash_label(run_id: str) -> str:
    """A run in the trash in one line; its id where it cannot be read."""
    try:
        return run_label(open_reader(session.runs_root() / TRASH / run_id).info())
    except CggmError:
        return run_id


def nothing_yet() -> None:
    """The page before the first run."""
    with st.container(border=True):
        st.header("No runs yet", anchor=False)
        st.markdown(
            "A run is one training with one configuration and one seed. Start one here, or from a terminal; "
            "either way it appears in this list, and its plots move while it trains."
        )
        if st.button("Start the first run", type="primary", icon=":material/play_arrow:"):
            session.go("new_run")
        st.code("python -m cggm_core train --dataset digits_views --method cggm", language="bash")
        st.caption(f"Runs are kept in {md(session.runs_root(), 300)}.")


def page() -> None:
    """Head, filters, actions, table, trash."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title("Runs", anchor=False, width="content")
        with st.container(horizontal=True, width="content", gap="small"):
            moving.import_menu()
            if st.button("New run", icon=":material/add:"):
                session.go("new_run")
    moving.announce()
    infos = session.catalogue().runs()
    if not infos:
        nothing_yet()
        trash_shelf()
        return
    welcome.welcome(infos)
    wanted = filters(infos)
    bar = st.container()
    often = len(infos) <= FEW_RUNS or any(info.state not in ENDED for info in infos)
    st.session_state[DRAWN] = st.session_state.get(CHOSEN, [])
    st.fragment(table, run_every=LIVE_SECONDS if often else IDLE_SECONDS)(wanted)
    chosen = st.session_state[CHOSEN]
    by_id = {info.id: info for info in infos}
    with bar:
        actions([by_id[run_id] for run_id in chosen if run_id in by_id], wanted)
    trash_shelf()


page()
