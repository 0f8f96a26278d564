"""Where the runs are, and the readers this browser session holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import streamlit as st

from cggm_core.errors import RunNotFoundError, StoreError, UnknownNameError
from cggm_core.store import Catalogue, RunInfo, RunReader
from cggm_core.store.trashcan import TRASH
from cggm_core.ui.runs_facts import Facts, FactsBook

SAMPLE_RUNS = Path(__file__).resolve().parents[2] / "sample_runs"
_READERS, _PAGES = "session.readers", "session.pages"
_MOST_READERS = 64


def runs_root() -> Path:
    """Folder of all runs: `$CGGM_RUNS`, else `runs/` under the current folder; made (0700) if it is missing.

    Raises:
        StoreError: if it cannot be made or is not a folder.
    """
    root = Path(os.environ.get("CGGM_RUNS") or "runs").expanduser().absolute()
    try:
        # Configurations and logs may hold paths and names of the user's, so nobody else reads them.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the runs folder {root} cannot be made: {error.strerror or error}; "
            "set CGGM_RUNS to a folder you may write and start the app again"
        ) from error
    return root


def catalogue() -> Catalogue:
    """Every run of the root and the sample runs; one for all sessions of the app."""
    return _catalogue(str(runs_root()), str(SAMPLE_RUNS))


def trash() -> Catalogue:
    """Every run in the trash of the root."""
    return _catalogue(str(runs_root() / TRASH), "")


def facts(infos: Sequence[RunInfo]) -> list[Facts]:
    """What lists show of runs; worked out once for all sessions while a run stays as it is."""
    return _book().of(infos)


def reader(run_id: str) -> RunReader:
    """The session's reader of a run; made on first use, let go when the run's folder is gone.

    Raises:
        RunNotFoundError: if there is no such run.
    """
    held: dict[str, RunReader] = st.session_state.setdefault(_READERS, {})
    try:
        folder = str(catalogue().folder(run_id))
    except RunNotFoundError:
        _let_go(held, run_id)
        raise
    # The folder is part of the key: a run restored, or moved to another root, is another file.
    key = f"{run_id} {folder}"
    if key not in held:
        _let_go(held, run_id)
        while len(held) >= _MOST_READERS:
            held.pop(next(iter(held))).close()
        held[key] = catalogue().reader(run_id)
    return held[key]


def find(run_id: str) -> RunInfo:
    """One run as it stands now, by its id or an unambiguous beginning of it.

    Raises:
        RunNotFoundError: if no run or more than one fits.
    """
    return catalogue().find(run_id)


def know_pages(pages: Mapping[str, st.Page]) -> None:
    """Remember the pages by name; called by the frame, so that `go` needs no paths."""
    st.session_state[_PAGES] = dict(pages)


def go(page: str, **query: str) -> NoReturn:
    """Leave for another page of the app.

    Args:
        page: its name.
        query: what its address shall carry, such as `run=<id>`.

    Raises:
        UnknownNameError: if there is no such page.
    """
    pages: Mapping[str, st.Page] = st.session_state.get(_PAGES, {})
    if page not in pages:
        raise UnknownNameError("page", page, tuple(pages))
    st.switch_page(pages[page], query_params=query)


@st.cache_resource(show_spinner=False, max_entries=8)
def _catalogue(root: str, samples: str) -> Catalogue:
    return Catalogue(root, (samples,) if samples else ())


@st.cache_resource(show_spinner=False)
def _book() -> FactsBook:
    return FactsBook()


def _let_go(held: dict[str, RunReader], run_id: str) -> None:
    for key in [key for key in held if key.startswith(f"{run_id} ")]:
        held.pop(key).close()
