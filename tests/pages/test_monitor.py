"""The monitor of a living run, without a browser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.pages.conftest import Open


def test_inputs_of_live_settings_begin_with_what_is_in_force(root: Path, living: str, open_page: Open) -> None:
    at = open_page("monitor", run=living)
    rho = next(one for one in at.number_input if one.label == "ρ (rho)")
    # A page whose run is cut short shows what the message itself says, not what the server remembers.
    assert rho.proto.default == rho.value == 1.3
    switches = {one.label: one for one in at.toggle}
    assert switches["magnitude"].proto.default is switches["magnitude"].value is True


def test_a_worker_that_records_nothing_is_told(
    root: Path, living: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [one for one in open_page("monitor", run=living).warning if "Nothing new" in one.value]
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3600)
    told = [one.value for one in open_page("monitor", run=living).warning if "Nothing new" in one.value]
    assert told
    assert told[0].startswith("Nothing new for 60 min.")
