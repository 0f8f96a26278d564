"""A living run's history is read again when it has come further, not with every refresh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from cggm_core.store import Contribution, RunReader, create_run, open_reader, open_writer, run_folder
from cggm_core.ui import remade as module
from cggm_core.ui.remade import remade
from tests.pages import making

LOOK = Contribution(9, 0, ("a", "b"), "accuracy", 9, True, 1.0, 0.0, (0.4, 0.4), (0.4, 0.4), (0.5, 0.5),
                    ((0.1, 0.0), (0.0, 0.1)))  # fmt: skip


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(st, "session_state", {})
    return made


def test_a_living_run_is_read_again_when_it_has_come_further(tmp_path: Path, clock: Clock) -> None:
    run_id = create_run(tmp_path, making.config().to_json())
    writer = open_writer(run_folder(tmp_path, run_id))
    making.write_rows(writer, 15, 60)
    writer.state("running")
    writer.flush()
    reader, made = open_reader(run_folder(tmp_path, run_id)), []

    def make(of: RunReader) -> int:
        made.append(of.info().step)
        clock.now += 0.5
        return len(made)

    def after(seconds: float, **event: Any) -> int:
        writer.event(14, "note", f"at {clock.now}", event)
        writer.flush()
        clock.now += seconds
        return remade(reader, "it", make)

    assert after(0) == 1
    assert [after(5), after(7)] == [1, 1]  # nothing new but an event
    assert after(20) == 2  # half a minute old
    writer.contribution(LOOK)
    assert after(5) == 2  # a new look, but ten seconds of rest are twenty times the half second
    assert after(6) == 3
    st.session_state["it"] = replace(st.session_state["it"], seconds=10.0)
    assert after(100) == 3
    writer.finish("finished")
    assert remade(reader, "it", make) == 4
    assert remade(reader, "other", make) == 5
