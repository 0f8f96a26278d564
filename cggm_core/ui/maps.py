"""What the page of gradient maps holds: kept gradients, the map asked for, and the map shown before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from cggm_core.embedding import jobs
from cggm_core.embedding.align import laid_onto
from cggm_core.embedding.gradients import FloatArray, Gradients, collect
from cggm_core.embedding.pairing import Pairing, over_training, pairing
from cggm_core.embedding.project import Method
from cggm_core.launch import request
from cggm_core.store import RunInfo, RunReader
from cggm_core.ui import session

_KEPT, _SHOWN, _CANCELLED, _PICKED = "maps.kept", "maps.shown", "maps.cancelled", "maps.picked"

_MOST_JUDGED = 80
T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """Gradients of a run as read at one time.

    Attributes:
        token: says whether the run's files have changed since.
    """

    run_id: str
    token: tuple[int, ...]
    gradients: Gradients


def kept(reader: RunReader, *, living: bool) -> Kept:
    """The run's gradients; of a run that goes on, as they were until `refresh`: no map is remade each second."""
    held = st.session_state.get(_KEPT)
    token = reader.change_token()
    if not isinstance(held, Kept) or held.run_id != reader.run_id or (held.token != token and not living):
        held = st.session_state[_KEPT] = Kept(reader.run_id, token, collect(reader.snapshots()))
    return held


def refresh() -> None:
    """Read the gradients again at the next look."""
    st.session_state.pop(_KEPT, None)


def ask(gradients: Gradients, method: Method, seed: int) -> tuple[str, jobs.Status]:
    """Have a map made unless it is kept, being made, or was cancelled; its key and how far it is."""
    root = session.runs_root()
    key = jobs.key_of(gradients.vectors, method, seed)
    status = jobs.look(root, key)
    if status.state == "absent" and st.session_state.get(_CANCELLED) != key:
        jobs.start(root, gradients.vectors, method, seed=seed)
        status = jobs.look(root, key)
    return key, status


def cancel(key: str) -> None:
    """End the making of a map; it is not begun again by itself."""
    st.session_state[_CANCELLED] = key
    jobs.cancel(session.runs_root(), key)


def again(key: str) -> None:
    """Forget that a map was cancelled or failed."""
    st.session_state.pop(_CANCELLED, None)
    jobs.cancel(session.runs_root(), key)


def shown(key: str, gradients: Gradients, method: Method, run_id: str) -> FloatArray | None:
    """A finished map, laid onto the one that this session was shown before of the same run and method."""
    before = st.session_state.get(_SHOWN)
    if before is not None and before[0] == (run_id, key):
        points: FloatArray = before[1]
        return points
    found = jobs.load(session.runs_root(), key)
    if found is None or len(found) != len(gradients):
        return None
    if before is not None and before[3] == (run_id, method):
        found = laid_onto(found, gradients, before[1], before[2])
    st.session_state[_SHOWN] = ((run_id, key), found, gradients, (run_id, method))
    return found


def judged(gradients: Gradients, modality: str, width: int) -> tuple[Pairing, list[Pairing]]:
    """The numbers of one modality, over everything and along training; computed once for the same gradients."""
    of = (jobs.key_of(gradients.vectors, "pca", 0), gradients.step.tobytes(), modality)
    whole = _once((*of, 0), lambda: pairing(gradients, modality))
    return whole, _once((*of, width), lambda: over_training(gradients, modality, width=width))


def _once(name: object, make: Callable[[], T]) -> T:
    """What `make` gave the first time; the oldest go when there are many."""
    cache: dict[object, T] = st.session_state.setdefault("maps.judged", {})
    if name not in cache:
        while len(cache) >= _MOST_JUDGED:
            cache.pop(next(iter(cache)))
        cache[name] = make()
    return cache[name]


def take_one(info: RunInfo) -> None:
    """Ask a running worker for the gradients of its next batches."""
    request(session.runs_root(), info.id, "snapshot")


def pick(step: int) -> None:
    """Remember the step of a clicked point."""
    st.session_state[_PICKED] = step


def picked() -> int | None:
    """Step of the point clicked last."""
    step = st.session_state.get(_PICKED)
    return step if isinstance(step, int) else None
