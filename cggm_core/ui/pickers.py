"""Choosing runs, with the choice in the address: a reload or a shared link shows the same view."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from cggm_core.errors import RunNotFoundError
from cggm_core.store import ENDED, RunInfo
from cggm_core.ui import session
from cggm_core.ui.runs_view import Filter
from cggm_core.ui.safe import md, plain

ONE, MANY = "run", "runs"
MOST_RUNS = 30
# A list of thousands is long to send and longer to look through; beyond this many there is a search.
MOST_LISTED = 200
PATIENCE = 1.0
_LAST = "pickers.last_run"
_WORD = re.compile(r"\W+")


def run_label(info: RunInfo) -> str:
    """A run in one line of plain text: its name, or what it trains, and how it stands; nothing is said twice."""
    config = info.config
    training = config.get("training")
    seed = training.get("seed") if isinstance(training, dict) else None
    name = plain(info.name, 60) if info.name else ""
    what = [
        plain(str(config.get("dataset", "")).replace("\\", "/").rpartition("/")[2], 40),
        plain(config.get("method", ""), 30),
        plain(config.get("preset", ""), 20),
        f"seed {plain(seed, 12)}" if seed is not None else "",
    ]
    words = f" {_WORD.sub(' ', name.casefold())} "
    new = [part for part in what if part and f" {_WORD.sub(' ', part.casefold())} " not in words]
    return " · ".join([*([name] if name else []), *new, _standing(info)])


def _standing(info: RunInfo) -> str:
    return "damaged" if info.damaged else "sample" if info.sample else info.state


def pick_run(key: str, label: str = "Run") -> RunInfo | None:
    """A select box over all runs, newest first, bound to `?run=`.

    Without a run in the address it shows the one looked at last in this session, else one that trains, else
    the newest.

    Args:
        key: of the widget; unique on its page.
        label: above the widget; our own words only.

    Returns:
        The run as it stands now; None when there is none, or the address names one that does not exist (which
        is then said on the page).
    """
    infos = _known(asked := _asked(ONE))
    if not infos:
        return None
    wanted = asked[0] if asked else ""
    chosen = _from_address(wanted, infos) if wanted else None
    unknown = bool(wanted) and chosen is None
    if key not in st.session_state or st.session_state[key] not in infos or chosen:
        st.session_state[key] = chosen or (None if unknown else _first(infos))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        listed = _offered(key, infos, [st.session_state[key]])
        labels = _labels(listed)
        run_id = st.selectbox(
            label, [i.id for i in listed], key=key, format_func=lambda i: labels.get(i, i),
            placeholder="Choose a run", on_change=_note_choice, args=(key,),
        )  # fmt: skip
    if run_id is None:
        if unknown:
            st.warning(f"There is no run {md(wanted, 40)} here; choose another one.", icon=":material/search_off:")
        return None
    st.session_state[_LAST] = run_id
    if wanted != run_id:
        st.query_params[ONE] = run_id
    return infos[run_id]


def pick_runs(
    key: str, label: str = "Runs", default: Callable[[Sequence[RunInfo]], Sequence[str]] | None = None
) -> list[RunInfo]:
    """A multiple choice over all runs, newest first, bound to `?runs=` (ids separated by commas).

    Args:
        key: of the widget; unique on its page.
        label: above the widget; our own words only.
        default: gives, of all runs, the ids chosen when the address names none; not given it is none.

    Returns:
        The runs in the order chosen, as they stand now; ids of the address that no run has are left out, and
        named on the page.
    """
    infos = _known(asked := _asked(MANY))
    if not infos:
        return []
    address = st.query_params.get(MANY, "")
    missing = [run_id for run_id in asked if run_id not in infos]
    if key not in st.session_state or (asked and _changed(key, address)):
        first = asked or (default(list(infos.values())) if default else ())
        st.session_state[key] = [run_id for run_id in first if run_id in infos][:MOST_RUNS]
    st.session_state[key] = [run_id for run_id in st.session_state[key] if run_id in infos]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        listed = _offered(key, infos, st.session_state[key])
        labels = _labels(listed)
        chosen = st.multiselect(
            label, [i.id for i in listed], key=key, format_func=lambda i: labels.get(i, i),
            max_selections=MOST_RUNS, placeholder="Choose runs",
        )  # fmt: skip
    if missing:
        shown = md(", ".join(missing[:3]), 120)
        st.warning(f"Not found here: {shown}; the other runs are shown.", icon=":material/search_off:")
    joined = ",".join(chosen)
    if joined != address:
        _put(MANY, joined)
    st.session_state[f"{key}.address"] = joined
    return [infos[run_id] for run_id in chosen]


def suggested(infos: Sequence[RunInfo]) -> list[str]:
    """Runs to begin with: the samples of one data set, else the newest finished runs of one data set."""
    sound = [info for info in infos if not info.damaged and not info.archived and info.state == "finished"]
    pool = [info for info in sound if info.sample] or sound
    if not pool:
        return []
    data = pool[0].config.get("dataset")
    return [info.id for info in pool if info.config.get("dataset") == data][:MOST_RUNS]


def _asked(name: str) -> list[str]:
    """Ids that the address names, each once, in its order."""
    parts = (part.strip().upper() for part in st.query_params.get(name, "").split(","))
    return list(dict.fromkeys(part for part in parts if part))


def _known(asked: Sequence[str]) -> dict[str, RunInfo]:
    """Every run by id, newest first; of a folder never read before those read so far, and those asked for."""
    catalogue = session.catalogue()
    infos = {info.id: info for info in catalogue.runs(patience=PATIENCE)}
    if catalogue.unread:
        st.caption(f"Reading the runs for the first time: {catalogue.unread:,} are not listed yet.")
        for run_id in asked:
            with contextlib.suppress(RunNotFoundError):
                infos.setdefault(run_id, catalogue.reader(run_id).info())
    return infos


def _offered(key: str, infos: Mapping[str, RunInfo], chosen: Sequence[str | None]) -> list[RunInfo]:
    """The runs to choose from: all that are not archived, or, of many, the newest that fit the words typed."""
    current = [info for info in infos.values() if not info.archived]
    if len(current) > MOST_LISTED:
        words = st.text_input(
            "Search runs", key=f"{key}.q", placeholder=f"Any of {len(current):,}", width=230,
            icon=":material/search:", help=f"The newest {MOST_LISTED} that fit are offered.",
        )  # fmt: skip
        fitting = Filter(words).taken(session.facts(list(infos.values()))) if words else ()
        current = [f.info for f in fitting][:MOST_LISTED] if words else current[:MOST_LISTED]
    offered = {info.id for info in current} | {run_id for run_id in chosen if run_id}
    return [info for info in infos.values() if info.id in offered]


def _from_address(asked: str, infos: dict[str, RunInfo]) -> str | None:
    """The run the address asks for: by whole id, or by a beginning that fits one only."""
    fitting = [asked] if asked in infos else [i for i in infos if len(asked) >= 6 and i.startswith(asked)]
    return fitting[0] if len(fitting) == 1 else None


def _first(infos: dict[str, RunInfo]) -> str:
    last = st.session_state.get(_LAST)
    if last in infos:
        return str(last)
    living = [i for i in infos.values() if i.state not in ENDED and not i.damaged]
    sound = [i for i in infos.values() if not i.damaged and not i.archived]
    return (living or sound or list(infos.values()))[0].id


def _note_choice(key: str) -> None:
    # Before the page runs again the address must name the new choice, or it would win over it.
    _put(ONE, st.session_state[key] or "")


def _changed(key: str, address: str) -> bool:
    """Whether the address was changed by something else than this picker (a link, the Back button)."""
    return bool(st.session_state.get(f"{key}.address") != address and f"{key}.address" in st.session_state)


def _put(name: str, value: str) -> None:
    if value:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]


def _labels(infos: Sequence[RunInfo]) -> dict[str, str]:
    """Labels by id; runs that would read alike get the end of their id."""
    labels = {info.id: run_label(info) for info in infos}
    seen: dict[str, int] = {}
    for text in labels.values():
        seen[text] = seen.get(text, 0) + 1
    return {i: f"{text} · {i[-5:]}" if seen[text] > 1 else text for i, text in labels.items()}
