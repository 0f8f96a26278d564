from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cggm_core.errors import ControlError, RunNotFoundError
from cggm_core.store import ControlInbox, Request, send


def test_requests_arrive_in_order_once(folder: Path) -> None:
    inbox = ControlInbox(folder)
    assert inbox.poll() == ()
    assert send(folder, "pause") == 1
    assert send(folder, "set", {"rho": 1.5, "direction": False, "optimiser": "sgd"}) == 2
    assert inbox.poll() == (
        Request(1, "pause"), Request(2, "set", {"rho": 1.5, "direction": False, "optimiser": "sgd"}),
    )  # fmt: skip
    assert inbox.poll() == ()
    send(folder, "resume")
    assert [r.kind for r in inbox.poll()] == ["resume"]
    assert inbox.handled == 3


def test_a_resumed_worker_gets_the_rest(folder: Path) -> None:
    for kind in ("pause", "resume", "snapshot"):
        send(folder, kind)
    assert [r.number for r in ControlInbox(folder, after=2).poll()] == [3]


def test_a_quiet_poll_is_one_stat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send(folder, "stop")
    inbox = ControlInbox(folder)
    inbox.poll()
    calls: list[str] = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: calls.append("stat") or real(*a, **k))
    monkeypatch.setattr("builtins.open", lambda *a, **k: calls.append("open"))
    inbox.poll()
    assert calls == ["stat"]


BAD_CALLS = [
    ("kill", {}), ("set", {}), ("pause", {"x": 1}), ("set", {"rho": float("nan")}),
    ("set", {"rho": float("inf")}),
    ("set", {"rho": [1]}), ("set", {"rho": None}), ("set", {"rho": "x" * 2000}), ("set", {"x" * 300: 1}),
    ("", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), BAD_CALLS)
def test_malformed_requests_are_refused(folder: Path, kind: str, values: dict[str, object]) -> None:
    with pytest.raises(ControlError):
        send(folder, kind, values)
    assert not (folder / "control.json").exists()


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        send(tmp_path / "none", "pause")


BAD_FILES = [
    "", "{", "[]", "null", '{"requests": 3}', '{"requests": [3]}',
    '{"requests": [{"number": "1", "kind": "stop"}]}',
    '{"requests": [{"number": 1, "kind": "explode"}]}',
    '{"requests": [{"number": 1, "kind": "set", "values": {"r": NaN}}]}',
    '{"requests": [{"number": 2, "kind": "stop"}, {"number": 1, "kind": "stop"}]}', "[" * 200_000,
    '{"requests": [' + '{"number": 1, "kind": "stop"},' * 50_000 + "]}", "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_broken_file_is_reported_once_and_raises_nothing(folder: Path, text: str) -> None:
    (folder / "control.json").write_text(text, errors="surrogateescape")
    inbox = ControlInbox(folder)
    assert inbox.poll() == ()
    assert "control.json" in inbox.take_problem()
    assert inbox.poll() == ()
    assert inbox.take_problem() == ""
    send(folder, "stop")
    assert [r.kind for r in inbox.poll()] == ["stop"]


def test_numbers_go_on_after_a_broken_file(folder: Path) -> None:
    inbox = ControlInbox(folder)
    send(folder, "pause")
    send(folder, "resume")
    inbox.poll()
    (folder / "control.json").write_text("{broken")
    assert send(folder, "stop") == 3
    assert [r.number for r in inbox.poll()] == [3]


def test_two_sessions_at_once_lose_nothing(folder: Path) -> None:
    script = f"from cggm_core.store import send\nfor i in range(40): send({str(folder)!r}, 'set', {{'rho': i}})"
    workers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    inbox, got = ControlInbox(folder), []
    while any(worker.poll() is None for worker in workers):
        got += inbox.poll()
    got += inbox.poll()
    assert [worker.returncode for worker in workers] == [0, 0]
    assert [r.number for r in got] == list(range(1, 81))
    assert inbox.take_problem() == ""


def test_the_list_stays_bounded(folder: Path) -> None:
    send(folder, "pause")
    listed = [{"number": n, "kind": "pause", "values": {}} for n in range(1, 1501)]
    (folder / "control.json").write_text(json.dumps({"requests": listed}))
    assert send(folder, "resume") == 1501
    kept = json.loads((folder / "control.json").read_text())["requests"]
    assert len(kept) == 1000
    assert kept[-1]["number"] == 1501
