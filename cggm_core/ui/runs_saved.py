"""Named views of the runs page: what the controls ask for, kept and brought back."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cggm_core.store.views import NAME_LENGTH, Query, keep_view, read_views
from cggm_core.ui import runs_table, session
from cggm_core.ui.runs_controls import View, first_page
from cggm_core.ui.runs_view import GROUPS, NEWEST, SORTS, Filter
from cggm_core.ui.safe import plain, sentences

_OPENED, _NAME = "runs.view.open", "runs.view.name"


def query_of(view: View, columns: Sequence[str]) -> Query:
    """A view as the parameters of the page's address; what is as at first is left out."""
    made: Query = view.wanted.query()
    made |= {"group": [view.group]} if view.group else {}
    made |= {"sort": [view.sort]} if view.sort != NEWEST else {}
    if tuple(columns) != runs_table.FIRST:
        made["columns"] = [runs_table.COLUMNS[name] for name in columns]
    return made


def bring_back(query: Query) -> None:
    """Set the page's controls to a view; values that mean nothing here are as at first."""
    wanted, state = Filter.of(query), st.session_state
    state["q"], state["low"], state["high"], state["archived"] = wanted.q, wanted.low, wanted.high, wanted.archived
    for name in ("state", "dataset", "method", "preset", "tag"):
        state[name] = list(getattr(wanted, name))
    group, sort = ((query.get(name) or [""])[0] for name in ("group", "sort"))
    state["group"] = group if group in GROUPS else None
    state["sort"] = sort if sort in SORTS else NEWEST
    labels = [label for label in query.get("columns", ()) if label in runs_table.COLUMNS.values()]
    state["columns"] = labels or [runs_table.COLUMNS[name] for name in runs_table.FIRST]
    first_page()


def menu(view: View, columns: Sequence[str]) -> None:
    """Open, keep and forget views."""
    root = session.runs_root()

    def opened() -> None:
        name = st.session_state[_OPENED]
        if name in views:
            bring_back(views[name])
            st.session_state[_NAME] = name
        st.session_state[_OPENED] = None

    views = read_views(root)
    with st.popover("Views", icon=":material/bookmark:", help="Filters, order, groups and columns under a name"):
        st.selectbox("Open a view", list(views), index=None, key=_OPENED, on_change=opened, format_func=plain,
                     placeholder="Choose a view" if views else "None kept yet", disabled=not views)  # fmt: skip
        name = st.text_input("Name of this view", key=_NAME, max_chars=NAME_LENGTH)
        with st.container(horizontal=True, gap="small"), sentences():
            if st.button("Keep", type="primary", disabled=not name.strip(), help="What is shown now, under that name"):
                keep_view(root, name, query_of(view, columns))
                st.rerun()
            if st.button("Forget", disabled=name not in views, help="Remove the view of that name"):
                keep_view(root, name, None)
                st.rerun()
        st.caption("The address holds the same view, to be sent or bookmarked.")
