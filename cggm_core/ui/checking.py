"""Whether a configuration would train, asked of a process of its own: the app never loads torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import streamlit as st

from cggm_core.config import RunConfig
from cggm_core.launch import absolute
from cggm_core.launch.worker import worker_environment

CHECK_SECONDS = 180.0
_FILES_STAMPED = 20_000


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        error: why it would not train, in one sentence; "" if it would.
        found: modalities, samples, steps and device as the worker saw them.
    """

    error: str = ""
    found: dict[str, Any] = field(default_factory=dict)

    def sentence(self, *, with_steps: bool = True) -> str:
        """What would be trained, in one line of plain text."""
        modalities = self.found.get("modalities", {})
        shapes = ", ".join(
            f"{name} ({one.get('kind', '?')}, {'×'.join(map(str, one.get('shape', [])))})"
            for name, one in modalities.items()
        )
        samples = " / ".join(str(count) for count in self.found.get("samples", {}).values())
        steps = f"; {self.found.get('steps', 0)} steps on {self.found.get('device', 'cpu')}" if with_steps else ""
        count = f"{len(modalities)} modalities: {shapes}."
        return f"{count} {samples} samples in train, validation and test{steps}."


def check(config: RunConfig) -> Verdict:
    """Ask whether a configuration would train; the answer is kept until it or its file changes."""
    decides = replace(absolute(config), name="", notes="", tags=())
    stamp: tuple[int, ...] = ()
    if decides.is_file():
        try:
            found = os.stat(decides.dataset)
        except OSError as error:
            return Verdict(
                f"{decides.dataset!r} cannot be read: {(error.strerror or str(error)).lower()}; "
                "give the path of a data file or folder on this computer"
            )
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if os.path.isdir(decides.dataset):
            stamp += _stamp_of_folder(decides.dataset)
    return _checked(decides.to_json(), stamp)


def _stamp_of_folder(path: str) -> tuple[int, ...]:
    """Count, size and latest change of the files below, of the first that are met: a folder may hold thousands."""
    files = (os.path.join(above, name) for above, _, names in os.walk(path, followlinks=False) for name in names)
    count = size = latest = 0
    for file in islice(files, _FILES_STAMPED):
        with suppress(OSError):
            held = os.stat(file)
            count, size, latest = count + 1, size + held.st_size, max(latest, held.st_mtime_ns)
    return count, size, latest


@st.cache_data(max_entries=64, show_spinner="Checking data and settings in a process of its own")
def _checked(config_json: str, stamp: tuple[int, ...]) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="cggm-check-") as made:
        path = Path(made) / "config.json"
        path.write_text(config_json, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "cggm_core", "check", "--json", "--config", str(path)],
                capture_output=True, text=True, timeout=CHECK_SECONDS, stdin=subprocess.DEVNULL, cwd=os.sep,
                env=worker_environment(os.environ), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Verdict(f"the check took longer than {CHECK_SECONDS:g} s and was ended; is the file very large?")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Verdict(f"the check ended with code {done.returncode}: {last[:300]}")
    return Verdict("" if answer.get("ok") else str(answer.get("error", "no reason was given")), answer)
