"""Search, filters, order, groups and columns of the runs page; the address holds all that is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from cggm_core.ui import runs_table
from cggm_core.ui.runs_facts import Facts
from cggm_core.ui.runs_view import GROUPS, LIKE, NEWEST, SORTS, Filter, choices


@dataclass(frozen=True)
class View:
    """What the controls ask for; the address holds all of it."""

    wanted: Filter
    sort: str
    group: str


def first_page() -> None:
    """Another list begins at its first page."""
    st.session_state["page"] = 1


def controls(facts: Sequence[Facts]) -> View:
    """Search, filters, order and columns; what is chosen stands in the address, so that a reload shows the same."""
    found = choices(facts, runs_table.STATES)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="runs_controls"):
        q = st.text_input(
            "Search", key="q", bind="query-params", placeholder="Any words", icon=":material/search:", width=200,
            on_change=first_page,
        )  # fmt: skip
        picked = {name: several(label, name, found[name])
                  for name, label in (("state", "State"), ("dataset", "Data set"), ("method", "Method"))}  # fmt: skip
        with st.popover("More filters", icon=":material/filter_list:", width="content"):
            for name, label in (("preset", "Preset"), ("tag", "Tag")):
                picked[name] = several(label, name, found[name], 260)
            low = st.number_input("Score from", value=None, key="low", bind="query-params", on_change=first_page,
                                  format="%.4f", help="Newest fused validation score, both ends included")  # fmt: skip
            high = st.number_input("Score to", value=None, key="high", bind="query-params", on_change=first_page,
                                   format="%.4f")  # fmt: skip
            archived = st.toggle("Also archived runs", key="archived", bind="query-params", on_change=first_page)
            st.caption(
                "Every word of a search must occur in name, tags, notes, data, method, preset or id; "
                f"`{LIKE}ID` finds the runs that differ from that one in the seed alone.",
                width=260,
            )
        group = st.selectbox(
            "Group by", GROUPS, index=None, key="group", bind="query-params", placeholder="Nothing", width=140,
            on_change=first_page, help="One row a group, with mean and standard deviation over its finished runs",
        )  # fmt: skip
        sort = st.selectbox("First", list(SORTS), key="sort", bind="query-params", width=140, on_change=first_page)
    ends = {name: tuple(values) for name, values in picked.items()}
    wanted = Filter(q=q, low=low, high=high, archived=archived, **ends)
    return View(wanted, sort or NEWEST, group or "")


def no_filters() -> None:
    """Let every run through that is not archived."""
    state = st.session_state
    state["q"], state["low"], state["high"] = "", None, None
    for name in ("state", "dataset", "method", "preset", "tag"):
        state[name] = []
    first_page()


def columns() -> tuple[str, ...]:
    """The columns to show; the choice stands in the address."""
    names = {label: name for name, label in runs_table.COLUMNS.items()}
    with st.popover("Columns", icon=":material/view_column:", width="content"):
        chosen = st.multiselect(
            "Columns", list(names), [runs_table.COLUMNS[name] for name in runs_table.FIRST], key="columns",
            bind="query-params", placeholder="The first ones", width=420,
            help="In the order chosen; remembered in the address and for this session",
        )  # fmt: skip
    return tuple(names[label] for label in chosen) or runs_table.FIRST


def several(label: str, name: str, options: Sequence[str], width: int = 122) -> list[str]:
    """One filter of several values; any of them may hold."""
    return st.multiselect(label, options, key=name, bind="query-params", placeholder="Any", width=width,
                          on_change=first_page)  # fmt: skip
