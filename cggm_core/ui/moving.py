"""Runs leaving as a file and arriving as one, on the page."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import streamlit as st

from cggm_core.store import RunInfo, RunReader, pack, staging, take_in, write_csv, write_events, write_parquet
from cggm_core.store.export import folder_name
from cggm_core.store.tensorboard_export import file_name
from cggm_core.ui import session
from cggm_core.ui.safe import md, sentences

MOST_BYTES = 1 << 30  # of what is taken in through the page; the command line takes more
MOST_VALUES = 5_000_000  # in a file made by the page, which holds it in memory; the command line writes any number
ARRIVED, TAKEN, MADE, FORMAT = "moving.arrived", "moving.taken", "moving.made", "moving.format"


@dataclass(frozen=True)
class Form:
    """One way in which runs leave.

    Attributes:
        label, purpose: as offered, and the line below it.
        ending: of the file of one run.
        mime: of that file.
    """

    label: str
    purpose: str
    ending: str
    mime: str


ZIP = "application/zip"
FORMS = {
    "archive": Form(
        "Archive",
        "Whole runs for another machine or a reviewer: configurations, every recorded number, gradient snapshots, "
        "your names, tags and notes. **Import** takes it in.", ".zip", ZIP,
    ),
    "csv": Form(
        "CSV", "The numbers as lines of step, epoch, metric, modality and value, for a spreadsheet.",
        ".csv", "text/csv",
    ),
    "parquet": Form(
        "Parquet", "The same numbers bit for bit, typed and small, for pandas, Polars or DuckDB.",
        ".parquet", "application/vnd.apache.parquet",
    ),
    "tensorboard": Form(
        "TensorBoard", "Event files, a folder for each run: unpack them and start TensorBoard with --logdir.",
        ".zip", ZIP,
    ),
}  # fmt: skip


def made(infos: Sequence[RunInfo], form: str) -> tuple[bytes, str, str]:
    """Runs as the bytes of one file, with its name and its media type.

    Args:
        infos: at least one; several as CSV or Parquet are a ZIP of one file each.
        form: a key of `FORMS`.

    Raises:
        StoreError: if a run cannot be read or the file not be made.
    """
    with staging(session.runs_root()) as place:
        file = place / "made"
        if form == "archive":
            pack([session.catalogue().folder(info.id) for info in infos], file)
            return file.read_bytes(), "cggm-runs.zip", ZIP
        if len(infos) == 1 and form != "tensorboard":
            with open(file, "wb") as opened:
                _write(form, session.reader(infos[0].id), opened)
            return file.read_bytes(), folder_name(infos[0]) + FORMS[form].ending, FORMS[form].mime
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for info in infos:
                with archive.open(_member(form, info), "w", force_zip64=True) as member:
                    _write(form, session.reader(info.id), member)
        return file.read_bytes(), f"cggm-{form}.zip", ZIP


def _member(form: str, info: RunInfo) -> str:
    if form == "tensorboard":
        return f"{folder_name(info)}/{file_name(session.reader(info.id))}"
    return folder_name(info) + FORMS[form].ending


def _write(form: str, reader: RunReader, file: IO[bytes]) -> None:
    if form == "csv":
        with _as_text(file) as text:
            write_csv(reader, text)
    elif form == "parquet":
        write_parquet(reader, file)
    else:
        write_events(reader, file)


@contextlib.contextmanager
def _as_text(file: IO[bytes]) -> Iterator[io.TextIOWrapper]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield text
    finally:
        text.flush()
        text.detach()  # whoever opened the file closes it


@st.dialog("Export runs")
def export_dialog(infos: Sequence[RunInfo]) -> None:
    """Offer the forms, each with what it is for; make the one chosen and hand it over."""
    count = f"{len(infos)} {'run' if len(infos) == 1 else 'runs'}"
    form = st.radio(
        f"Export {count} as", list(FORMS), key=FORMAT, format_func=lambda name: FORMS[name].label,
        captions=[one.purpose for one in FORMS.values()],
    )  # fmt: skip
    st.caption(
        "None of them holds checkpoints, logs, or the folders and the machine the runs came from. A run that still "
        "trains is taken as it stands."
    )
    with sentences():
        values = sum(series.count for info in infos for series in info.summary.values())
        if form != "archive" and values > MOST_VALUES:
            out = "FOLDER" if form == "tensorboard" else "FILE"
            st.info(
                f"{values:,} values are more than the page hands over at once. On the command line: "
                f"`python -m cggm_core export {infos[0].id} --to {form} --out {out}`"
            )
            return
        asked = (form, *((info.id, session.reader(info.id).change_token()) for info in infos))
        if st.session_state.get(MADE, ((),))[0] != asked:
            with st.spinner("Writing it"):
                st.session_state[MADE] = (asked, *made(infos, form))
        _, data, name, mime = st.session_state[MADE]
        st.download_button(
            f"Download, {_size(len(data))}", data, name, mime, on_click="ignore", icon=":material/download:",
            type="primary",
        )  # fmt: skip


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{max(1, round(count / 1e3))} kB"


def import_menu() -> None:
    """Take runs in, all that were given or nothing."""
    with st.popover("Import", icon=":material/upload:", help="Take in an archive of runs, or event files"):
        st.markdown(
            "- An **archive** made by Export here or elsewhere.\n"
            "- **Event files of TensorBoard**, anybody's: files given together are one run; a ZIP of a log folder "
            "gives a run for each folder with event files in it.\n\n"
            "Everything is checked whole before anything is taken in."
        )
        given = st.file_uploader(
            "Archive, event files, or a ZIP of them", accept_multiple_files=True,
            key=f"moving.file.{st.session_state.get(TAKEN, 0)}",
        )  # fmt: skip
        st.caption("What is larger than the page takes goes in with `python -m cggm_core import FILE_OR_FOLDER`.")
        if given:
            _take_in(given)


def _take_in(given: Sequence[io.BytesIO]) -> None:
    with sentences(), staging(session.runs_root()) as place:
        placed = []
        for number, one in enumerate(given):
            # The name that came with it says nothing about where it lies here; it is shown, no more.
            file = place / f"{number}.given"
            file.write_bytes(one.getbuffer())
            placed.append((one.name, file))
        whole: Path | list[tuple[str, Path]] = placed
        if len(placed) == 1 and zipfile.is_zipfile(placed[0][1]):
            whole = placed[0][1].rename(place / "archive.zip")
        with st.spinner("Checking every part of it"):
            new = take_in(whole, session.runs_root(), most_bytes=MOST_BYTES)
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
