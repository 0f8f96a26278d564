"""The queue of runs: what waits, trains and failed, how long it takes, retry, cancel; drawn again by its own timer."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import streamlit as st

from cggm_core import launch
from cggm_core.launch.queue import AGAIN, OPEN, Job, JobState
from cggm_core.ui import presence, session
from cggm_core.ui.safe import plain, sentences

REFRESH_SECONDS = 1.5
SHOWN_JOBS = 200
_AGAIN = "Goes on from the checkpoint where the run left one, else begins anew"
_STATES = {
    "pending": ("○ pending", "#6A7882"),
    "running": ("● running", "#007AC2"),
    "done": ("✓ done", "#008663"),
    "stopped": ("■ stopped", "#6A7882"),
    "failed": ("✕ failed", "#CE4910"),
    "cancelled": ("■ cancelled", "#6A7882"),
}


def show() -> None:
    """The queue, if anything is in it; refreshes itself while jobs are open."""
    root = session.runs_root()
    jobs = launch.queue_state(root).jobs
    if jobs:
        living = any(job.state in OPEN for job in jobs)
        st.fragment(_panel, run_every=presence.every(REFRESH_SECONDS if living else None, key="presence.queue"))()


def rows(jobs: list[Job], shares: Mapping[str, float]) -> pd.DataFrame:
    """One row a job, in the order given; the card is told where there are several to choose from.

    Args:
        jobs: to be listed.
        shares: of steps done, by the id of a running job.
    """
    made = pd.DataFrame([_row(job, shares) for job in jobs])
    return made if any(job.card for job in jobs) else made.drop(columns="card")


def headline(state: launch.QueueState, done: launch.Progress) -> str:
    """How far it has come, in one line."""
    counts = ", ".join(f"{state.count(name)} {name}" for name in get_args(JobState) if state.count(name))
    left = launch.duration(done.seconds)
    return f"{counts}; {state.slots} at once" + (f"; about {left} left" if left else "; time left not known yet")


def _panel() -> None:
    with sentences():
        root = session.runs_root()
        state = launch.queue_state(root)
        living = sum(job.state in OPEN for job in state.jobs)
        # What has ended is history: one line, until somebody opens it.
        if living:
            done = launch.progress(state, root)
            with st.container(border=True):
                st.header("Queue", anchor=False)
                st.progress(done.share, f"{done.ended} of {done.jobs} runs ended")
                st.caption(f"{headline(state, done)}. It goes on when this page is closed.")
                _jobs(state, living, done.shares)
        else:
            counts = ", ".join(f"{state.count(name)} {name}" for name in get_args(JobState) if state.count(name))
            with st.expander(f"Queue: {counts or 'empty'}"):
                _jobs(state, living, {})


def _jobs(state: launch.QueueState, living: int, shares: Mapping[str, float]) -> None:
    root = session.runs_root()
    if living and not state.at_work:
        st.warning("Jobs wait and no process works on them.", icon=":material/hourglass_disabled:")
        if st.button("Go on with the queue"):
            launch.wake(root)
    if state.jobs:
        chosen = _table(state.jobs[-SHOWN_JOBS:], shares)
        _buttons(root, chosen, state, living)


def _table(jobs: list[Job], shares: Mapping[str, float]) -> list[Job]:
    """The jobs as a table; returns those chosen."""
    config = st.column_config
    # Streamlit keeps a tick by its row: it must not outlive the list it was made on.
    listed = zlib.crc32(" ".join(job.id for job in jobs).encode())
    event: Any = st.dataframe(
        rows(jobs, shares), key=f"queue.table.{listed}", hide_index=True, on_select="rerun", placeholder="",
        height=36 * (min(len(jobs), 8) + 1) + 2, row_height=36, alt=f"Queue of {len(jobs)} runs",
        column_config={
            "state": config.MultiselectColumn(
                "State", options=[t for t, _ in _STATES.values()], color=[c for _, c in _STATES.values()],
                width=110,
            ),
            "done": config.ProgressColumn("Done", format="percent", min_value=0.0, max_value=1.0, width=110),
            "run": config.TextColumn("Run", width=340), "seed": config.NumberColumn("Seed", width=55),
            "card": config.TextColumn("Card", width=60, help="Graphics card it was given; runs take turns over them"),
            "error": config.TextColumn("Why it failed", width=330),
        },
    )  # fmt: skip
    return [jobs[row] for row in event["selection"]["rows"] if row < len(jobs)]


def _buttons(root: Path, chosen: list[Job], state: launch.QueueState, living: int) -> None:
    cancellable = [job.id for job in chosen if job.state in OPEN]
    repeatable = [job.id for job in chosen if job.state in AGAIN]
    one = chosen[0].run if len(chosen) == 1 else ""
    with st.container(horizontal=True):
        if st.button("Monitor", key="queue.monitor", icon=":material/monitoring:", disabled=not one):
            session.go("monitor", run=one)
        if st.button("Retry chosen", icon=":material/replay:", disabled=not repeatable, help=_AGAIN):
            launch.retry(root, repeatable)
            st.rerun()
        if st.button("Retry failed", icon=":material/replay:", disabled=not state.count("failed"), help=_AGAIN):
            launch.retry(root)
            st.rerun()
        if st.button("Cancel chosen", icon=":material/cancel:", disabled=not cancellable,
                     help="A run that trains is asked to stop with a checkpoint"):  # fmt: skip
            launch.cancel(root, cancellable)
        if st.button("Cancel all", icon=":material/cancel:", disabled=not living):
            launch.cancel(root)
        if st.button("Forget ended", icon=":material/clear_all:", disabled=len(state.jobs) == living,
                     help="Takes ended jobs off this list; their runs stay"):  # fmt: skip
            launch.clear(root)
            st.rerun()


def _row(job: Job, shares: Mapping[str, float]) -> dict[str, Any]:
    config = job.config
    training = config.get("training")
    seed = training.get("seed") if isinstance(training, dict) else None
    what = [
        config.get("name", ""),
        Path(str(config.get("dataset", ""))).name,
        config.get("method", ""),
        config.get("preset", ""),
    ]
    return {
        "state": [_STATES[job.state][0]],
        "done": 1.0 if job.state == "done" else shares.get(job.id),
        "run": " · ".join(plain(part, 40) for part in what if part),
        "seed": seed if isinstance(seed, int) else None,
        "card": job.card,
        "error": plain(job.error, 300),
    }
