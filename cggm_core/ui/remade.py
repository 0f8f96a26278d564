"""What a page makes of a whole run's history: kept, and for a living run made again no oftener than it is worth.

A living run's files change every second, and reading every step of it again with each refresh would cost the more the
longer it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from cggm_core.store import ENDED, RunReader

REST = 20.0  # times as long as making it took: so it takes a twentieth of the time at most
LATEST_SECONDS = 30.0
T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """Something made of a run.

    Attributes:
        value: what was made.
        run_id, state: of which run, in which state.
        token: change token of then.
        grown: epochs, contributions and curves of then.
        at: clock when it was made, in seconds.
        seconds: that making it took.
    """

    value: Any
    run_id: str
    state: str
    token: tuple[int, ...]
    grown: tuple[int, ...]
    at: float
    seconds: float


def remade(reader: RunReader, key: str, make: Callable[[RunReader], T]) -> T:
    """What `make` makes of a run, out of the session where it need not be made again.

    It is made again where the run's files have changed, and for a living run only when besides its state has changed,
    or `REST` times the seconds of the making have passed and it has a new epoch, contribution or curve or is
    `LATEST_SECONDS` old.

    Args:
        reader: of the run.
        key: where the session keeps it.
        make: reads the run; its errors are passed on.

    Raises:
        StoreError: if the run cannot be read.
    """
    held: Made | None = st.session_state.get(key)
    token, now = reader.change_token(), time.monotonic()
    if held is not None and held.run_id != reader.run_id:
        held = None
    if held is None or held.token != token:
        info = reader.info()
        same = held is not None and held.state == info.state not in ENDED
        if held is None or not same or _due(held, now, reader, info.epoch):
            grown = _grown(reader, info.epoch)
            value = make(reader)
            held = Made(value, reader.run_id, info.state, token, grown, now, time.monotonic() - now)
            st.session_state[key] = held
    made: T = held.value
    return made


def _due(held: Made, now: float, reader: RunReader, epoch: int) -> bool:
    age = now - held.at
    return age >= REST * held.seconds and (age >= LATEST_SECONDS or held.grown != _grown(reader, epoch))


def _grown(reader: RunReader, epoch: int) -> tuple[int, ...]:
    return epoch, len(reader.contributions()), len(reader.robustness())
