"""`import`: the runs of an archive, taken into the runs folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cggm_core._commands.finding import print_json
from cggm_core.errors import ConfigError, StoreError
from cggm_core.store import unpack


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "import", parents=[common], help="take in the runs of an archive made by export", allow_abbrev=False
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="archive made by export --to archive")
    parser.add_argument("--json", action="store_true", help="print the ids as JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Take them in, all or none."""
    if not given.file.is_file():
        raise ConfigError(f"{given.file} is not a file; name an archive made by export --to archive")
    try:
        given.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the runs folder {given.runs} cannot be made: {error.strerror or error}") from error
    new = unpack(given.file, given.runs)
    if given.json:
        print_json(list(new))
    elif new:
        print("\n".join(new))
    else:
        print("every run of the archive is there already")
    return 0
