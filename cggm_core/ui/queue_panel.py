"""The queue of runs: what waits, trains and failed, with cancel; drawn again by its own timer."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import streamlit as st

from cggm_core import launch
from cggm_core.launch.queue import OPEN, Job, JobState
from cggm_core.ui import session
from cggm_core.ui.safe import plain, sentences

REFRESH_SECONDS = 1.5
SHOWN_JOBS = 200
_STATES = {
    "pending": ("○ pending", "#5B6770"),
    "running": ("● running", "#0069A6"),
    "done": ("✓ done", "#00795A"),
    "stopped": ("■ stopped", "#5B6770"),
    "failed": ("✕ failed", "#B3400E"),
    "cancelled": ("■ cancelled", "#5B6770"),
}


def show() -> None:
    """The queue, if anything is in it; refreshes itself while jobs are open."""
    root = session.runs_root()
    jobs = launch.queue_state(root).jobs
    if jobs:
        living = any(job.state in OPEN for job in jobs)
        st.fragment(_panel, run_every=REFRESH_SECONDS if living else None)()


def rows(jobs: list[Job]) -> pd.DataFrame:
    """One row a job, in the order given."""
    return pd.DataFrame([_row(job) for job in jobs])


def _panel() -> None:
    with sentences():
        state = launch.queue_state(session.runs_root())
        living = sum(job.state in OPEN for job in state.jobs)
        counts = ", ".join(f"{state.count(name)} {name}" for name in get_args(JobState) if state.count(name))
        # What has ended is history: one line, until somebody opens it.
        with st.container(border=True) if living else st.expander(f"Queue: {counts or 'empty'}"):
            if living:
                st.subheader("Queue", anchor=False)
                st.caption(f"{counts}; {state.slots} at once. It goes on when this page is closed.")
            _jobs(state, living)


def _jobs(state: launch.QueueState, living: int) -> None:
    root = session.runs_root()
    if living and not state.at_work:
        st.warning("Jobs wait and no process works on them.", icon=":material/hourglass_disabled:")
        if st.button("Go on with the queue"):
            launch.wake(root)
    if state.jobs:
        chosen = _table(state.jobs[-SHOWN_JOBS:])
        _buttons(root, chosen, living, len(state.jobs) > living)


def _table(jobs: list[Job]) -> list[Job]:
    """The jobs as a table; returns those chosen."""
    config = st.column_config
    # Streamlit keeps a tick by its row: it must not outlive the list it was made on.
    listed = zlib.crc32(" ".join(job.id for job in jobs).encode())
    event: Any = st.dataframe(
        rows(jobs), key=f"queue.table.{listed}", hide_index=True, on_select="rerun", placeholder="",
        height=36 * (min(len(jobs), 8) + 1) + 2, row_height=36, alt=f"Queue of {len(jobs)} runs",
        column_config={
            "state": config.MultiselectColumn(
                "State", options=[t for t, _ in _STATES.values()], color=[c for _, c in _STATES.values()],
                width=110,
            ),
            "run": config.TextColumn("Run", width=260), "seed": config.NumberColumn("Seed", width=55),
            "error": config.TextColumn("Why it failed", width=380),
        },
    )  # fmt: skip
    return [jobs[row] for row in event["selection"]["rows"] if row < len(jobs)]


def _buttons(root: Any, chosen: list[Job], waiting: int, ended: bool) -> None:
    cancellable = [job.id for job in chosen if job.state in OPEN]
    one = chosen[0].run if len(chosen) == 1 else ""
    with st.container(horizontal=True):
        if st.button("Monitor", key="queue.monitor", icon=":material/monitoring:", disabled=not one):
            session.go("monitor", run=one)
        if st.button("Cancel chosen", icon=":material/cancel:", disabled=not cancellable,
                     help="A run that trains is asked to stop with a checkpoint"):  # fmt: skip
            launch.cancel(root, cancellable)
        if st.button("Cancel all", icon=":material/cancel:", disabled=not waiting):
            launch.cancel(root)
        if st.button("Forget ended", icon=":material/clear_all:", disabled=not ended,
                     help="Takes ended jobs off this list; their runs stay"):  # fmt: skip
            launch.clear(root)
            st.rerun()


def _row(job: Job) -> dict[str, Any]:
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
        "run": " · ".join(plain(part, 40) for part in what if part),
        "seed": seed if isinstance(seed, int) else None,
        "error": plain(job.error, 300),
    }
