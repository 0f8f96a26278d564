from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from cggm_core.store import Identity, identity_of, is_alive, own_identity
from cggm_core.store import identity as module


def test_this_process_is_alive_and_survives_json() -> None:
    me = own_identity()
    assert me.pid == os.getpid()
    assert is_alive(me)
    assert Identity.from_json(me.to_json()) == me


def test_a_reused_pid_is_another_process() -> None:
    me = own_identity()
    assert not is_alive(replace(me, ticks=me.ticks + 1))
    assert not is_alive(replace(me, boot="another boot"))


def test_a_zombie_and_a_reaped_process_are_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = identity_of(child.pid)
    assert who is not None
    assert is_alive(who)
    assert child.stdin is not None
    child.kill()
    deadline = time.monotonic() + 10
    while is_alive(who) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.exists(f"/proc/{child.pid}") or not os.path.exists("/proc/self")
    assert not is_alive(who)
    child.wait()
    child.stdin.close()
    assert not is_alive(who)
    assert identity_of(child.pid) != who


def test_without_proc_the_creation_time_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(module, "_PROC", module.Path(str(tmp_path)))
    me = own_identity()
    assert me.boot == ""
    assert is_alive(me)
    assert not is_alive(replace(me, ticks=me.ticks - 1))
    assert identity_of(2**22 + 12345) is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"pid": 1}', '{"pid": "1", "ticks": 1, "boot": "", "host": ""}',
             '{"pid": -1, "ticks": 1, "boot": "", "host": ""}',
             '{"pid": true, "ticks": 1, "boot": "", "host": ""}',
             '{"pid": 1, "ticks": 1, "boot": 3, "host": ""}', "[" * 100_000],
)  # fmt: skip
def test_broken_identities_are_nobody(text: str) -> None:
    assert Identity.from_json(text) is None
