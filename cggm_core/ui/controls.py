"""What a person can ask of a running worker, and what became of it.

A request is written for the worker, which obeys between two steps and records an event with the request's
number: only that event says that it was heard. Which settings can change is read from the method's card.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cggm_core import catalog, launch
from cggm_core.cards import MethodCard, Param, Value
from cggm_core.errors import CggmError
from cggm_core.store import ENDED, Event, RunInfo
from cggm_core.ui import session
from cggm_core.ui.forms import title
from cggm_core.ui.safe import md

_LEDGER = "monitor.asked"
_SHOWN = 3
_PATIENCE = 10.0


@dataclass(frozen=True)
class Asked:
    """One request of this session.

    Attributes:
        number: as the worker will name it.
        text: what was asked, in words.
        at: monotonic seconds.
    """

    number: int
    text: str
    at: float


def live_params(config: Mapping[str, Any]) -> tuple[Param, ...]:
    """Settings of a run's method that may change while it trains; none for an unknown method."""
    try:
        card: MethodCard = catalog.card("method", str(config.get("method", "")))
    except CggmError:
        return ()
    return tuple(param for param in card.params if param.live)


def current_values(config: Mapping[str, Any], params: tuple[Param, ...], events: tuple[Event, ...]) -> dict[str, Value]:
    """Values in force: the configuration's, then those that later events say were set."""
    given = config.get("method_params")
    given = given if isinstance(given, Mapping) else {}
    values = {param.name: given.get(param.name, param.default) for param in params}
    for event in events:
        if event.kind == "set":
            values |= {name: value for name, value in event.data.items() if name in values}
    return values


def answers(asked: list[Asked], events: tuple[Event, ...]) -> list[tuple[Asked, Event | None]]:
    """Every request with the event that answered it, newest first."""
    heard = {event.data.get("request"): event for event in events}
    return [(one, heard.get(one.number)) for one in reversed(asked)]


def control_bar(info: RunInfo, events: tuple[Event, ...]) -> None:
    """Buttons and settings of a run that goes on."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if info.state == "paused":
            _action(info, "resume", "Go on", ":material/play_arrow:", "go on")
        else:
            _action(info, "pause", "Pause", ":material/pause:", "pause", disabled=info.state == "starting")
        _stop_menu(info, sum(event.kind == "stop" for event in events))
        _action(info, "snapshot", "Gradient snapshot now", ":material/photo_camera:", "a gradient snapshot",
                disabled=info.state != "running")  # fmt: skip
        params = live_params(info.config)
        if params:
            _settings(info, params, current_values(info.config, params, events))
    _replies(info, events)


def resume_button(info: RunInfo) -> None:
    """Go on with a run that ended early, from its checkpoint; says why where it cannot."""
    try:
        launch.check_resumable(info, session.catalogue().folder(info.id))
    except CggmError as error:
        st.caption(md(error, 400))
        return
    if info.sample:
        return
    if st.button("Resume from the checkpoint", icon=":material/restart_alt:", type="primary", key="monitor.restart"):
        try:
            with st.spinner("Starting the worker"):
                launch.resume(session.runs_root(), info.id)
                folder, deadline = session.catalogue().folder(info.id), time.monotonic() + 60
                # The worker has named its run but may not have opened its store yet.
                while launch.state_of(folder) == "starting" and time.monotonic() < deadline:
                    time.sleep(0.05)
            st.rerun(scope="app")
        except CggmError as error:
            st.error(md(error, 600), icon=":material/error:")


def _action(info: RunInfo, kind: str, label: str, icon: str, text: str, *, disabled: bool = False) -> None:
    if st.button(label, icon=icon, key=f"monitor.{kind}", disabled=disabled):
        _send(info, kind, text)


def _stop_menu(info: RunInfo, before: int) -> None:
    with st.popover("Stop", icon=":material/stop:", key="monitor.stop.menu"):
        st.write("The worker finishes its step, writes a checkpoint and ends. The run can be resumed.")
        if st.button("Stop this run", type="primary", key="monitor.stop"):
            try:
                launch.stop(session.runs_root(), info.id, wait=False)
                _note(info, Asked(-1 - before, "stop", time.monotonic()))
            except CggmError as error:
                st.error(md(error, 600), icon=":material/error:")


def _settings(info: RunInfo, params: tuple[Param, ...], values: Mapping[str, Value]) -> None:
    """Inputs of the method's live settings; one button sends those that differ from what is in force."""
    with (
        st.form(f"monitor.settings.{info.id}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        wanted = {param.name: _input(info, param, values[param.name]) for param in params}
        sent = st.form_submit_button("Apply", icon=":material/tune:")
    if sent:
        changed = {name: value for name, value in wanted.items() if value is not None and value != values[name]}
        if changed:
            words = ", ".join(f"{name} {value}" for name, value in changed.items())
            _send(info, "set", words, changed)
        else:
            st.toast("Nothing to apply: these values are in force already.")


def _input(info: RunInfo, param: Param, value: Value) -> Value | None:
    # What is in force may change elsewhere (another tab, the command line); the input follows, because it is another
    # input then. Setting its value instead would leave an empty one on the page when the run of a page is cut short.
    key = f"monitor.{info.id}.{param.name}.{value}"
    now = f"{param.text}. In force now: {value}."
    if isinstance(param.default, bool):
        return bool(st.toggle(title(param), bool(value), key=key, help=md(now, 400)))
    if isinstance(param.default, str):
        place = param.choices.index(str(value)) if value in param.choices else 0
        return str(st.selectbox(title(param), param.choices, place, key=key, help=md(now, 400)))
    kind = float if isinstance(param.default, float) else int
    low = None if param.low is None else kind(param.low)
    high = None if param.high is None else kind(param.high)
    entered: float | int | None = st.number_input(
        title(param), low, high, kind(value), step=None if kind is int else 0.05, key=key, width=130,
        format="%.4g" if kind is float else None, help=md(now, 400),
    )  # fmt: skip
    return entered


def _send(info: RunInfo, kind: str, text: str, values: Mapping[str, Value] | None = None) -> None:
    try:
        number = launch.request(session.runs_root(), info.id, kind, values)  # type: ignore[arg-type]
        _note(info, Asked(number, text, time.monotonic()))
    except CggmError as error:
        st.error(md(error, 600), icon=":material/error:")


def _note(info: RunInfo, asked: Asked) -> None:
    ledgers: dict[str, list[Asked]] = st.session_state.setdefault(_LEDGER, {})
    ledgers.setdefault(info.id, []).append(asked)


def _replies(info: RunInfo, events: tuple[Event, ...]) -> None:
    asked = st.session_state.get(_LEDGER, {}).get(info.id, [])
    for one, event in answers(asked, events)[:_SHOWN]:
        if one.number < 0:
            event = next(iter([e for e in events if e.kind == "stop"][-1 - one.number :]), None)
        if event is not None:
            st.caption(f":material/done_all: Asked: {md(one.text)}. Done at step {event.step}: {md(event.text, 300)}.")
        elif info.state in ENDED:
            st.caption(f":material/block: Asked: {md(one.text)}. The run ended before it could answer.")
        else:
            waited = time.monotonic() - one.at
            late = " It answers between two steps." if waited > _PATIENCE else ""
            st.caption(f":material/schedule: Asked: {md(one.text)}. Waiting for the worker, {waited:.0f} s.{late}")
