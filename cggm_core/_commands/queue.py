"""`queue`: works off the runs that wait; started by the launcher, of no use to people."""

from __future__ import annotations

import argparse
from typing import Any


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command, without a line in the help."""
    listed.add_parser("queue", parents=[common], allow_abbrev=False).set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Work the queue off."""
    from cggm_core.launch.queue_runner import work_off

    work_off(given.runs)
    return 0
