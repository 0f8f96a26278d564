"""The command line: `python -m cggm_core COMMAND`.

Exit codes: 0 done; 1 training failed; 2 bad input, in one sentence on standard error; 130 a training that was
stopped before its end, by Ctrl-C or by request, and goes on with `train --resume`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import cggm_core
from cggm_core._commands import (
    ablation,
    app,
    cards,
    check,
    compare,
    control,
    diagnose,
    export,
    import_,
    matrix,
    queue,
    runs,
    show,
    train,
)
from cggm_core.errors import CggmError

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
COMMANDS = (train, matrix, runs, show, diagnose, compare, ablation, export, import_, cards, check, control, app, queue)
DEFAULT_RUNS = "runs"


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line, like every other error of the lab."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with 2."""
        self.exit(BAD_INPUT, f"error: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Every command with its flags; no command's own imports happen here."""
    parser = Parser(prog="python -m cggm_core", description="CGGM Lab", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"CGGM Lab {cggm_core.__version__}")
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument(
        "--runs", type=Path, default=None, metavar="DIR",
        help=f"folder of all runs (default: $CGGM_RUNS, else {DEFAULT_RUNS}/)",
    )  # fmt: skip
    listed = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in COMMANDS:
        command.add(listed, common)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = build_parser().parse_args(arguments)
    if getattr(given, "runs", None) is None:
        given.runs = Path(os.environ.get("CGGM_RUNS") or DEFAULT_RUNS).expanduser()
    try:
        code: int = given.run(given)
        sys.stdout.flush()
        return code
    except CggmError as error:
        return complain(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        return complain("interrupted", STOPPED)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; that is no fault and deserves no traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        return complain(f"{type(error).__name__}: {error}; the traceback is in {_kept_traceback()}", FAILED)


def complain(sentence: str, code: int) -> int:
    """Say one line on standard error; returns the code."""
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
    return code


def _kept_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="cggm-error-", suffix=".log", delete=False) as file:
        file.write(traceback.format_exc())
    return file.name


if __name__ == "__main__":
    sys.exit(main())
