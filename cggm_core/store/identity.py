"""Who a process is: its id, its start in clock ticks since boot, and the boot itself.

A pid alone is not enough: the kernel gives it to a stranger later, and a run would then look alive for ever.
Ticks are compared exactly; creation times in seconds of two processes with one pid were seen 0.05 s apart.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot of one machine.

    Attributes:
        pid: process id; ticks: start in clock ticks since boot (hundredths of a second where there is no
            /proc).
        boot: id of the boot, "" where the system has none.
        host: name of the machine, for people and to tell a foreign process from a dead one.
    """

    pid: int
    ticks: int
    boot: str
    host: str

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Identity | None:
        """Inverse of `to_json`; None if the text is anything else."""
        try:
            made: Any = json.loads(text)
            found = cls(made["pid"], made["ticks"], made["boot"], made["host"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        sound = type(found.pid) is int and type(found.ticks) is int and 0 < found.pid < 2**31
        return found if sound and isinstance(found.boot, str) and isinstance(found.host, str) else None


def own_identity() -> Identity:
    """Identity of the calling process."""
    return identity_of(os.getpid()) or Identity(os.getpid(), -1, _boot_id(), socket.gethostname())


def identity_of(pid: int) -> Identity | None:
    """Identity of a process of this machine; None if there is none, or only its zombie."""
    ticks = _start_ticks(pid)
    return None if ticks is None else Identity(pid, ticks, _boot_id(), socket.gethostname())


def is_alive(identity: Identity) -> bool:
    """Whether that very process still exists on this machine; a zombie does not count."""
    return identity.boot == _boot_id() and _start_ticks(identity.pid) == identity.ticks


def is_local(identity: Identity) -> bool:
    """Whether this machine can judge that process; another host's (or container's) it cannot see."""
    return identity.host == socket.gethostname()


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    if not (_PROC / "self").exists():
        return _start_hundredths(pid)
    try:
        # The command name may hold spaces and brackets, so fields are counted after its last one.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _start_hundredths(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(process.create_time() * 100)
    except psutil.Error:
        return None
