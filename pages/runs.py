"""All runs: find, group, choose, open, compare, describe, put away."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cggm_core.cards import PageCard
from cggm_core.store import ENDED, RunInfo
from cggm_core.ui import moving, presence, runs_actions, runs_saved, runs_table, runs_trash, session, welcome
from cggm_core.ui.pickers import run_label
from cggm_core.ui.runs_actions import CHOSEN
from cggm_core.ui.runs_controls import View, columns, controls, first_page, no_filters
from cggm_core.ui.runs_facts import Facts
from cggm_core.ui.runs_view import CONFIGURATION, LIKE, METHOD, TAG, kept_order, ordered
from cggm_core.ui.safe import md, sentences

CARD = PageCard(
    name="runs",
    title="Runs",
    summary="All runs with state, progress and scores; find, group, open, compare, describe, put away.",
    icon=":material/table_rows:",
    order=10,
    section="",
)

TABLE, HELD, DRAWN = "runs.table", "runs.held", "runs.drawn"
LIVE_SECONDS, IDLE_SECONDS, READING_SECONDS, FEW_RUNS = 2.0, 10.0, 0.3, 300
# A run never read before costs about a millisecond; the page shows what it has after this long and reads on.
PATIENCE, SAME_RUN = 0.7, 0.5
ROWS_A_PAGE, ROWS_SHOWN = 250, 15
Members = tuple[str, ...]


def in_order(view: View, facts: Sequence[Facts]) -> tuple[list[Facts], int]:
    """The runs that fit, and how many came since.

    While something is ticked the order stays as it is looked at: rows that move under a pointer get the wrong tick.
    """
    listed = ordered(view.wanted.taken(facts), view.sort)
    held_view, held = st.session_state.get(HELD, (None, []))
    now, later = [f.id for f in listed], []
    if held_view == (view.wanted, view.sort) and st.session_state.get(CHOSEN):
        now, later = kept_order(held, now)
    st.session_state[HELD] = ((view.wanted, view.sort), now)
    by_id = {f.id: f for f in listed}
    return [by_id[run_id] for run_id in now], len(later)


def note_ticks(key: str, members: Sequence[Members]) -> None:
    """Remember the runs behind the ticked rows; runs of other pages and filters stay ticked.

    Args:
        key: of the table that was drawn.
        members: the runs behind each of its rows.
    """
    tick(st.session_state[key]["selection"]["rows"], members)


def note_names(key: str, members: Sequence[Members]) -> None:
    """As `note_ticks`, for the rows chosen by their names."""
    tick(st.session_state[key], members)


def tick(rows: Sequence[int], members: Sequence[Members]) -> None:
    """Tick the runs behind these rows, and untick those of the other rows."""
    ticked = dict.fromkeys(run_id for row in rows if row < len(members) for run_id in members[row])
    before: list[str] = st.session_state.get(CHOSEN, [])
    shown = {run_id for runs in members if set(runs) <= set(before) for run_id in runs}
    st.session_state[CHOSEN] = list(dict.fromkeys([r for r in before if r not in shown or r in ticked] + [*ticked]))


def choose(run_ids: Sequence[str]) -> None:
    """Tick these runs and no others."""
    st.session_state[CHOSEN] = list(run_ids)


def drop_order() -> None:
    """Let what has come since stand in its place."""
    st.session_state.pop(HELD, None)


def table(view: View, named: Sequence[str]) -> None:
    """The table itself; drawn again by its own timer, without the rest of the page."""
    with sentences():
        catalogue = session.catalogue()
        facts = session.facts(catalogue.runs(max_age=SAME_RUN, patience=PATIENCE))
        there = {f.id for f in facts}
        if not catalogue.unread:
            choose([run_id for run_id in st.session_state.get(CHOSEN, []) if run_id in there])
        listed, later = in_order(view, facts)
        reading(catalogue.unread, len(facts))
        if not listed:
            st.info("No run fits these filters.", icon=":material/filter_alt_off:")
            # Drawn in the fragment, so the page must follow: the filters stand outside it.
            if st.button("Clear all filters", on_click=no_filters):
                st.rerun()
        elif view.group:
            groups_of(view, listed)
        else:
            rows(listed, named)
        below(view, listed, later)
    read_all = st.session_state[DRAWN][1] > 0 and not catalogue.unread
    if st.session_state.get(CHOSEN, []) != st.session_state[DRAWN][0] or read_all:
        # What stands above the table is outside this fragment and must follow.
        st.session_state[DRAWN] = (st.session_state[CHOSEN], 0)
        st.rerun()


def reading(unread: int, read: int) -> None:
    """Say that a folder of many runs is being read for the first time."""
    if unread:
        st.progress(read / (read + unread), f"Reading the runs for the first time: {read:,} of {read + unread:,}")


def rows(listed: Sequence[Facts], named: Sequence[str]) -> None:
    """One row a run."""
    body = st.container()
    first, here, foot = part(len(listed))
    shown = listed[first : first + here]
    members = [(f.id,) for f in shown]
    with body:
        key, ticked = draw(runs_table.frame(shown, named), runs_table.column_config(shown, named), members,
                           f"{len(listed)} runs with state, progress and scores")  # fmt: skip
    with foot:
        by_name(key, ticked, members, [run_label(f.info) for f in shown])


def groups_of(view: View, listed: Sequence[Facts]) -> None:
    """One row a group."""
    from cggm_core.ui import runs_groups  # its statistics cost the first page of the app half a second

    groups = runs_groups.ordered(runs_groups.grouped(listed, view.group), view.sort)
    body = st.container()
    first, here, foot = part(len(groups))
    shown = groups[first : first + here]
    members, frame = [tuple(f.id for f in group.members) for group in shown], runs_groups.frame(shown)
    with body:
        key, ticked = draw(frame, runs_groups.column_config(view.group), members,
                           f"{len(groups)} groups of runs with mean scores")  # fmt: skip
    with foot:
        by_name(key, ticked, members, [" · ".join(pair) for pair in zip(frame["group"], frame["dataset"], strict=True)])
        open_group(view, [shown[row].members for row in ticked])


def open_group(view: View, ticked: Sequence[Sequence[Facts]]) -> None:
    """List the runs of the one ticked group."""

    def list_them() -> None:
        # The filter that holds for exactly this group, so that the list can be reloaded and passed on.
        one, state = ticked[0][0], st.session_state
        state["group"] = None
        if view.group == CONFIGURATION:
            state["q"] = f"{view.wanted.q} {LIKE}{one.id}".strip()
        elif view.group == TAG:
            state["tag"] = sorted(set.intersection(*(set(f.tags) for f in ticked[0])))[:1]
        else:
            state["dataset"] = [one.dataset]
            if view.group == METHOD:
                state["method"], state["preset"] = [one.method], [one.preset] if one.preset else []
        state[CHOSEN] = []
        first_page()

    one = len(ticked) == 1
    if st.button("List the runs of this group", icon=":material/subdirectory_arrow_right:", disabled=not one,
                 on_click=list_them, help="Tick one group first"):  # fmt: skip
        st.rerun()


def part(count: int) -> tuple[int, int, st.delta_generator.DeltaGenerator]:
    """First row of the page that is shown, how many rows it has, and the line under the table."""
    pages = max(1, -(-count // ROWS_A_PAGE))
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = pages
    foot = st.container(horizontal=True, vertical_alignment="center", gap="small")
    with foot:
        number = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    first = (number - 1) * ROWS_A_PAGE
    return first, min(ROWS_A_PAGE, count - first), foot


def draw(
    frame: pd.DataFrame, config: dict[str, object], members: Sequence[Members], alt: str
) -> tuple[str, list[int]]:  # fmt: skip
    """The table, its ticks set to the runs chosen; its key, and the rows that are ticked."""
    key = runs_table.table_key(TABLE, members)
    chosen = set(st.session_state.get(CHOSEN, []))
    ticked = [row for row, runs in enumerate(members) if set(runs) <= chosen]
    if list(st.session_state.get(key, {}).get("selection", {}).get("rows", [])) != ticked:
        st.session_state[key] = {"selection": {"rows": ticked, "columns": [], "cells": []}}
    st.dataframe(
        frame, key=key, hide_index=True, on_select=functools.partial(note_ticks, key, tuple(members)),
        column_config=config, placeholder="", height=36 * (min(len(frame), ROWS_SHOWN) + 1) + 2, row_height=36,
        lazy=False, alt=alt,
    )  # fmt: skip
    return key, ticked


def by_name(key: str, ticked: Sequence[int], members: Sequence[Members], names: Sequence[str]) -> None:
    """The same ticks as a list of names: a keyboard reaches no box inside the table."""
    field = f"{key}.names"
    if st.session_state.get(field) != ticked:
        st.session_state[field] = list(ticked)
    with st.popover("Tick by name", icon=":material/checklist:", width="content"):
        st.multiselect(
            "Ticked on this page", range(len(names)), key=field, width=460, placeholder="Choose by name",
            format_func=lambda row: f"{row + 1}. {names[row]}", on_change=note_names, args=(field, tuple(members)),
            help="For keyboards and screen readers; the boxes in the table do the same",
        )  # fmt: skip


def below(view: View, listed: Sequence[Facts], later: int) -> None:
    """What is ticked, in words, and the ways to tick all or none."""
    chosen: list[str] = st.session_state.get(CHOSEN, [])
    shown = {f.id for f in listed}
    aside = sum(run_id not in shown for run_id in chosen)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if listed or chosen:
            st.caption(counted(len(listed), len(chosen), aside, view), width="content")
        if later:
            st.button(f"Show {later:,} more that came since", type="tertiary", icon=":material/refresh:",
                      on_click=drop_order)  # fmt: skip
        if len(listed) > 1:
            st.button(f"Tick all {len(listed):,}", type="tertiary", disabled=shown <= set(chosen), on_click=choose,
                      args=(list(dict.fromkeys([*chosen, *(f.id for f in listed)])),))  # fmt: skip
        if chosen:
            st.button("Tick none", type="tertiary", on_click=choose, args=((),))


def counted(listed: int, chosen: int, aside: int, view: View) -> str:
    """How many runs are listed and ticked, in words."""
    runs = f"{listed:,} {'run' if listed == 1 else 'runs'}"
    if not chosen:
        paged = listed > ROWS_A_PAGE and not view.group
        return f"{runs}. Tick rows to open, compare or describe them." + (
            " Order sorts all of them, a click on a column's head this page." if paged else "")  # fmt: skip
    hidden = f", {aside:,} of them not in this list" if aside else ""
    return f"{runs}, {chosen:,} ticked{hidden}."


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


def pace(infos: Sequence[RunInfo], unread: int) -> float:
    """Seconds between two looks."""
    if unread:
        return READING_SECONDS
    often = len(infos) <= FEW_RUNS or any(info.state not in ENDED for info in infos)
    return LIVE_SECONDS if often else IDLE_SECONDS


def page() -> None:
    """Head, filters, actions, table, trash."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title("Runs", anchor=False, width="content")
        head = st.container(horizontal=True, width="content", gap="small")
        with head:
            moving.import_menu()
            if st.button("New run", icon=":material/add:"):
                session.go("new_run")
    moving.announce()
    catalogue = session.catalogue()
    infos = catalogue.runs(patience=PATIENCE)
    if not infos:
        nothing_yet()
        runs_trash.shelf()
        return
    welcome.welcome(infos)
    facts = session.facts(infos)
    view = controls(facts)
    bar = st.container(horizontal=True, gap="small")
    with bar:
        acting = st.container()
        named = columns()
    with head:
        runs_saved.menu(view, named)
    st.session_state[DRAWN] = (st.session_state.setdefault(CHOSEN, []), catalogue.unread)
    st.fragment(table, run_every=presence.every(pace(infos, catalogue.unread)))(view, named)
    by_id = {f.id: f for f in facts}
    with acting:
        runs_actions.bar([by_id[run_id] for run_id in st.session_state[CHOSEN] if run_id in by_id],
                         lambda: ordered(view.wanted.taken(facts), view.sort))  # fmt: skip
    runs_trash.shelf()


page()
