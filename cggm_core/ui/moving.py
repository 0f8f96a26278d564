"""Runs leaving as one file and arriving as one, on the page."""

from __future__ import annotations

import io
from collections.abc import Sequence

import streamlit as st

from cggm_core.store import RunInfo, pack, staging, unpack
from cggm_core.ui import session
from cggm_core.ui.safe import md, sentences

MOST_BYTES = 1 << 30  # of an archive unpacked through the page; the command line takes more
ARRIVED, TAKEN, PACKED = "moving.arrived", "moving.taken", "moving.packed"


def packed(infos: Sequence[RunInfo]) -> bytes:
    """Runs as the bytes of one archive.

    Raises:
        StoreError: as `store.pack`.
    """
    with staging(session.runs_root()) as place:
        file = place / "runs.zip"
        pack([session.catalogue().folder(info.id) for info in infos], file)
        return file.read_bytes()


@st.dialog("Export runs")
def export_dialog(infos: Sequence[RunInfo]) -> None:
    """Make the archive, say what is in it, and hand it over."""
    st.markdown(
        f"{len(infos)} {'run' if len(infos) == 1 else 'runs'} as one archive: configurations, every recorded number, "
        "your names, tags and notes. Left out: checkpoints, logs, and the folders and the machine they came from. A "
        "run that still trains is copied as it stands."
    )
    with sentences():
        asked = tuple((info.id, session.reader(info.id).change_token()) for info in infos)
        if st.session_state.get(PACKED, ((), b""))[0] != asked:
            st.session_state[PACKED] = (asked, packed(infos))
        data = st.session_state[PACKED][1]
        st.download_button(
            f"Download, {len(data) / 1e6:.1f} MB", data, "cggm-runs.zip", "application/zip", on_click="ignore",
            icon=":material/download:", type="primary",
        )  # fmt: skip


def import_menu() -> None:
    """Take an archive in, all of it or nothing."""
    with st.popover("Import", icon=":material/upload:", help="Take in an archive of runs"):
        st.markdown("An archive made by **Export** here or elsewhere. It is checked whole before anything is taken in.")
        given = st.file_uploader("Archive of runs", type="zip", key=f"moving.file.{st.session_state.get(TAKEN, 0)}")
        st.caption("A larger archive than the page takes goes in with `python -m cggm_core import FILE`.")
        if given is not None:
            _take_in(given)


def _take_in(given: io.BytesIO) -> None:
    with sentences(), staging(session.runs_root()) as place:
        # The name that came with it says nothing about where it lies here.
        file = place / "archive.zip"
        file.write_bytes(given.getbuffer())
        with st.spinner("Checking every part of it"):
            new = unpack(file, session.runs_root(), most_bytes=MOST_BYTES)
        st.session_state[ARRIVED] = (
            f"{len(new)} {'run was' if len(new) == 1 else 'runs were'} taken in."
            if new else "Every run of the archive was there already."
        )  # fmt: skip
        st.session_state[TAKEN] = st.session_state.get(TAKEN, 0) + 1  # a new key is an empty field
        st.rerun()


def announce() -> None:
    """Say once what an import brought."""
    told = st.session_state.pop(ARRIVED, "")
    if told:
        st.toast(md(told), icon=":material/check:")
