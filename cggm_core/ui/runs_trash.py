"""The trash of runs: found by words, restored, or removed for good."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cggm_core.store import delete as delete_for_good
from cggm_core.store import restore, trashed
from cggm_core.ui import runs_facts, runs_table, session
from cggm_core.ui.runs_facts import Facts
from cggm_core.ui.runs_view import Filter
from cggm_core.ui.safe import sentences

ROWS = 10
_COLUMNS = ("state", "name", "dataset", "way", "seed", "score", "started", "tags")
TABLE = "runs.trash.table"


def shelf() -> None:
    """Runs in the trash, newest first; nothing of them is read before the shelf is opened."""
    run_ids = trashed(session.runs_root())
    if not run_ids:
        return
    title = f"Trash ({len(run_ids):,})"
    opened = st.expander(title, icon=":material/delete:", key="runs.trash", on_change="rerun")
    if opened.open:
        with opened, sentences():
            _contents()


def _contents() -> None:
    found = [runs_facts.facts_of(info) for info in session.trash().runs()]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        wanted = st.text_input("Search the trash", key="runs.trash.q", placeholder="Name, tag, note or id", width=280)
        shown = Filter(wanted, archived=True).taken(found)
        key = runs_table.table_key(TABLE, [(f.id,) for f in shown])
        rows = st.session_state.get(key, {}).get("selection", {}).get("rows", [])
        ticked = [shown[row].id for row in rows if row < len(shown)]
        if st.button("Restore", icon=":material/restore_from_trash:", disabled=not ticked):
            for run_id in ticked:
                restore(session.runs_root(), run_id)
            st.rerun()
        if st.button("Delete for good", icon=":material/delete_forever:", disabled=not ticked):
            confirm_delete(ticked)
        if st.button("Empty the trash", disabled=bool(ticked) or not found):
            confirm_delete([f.id for f in found])
    if not shown:
        st.caption("No run in the trash fits these words.")
        return
    _table(shown, key)
    st.caption(f"{len(shown):,} listed, {len(ticked):,} ticked. A run in the trash takes its room on disk until it is "
               "deleted for good.")  # fmt: skip


def _table(shown: Sequence[Facts], key: str) -> None:
    frame: pd.DataFrame = runs_table.frame(shown, _COLUMNS)
    st.dataframe(
        frame, key=key, hide_index=True, on_select="rerun", lazy=False, placeholder="", row_height=36,
        column_config=runs_table.column_config(shown, _COLUMNS), height=36 * (min(len(shown), ROWS) + 1) + 2,
        alt=f"{len(shown)} runs in the trash",
    )  # fmt: skip


@st.dialog("Delete for good?")
def confirm_delete(run_ids: Sequence[str]) -> None:
    """The only step that cannot be taken back."""
    st.markdown(f"{len(run_ids):,} run(s) will be removed from disk. This cannot be undone.")
    if st.button("Delete for good", type="primary", key="runs.trash.sure"):
        with sentences():
            for run_id in run_ids:
                delete_for_good(session.runs_root(), run_id)
            st.rerun()
