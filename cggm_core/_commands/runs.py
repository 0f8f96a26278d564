"""`runs`: every run of the folder, newest first."""

from __future__ import annotations

import argparse
from typing import Any

from cggm_core._commands.finding import SAMPLES, print_json, print_table, row
from cggm_core.store import Catalogue

_COLUMNS = ("id", "state", "name", "dataset", "method", "preset", "seed", "step", "steps", "val_score")


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser("runs", parents=[common], help="list runs, newest first", allow_abbrev=False)
    parser.add_argument("--samples", action="store_true", help="also the runs that came with the software")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """List the runs."""
    found = [row(info) for info in Catalogue(given.runs, [SAMPLES] if given.samples else []).runs()]
    if given.json:
        print_json(found)
    elif not found:
        print(f"no runs in {given.runs} yet; begin one with: python -m cggm_core train")
    else:
        print_table(_COLUMNS, [[_shown(name, one[name]) for name in _COLUMNS] for one in found])
    return 0


def _shown(name: str, value: Any) -> Any:
    if name == "dataset":
        return str(value).replace("\\", "/").rsplit("/", 1)[-1]
    return "-" if value is None or value == "" else value
