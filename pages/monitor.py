"""One run, live: what every modality does, and the controls that act on the running training."""

from __future__ import annotations

import math
import secrets
import time
from pathlib import Path

import pandas as pd
import streamlit as st

from cggm_core.analysis.series import Axis
from cggm_core.cards import PageCard
from cggm_core.figures.zoom import Window
from cggm_core.store import ENDED, LOG, Event, RunInfo
from cggm_core.ui import controls, presence, session
from cggm_core.ui.live_runs import Shot, shared_run
from cggm_core.ui.panels import BESIDE_POINTS, PANEL_HEIGHT, figure_card
from cggm_core.ui.pickers import pick_run
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="monitor",
    title="Monitor",
    summary="One run, live: scores, gradients, losses and the balancing coefficient, with controls.",
    icon=":material/monitoring:",
    order=30,
    section="One run",
    alias=("live", "watch", "training"),
)

HALF_LIVES = (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LOG_BYTES = 16_000
FEW_EVENTS = 7
BADGES = {
    "starting": (":material/hourglass_top:", "gray"),
    "running": (":material/play_circle:", "blue"),
    "paused": (":material/pause_circle:", "orange"),
    "finished": (":material/check_circle:", "green"),
    "stopped": (":material/stop_circle:", "gray"),
    "failed": (":material/error:", "red"),
    "died": (":material/heart_broken:", "red"),
    "damaged": (":material/broken_image:", "violet"),
}
_PACE, _WINDOW, _WHO = "monitor.pace", "monitor.window", "monitor.who"
AXES: dict[str, Axis] = {"step": "step", "epoch": "epoch", "wall time": "seconds"}


def main() -> None:
    """The page."""
    st.title("Monitor")
    chosen = pick_run("monitor.run")
    if chosen is None:
        st.info("There is no run to show. Start one on the page New run, or choose one above.",
                icon=":material/info:")  # fmt: skip
        return
    st.session_state[_PACE] = pace = wanted_pace(chosen)
    st.fragment(live_part, run_every=presence.every(pace))(chosen.id)


def wanted_pace(info: RunInfo) -> float | None:
    """Seconds between two refreshes; None where nothing will change any more."""
    if not living(info):
        return None
    who = st.session_state.setdefault(_WHO, secrets.token_hex(8))
    return shared_run(info.id).pace(who, time.monotonic())


def living(info: RunInfo) -> bool:
    """Whether anything may still happen to the run."""
    return info.state not in ENDED and not info.damaged


def live_part(run_id: str) -> None:
    """Everything that changes while the run lives; one fragment, because each costs the server its own run."""
    with sentences():
        top, settings, rest = st.container(), st.container(), st.container()
        with settings:
            axis, half_life = view_settings()
        link = f"{run_id}:{axis}"
        shot = shared_run(run_id).shot(axis, half_life, BESIDE_POINTS, looked_at(link))
        if st.session_state.get(_PACE) and wanted_pace(shot.info) != st.session_state[_PACE]:
            # The timer belongs to a run that lives and to so many viewers; a whole rerun mounts the page anew.
            st.rerun(scope="app")
        with top:
            status(shot)
        with rest:
            if not shot.info.damaged:
                st.session_state["monitor.sent"] = draw(shot, link)
                log(shot.info)


def looked_at(link: str) -> Window | None:
    """The part of the x axis this session has zoomed to; None for all of it."""
    place, window = st.session_state.get(_WINDOW, ("", None))
    return window if place == link else None


def status(shot: Shot) -> None:
    """Header, progress, what the state means, and the controls."""
    header(shot.info, shot.events)
    progress(shot)
    explain(shot.info)
    if (silent := shot.silent(time.time())) > 0:
        st.warning(
            f"Nothing new for {duration(silent)}. The worker's process is there, but records nothing: it may validate, "
            "wait for its share of a busy machine, or be held from outside. Its last words stand in the log below; "
            "Stop ends it, and it can be resumed.", icon=":material/pending:",
        )  # fmt: skip
    if living(shot.info) and not shot.info.sample:
        controls.control_bar(shot.info, shot.events)


def header(info: RunInfo, events: tuple[Event, ...]) -> None:
    """Name, state as icon and word, and what is trained."""
    config = info.config
    training = config.get("training")
    seed = training.get("seed", "") if isinstance(training, dict) else ""
    state = "damaged" if info.damaged else info.state
    icon, colour = BADGES[state]
    started = next((event for event in reversed(events) if "device" in event.data), None)
    asked = training.get("device", "") if isinstance(training, dict) else ""
    device = started.data["device"] if started else asked
    facts = {
        "data set": Path(str(config.get("dataset", ""))).name, "method": config.get("method", ""),
        "preset": config.get("preset", ""), "seed": seed, "device": device,
    }  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(md(info.name or info.id, 80), width="content", anchor=False)
        st.badge(state, icon=icon, color=colour)  # type: ignore[arg-type]
        if info.sample:
            st.badge("sample", icon=":material/inventory_2:", color="gray")
        told = [f"{name} **{md(value, 60)}**" for name, value in facts.items() if value not in ("", None)]
        st.markdown(" · ".join(told), width="content")


def progress(shot: Shot) -> None:
    """How far the run is, how fast it goes, and how long it will take."""
    info = shot.info
    if info.steps <= 0:
        if info.state == "starting":
            st.progress(0.0, "The worker loads its data and builds the model.")
        return
    done = min(info.steps, info.step + 1)
    parts = [f"Step {done:,} of {info.steps:,}", f"epoch {max(0, info.epoch) + 1} of {info.epochs}"]
    beside = next((event for event in reversed(shot.events) if event.kind == "beside"), None)
    if beside and living(info) and info.step < beside.step:
        parts.append(md(beside.text, 120))
    if living(info) and info.state == "running" and shot.rate > 0:
        parts += [f"{shot.rate:,.3g} steps/s", f"about {duration((info.steps - done) / shot.rate)} left"]
    elif not living(info) and shot.elapsed > 0:
        parts.append(f"{duration(shot.elapsed)} of training")
    st.progress(done / info.steps, " · ".join(parts))


def duration(seconds: float) -> str:
    """Seconds in words that suit their size."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def explain(info: RunInfo) -> None:
    """What a state other than plain running means, and what to do."""
    reason = md(info.damaged or info.reason, 600)
    if info.damaged:
        st.error(f"The file of this run cannot be trusted: {reason}. Other runs are not affected.",
                 icon=":material/broken_image:")  # fmt: skip
    elif info.state == "failed":
        st.error(f"Training failed: {reason or 'no reason was recorded'}. The log below has the details.",
                 icon=":material/error:")  # fmt: skip
        controls.resume_button(info)
    elif info.state == "died":
        st.error(
            f"The worker of this run is gone without having said why ({reason}). Everything up to step "
            f"{max(0, info.step)} is kept.", icon=":material/heart_broken:",
        )  # fmt: skip
        controls.resume_button(info)
    elif info.state == "stopped":
        st.info(f"Stopped before its planned end{f': {reason}' if reason else ''}.", icon=":material/stop_circle:")
        controls.resume_button(info)
    elif info.state == "paused":
        st.info("Paused: the worker keeps everything in memory and waits.", icon=":material/pause_circle:")


def view_settings() -> tuple[Axis, float]:
    """Choice of x axis and smoothing."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.segmented_control("X axis", list(AXES), default="step", key="monitor.axis", required=True)
        half_life = st.select_slider(
            "Smoothing, half-life in steps", HALF_LIVES, 10, key="monitor.half_life", width=320,
            format_func=lambda steps: "raw" if steps == 0 else str(steps),
            help="The strong line averages what came before, each value counting half as much after so many "
            "steps. The faint line is what was measured.",
        )  # fmt: skip
    return AXES[name or "step"], float(half_life or 0)


def draw(shot: Shot, link: str) -> int:
    """All figures, two beside each other; the bytes sent."""

    def look(window: Window | None) -> None:
        st.session_state[_WINDOW] = (link, window)

    # A place of its own, filled or not: an element that came in between would have every chart below mounted anew.
    with st.container():
        if shot.rows > BESIDE_POINTS:
            st.caption(
                f"{shot.rows:,} steps are recorded. A line is drawn with at most {BESIDE_POINTS:,} points that keep "
                "every extreme; zoom in, and the part in view is drawn from all of its rows."
            )
    pairs = list(zip(shot.specs, shot.pictures, strict=True))
    sent = 0
    for start in range(0, len(pairs), 2):
        columns = st.columns(2, gap="small")
        for column, (spec, picture) in zip(columns, pairs[start : start + 2], strict=False):
            with column:
                sent += figure_card(spec, key=f"monitor.{spec.key}", link=link, picture=picture, on_view=look)
    with columns[1] if len(pairs) % 2 else st.container():
        events(shot.events)
    return sent


def events(happened: tuple[Event, ...]) -> None:
    """Everything that happened, as a table."""
    with st.container(border=True):
        st.markdown("**Events**")
        if not happened:
            st.caption("Nothing has happened yet. Interventions, resumes and warnings are listed here.")
            return
        st.dataframe(
            event_table(happened), hide_index=True, key="monitor.events",
            height="content" if len(happened) <= FEW_EVENTS else PANEL_HEIGHT,
            alt="Events of the run, newest first",
        )  # fmt: skip


def log(info: RunInfo) -> None:
    """The end of the worker's log; read and sent only while it is open."""
    shown = st.expander(
        "Log of the worker", icon=":material/terminal:", expanded=info.state in ("failed", "died"),
        key=f"monitor.log.{info.id}", on_change="rerun",
    )  # fmt: skip
    if shown.open:
        text = log_tail(session.catalogue().folder(info.id))
        shown.code(text, language=None, height=260, wrap_lines=True)


def event_table(events: tuple[Event, ...]) -> pd.DataFrame:
    """Events, newest first, as inert text."""
    rows = [(event.step, duration(event.seconds), plain(event.kind, 40), plain(event.text, 300))
            for event in reversed(events[-200:])]  # fmt: skip
    return pd.DataFrame(rows, columns=["step", "after", "event", "what"])


def log_tail(folder: Path) -> str:
    """The newest lines of the worker's log; control characters are dropped where it is shown."""
    try:
        with open(folder / LOG, "rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "There is no log: this run was not started by a worker, or its log was removed."
    lines = text.splitlines()[1 if size > LOG_BYTES else 0 :]
    kept = "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines[-200:])
    return kept or "The log is empty."


main()
