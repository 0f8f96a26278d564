"""What the lab is and where to begin: for a first visit, and out of the way afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from cggm_core.store import RunInfo
from cggm_core.ui import session

_SEEN, _AWAY = ".welcomed", "welcome.away"


def welcome(infos: Sequence[RunInfo]) -> None:
    """Two lines and the ways on; drawn until there is a run of one's own, or until it was put away.

    Args:
        infos: every run there is, samples among them.
    """
    if any(not info.sample for info in infos) or _was_put_away(session.runs_root()):
        return
    with st.container(border=True, key="welcome", gap="small"):
        st.markdown(
            "**Why does a multimodal network rely on one modality?** See which one carries the prediction, since when "
            "and how surely; balance them; and hold every method against plain joint training, seed by seed. The runs "
            "below came with the lab and are read-only."
        )
        _ways(infos)


def _ways(infos: Sequence[RunInfo]) -> None:
    """Where to begin, in the order of a first visit."""
    sample = _telling(infos)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if sample is not None and st.button(
            "1 · See a verdict", icon=":material/stethoscope:", key="welcome.verdict", type="primary",
            help="Diagnosis of a finished sample run: who carries its prediction, and the evidence",
        ):  # fmt: skip
            session.go("diagnosis", run=sample.id)
        if sample is not None and st.button(
            "2 · Compare methods", icon=":material/compare_arrows:", key="welcome.compare",
            help="The sample runs against joint training, with spread over seeds",
        ):  # fmt: skip
            session.go("compare")
        if st.button("3 · Train a run", icon=":material/add_circle:", key="welcome.train",
                     help="A form with data that come with the lab; half a minute on a laptop"):  # fmt: skip
            session.go("new_run")
        if st.button("Watch your own loop", icon=":material/code:", key="welcome.loop",
                     help="Three lines in a PyTorch training of yours"):  # fmt: skip
            session.go("library")
        st.space("stretch")
        st.button("Put away", icon=":material/close:", type="tertiary", key="welcome.away.button",
                  on_click=_put_away, args=(session.runs_root(),))  # fmt: skip


def _telling(infos: Sequence[RunInfo]) -> RunInfo | None:
    """The sample to begin with: joint training, for it shows what nothing has balanced."""
    samples = [info for info in infos if info.sample and not info.damaged]
    joint = [info for info in samples if info.config.get("method") == "joint"]
    return min(joint or samples, key=lambda info: info.name, default=None)


def _was_put_away(root: Path) -> bool:
    return bool(st.session_state.get(_AWAY)) or (root / _SEEN).exists()


def _put_away(root: Path) -> None:
    """Never again here, as far as the folder of runs can be written; else not again in this session."""
    st.session_state[_AWAY] = True
    with contextlib.suppress(OSError):
        (root / _SEEN).touch(mode=0o600)
