"""Writers in processes of their own, to be killed, stopped and starved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PREAMBLE = """
import os, sys, time
import numpy as np
from cggm_core.names import MetricKey
from cggm_core.store import open_writer
folder, resume_at = sys.argv[1], (int(sys.argv[2]) if len(sys.argv) > 2 else None)
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
writer = open_writer(folder, resume_at=resume_at)
stream = writer.stream("step", [MetricKey("loss"), MetricKey("score", "audio")])
def log(step): writer.log(stream, step, step // 100, (step * 0.5, -float(step)))
"""

STEADY = """
say("ready", os.getpid())
step = resume_at or 0
while True:
    log(step)
    say("logged", step, time.monotonic())
    step += 1
    if step % 97 == 0 and writer.flush():
        say("flushed", step - 1)
    time.sleep(0.001)
"""


def start(body: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs the preamble and then `body`; its output is read line by line."""
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + body, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> str:
    """Kill it if it still runs; returns what it said and was not read."""
    process.kill()
    said, _ = process.communicate(timeout=20)
    return said


def read_line(process: subprocess.Popen[str]) -> list[str]:
    """Its next line, in words."""
    assert process.stdout is not None
    return process.stdout.readline().split()
