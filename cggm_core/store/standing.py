"""How a run stands: what its writer recorded, checked against whether that writer still lives.

"died" is never written by anyone: it is what a reader sees when a run says it goes on and its process is
gone.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from cggm_core.store.identity import Identity, is_alive, is_local
from cggm_core.store.layout import CONFIG, DATABASE, LAUNCH, LOG, stat_key
from cggm_core.store.protocols import ENDED, State
from cggm_core.store.tables import RunRow

START_SECONDS = 60.0
FOREIGN_SECONDS = 300.0


def of_written(folder: Path, run: RunRow) -> tuple[State, str]:
    """State and reason of a run that has a run.db."""
    state: State = run.state
    if state in ENDED:
        return state, str(json.loads(run.reason))
    return of_owner(folder, state, run.owner)


def of_owner(folder: Path, state: State, owner: str) -> tuple[State, str]:
    """State and reason of a run that did not end, by the JSON identity of its writer."""
    who = Identity.from_json(owner)
    if who is None:
        return "died", "nobody knows which process wrote this run"
    if is_alive(who):
        return state, ""
    if is_local(who):
        return "died", f"process {who.pid}, which wrote this run, is gone and did not say why; see {LOG}"
    idle = _seconds_since(folder / DATABASE, folder / f"{DATABASE}-wal")
    if idle < FOREIGN_SECONDS:
        return state, ""
    return "died", f"nothing was written for {idle / 60:.0f} minutes by process {who.pid} on {who.host}"


def of_unwritten(folder: Path) -> tuple[State, str]:
    """State and reason of a run that has no run.db yet.

    Starting for as long as the process named in launch.json lives; without such a note, for a minute after
    the configuration or the log was last written.
    """
    try:
        who = Identity.from_json((folder / LAUNCH).read_text("utf-8", "replace"))
    except OSError:
        who = None
    if who is not None and is_alive(who):
        return "starting", ""
    if who is not None and is_local(who):
        return "died", f"process {who.pid}, which was to train this run, is gone; see {LOG}"
    if _seconds_since(folder / CONFIG, folder / LOG) < START_SECONDS:
        return "starting", ""
    return "died", f"no worker has started this run; see {LOG}"


def _seconds_since(*files: Path) -> float:
    newest = max(stat_key(file)[0] for file in files) / 1e9
    return time.time() - newest
