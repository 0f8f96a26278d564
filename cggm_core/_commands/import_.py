"""`import`: the runs of an archive or of TensorBoard's event files, taken into the runs folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cggm_core._commands.finding import print_json
from cggm_core.errors import ConfigError, StoreError
from cggm_core.store import take_in


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "import",
        parents=[common],
        help="take in runs: an archive made by export, or TensorBoard's files",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="archive made by export --to archive; an event file of TensorBoard, or a folder of them (each folder that "
        "holds some is a run), also as a ZIP",
    )
    parser.add_argument("--json", action="store_true", help="print the ids as JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Take them in, all or none."""
    if not given.file.is_file() and not given.file.is_dir():
        raise ConfigError(
            f"{given.file} is not a file or folder; name an archive made by export, or event files of TensorBoard"
        )
    try:
        given.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the runs folder {given.runs} cannot be made: {error.strerror or error}") from error
    new = take_in(given.file, given.runs)
    if given.json:
        print_json(list(new))
    elif new:
        print("\n".join(new))
    else:
        print("every run of the archive is there already")
    return 0
