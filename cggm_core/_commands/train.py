"""`train`: one run in this process; its first line on standard output is the run's id."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cggm_core import launch
from cggm_core._commands.finding import catalogue
from cggm_core._commands.settings import add_settings, config_of
from cggm_core.config import RunConfig
from cggm_core.errors import CggmError, ConfigError, LaunchError, StoreError
from cggm_core.store import LOG, create_run, note_launch, own_identity

if TYPE_CHECKING:
    from cggm_core.engine.worker import Prepared, Progress

_FAILED, _STOPPED = 1, 130
_DRAW = 0.2  # seconds between two drawings of a bar on which nothing moves
_log = logging.getLogger("cggm_core")


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "train", parents=[common], help="train; the first line printed is the run's id", allow_abbrev=False,
        description="Exit codes: 0 finished, 1 failed, 2 bad input, 130 stopped before its end.",
    )  # fmt: skip
    add_settings(parser)
    parser.add_argument("--resume", metavar="RUN", help="go on with a run from its checkpoint; takes no settings")
    parser.add_argument(
        "--worker",
        action="store_true",
        help="say nothing after the id; everything goes to the run's worker.log",
    )
    parser.set_defaults(run=run, flags=[a.dest for a in parser._actions])


def run(given: argparse.Namespace) -> int:
    """Train until the end, until stopped, or until it fails."""
    resumed = _resumed(given) if given.resume is not None else None
    config = launch.saved_config(resumed) if resumed else config_of(given)
    # Before the engine brings torch in: its thread libraries read their settings when they are loaded.
    launch.take_share(config.training.threads)
    from cggm_core.engine import worker

    prepared = worker.prepare(config)
    folder = resumed or _made(given.runs, prepared.config)
    note_launch(folder, own_identity())
    print(folder.name, flush=True)
    with _logged(folder / LOG, given.worker):
        return _train(prepared, folder, resumed is not None, given.worker)


def _train(prepared: Prepared, folder: Path, resumed: bool, quiet: bool) -> int:
    from cggm_core.engine import worker

    shown = _Shown(quiet)
    try:
        ended = worker.run(prepared, folder, resume=resumed, progress=shown)
    except KeyboardInterrupt:
        _log.error("interrupted for the second time: ended without a checkpoint of the last step")
        return _said(f"error: interrupted; see {folder / LOG}", _STOPPED)
    except Exception as error:
        _log.exception("training failed")
        what = str(error) if isinstance(error, CggmError) else f"{type(error).__name__}: {error}"
        return _said(f"error: training failed: {' '.join(what.split())[:1000]}; see {folder / LOG}", _FAILED)
    finally:
        shown.close()
        launch.take_note_away(folder)
    _log.info("%s", shown.closing(ended))
    if not quiet:
        _said(shown.closing(ended), 0)
    return 0 if ended == "finished" else _STOPPED


def _resumed(given: argparse.Namespace) -> Path:
    """Folder of the run to go on with.

    Raises:
        ConfigError: if settings are given too.
        LaunchError, RunNotFoundError: if it cannot be gone on with.
    """
    others = set(given.flags) - {"help", "runs", "resume", "worker"}
    if extra := sorted(flag for flag in others if getattr(given, flag, None) not in (None, [])):
        raise ConfigError(f"a resumed run keeps its settings: leave --{extra[0].replace('_', '-')} out")
    runs = catalogue(given)
    info = runs.find(given.resume)
    if info.sample:
        raise LaunchError(f"run {info.id} came with the software and cannot be resumed")
    folder = runs.folder(info.id)
    launch.check_resumable(info, folder)
    return folder


def _made(root: Path, config: RunConfig) -> Path:
    """A new run's folder; the folder of all runs is made if missing.

    Raises:
        StoreError: if it cannot be written.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the runs folder {root} cannot be made: {error.strerror or error}; name another with --runs"
        ) from error
    return root.resolve() / create_run(root, config.to_json())


@contextlib.contextmanager
def _logged(path: Path, redirect: bool) -> Iterator[None]:
    """Send what the program logs to the run's log, and with `redirect` whatever anything prints, too."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    if redirect:
        sys.stdout.flush()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # The descriptors and not only Python's objects: libraries write there, and so does a crash.
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)
        faulthandler.enable(2)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)
        handler.close()


def _said(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return code


class _Shown:
    """How far it has come: a bar on a terminal, a line an epoch in the log.

    Args:
        quiet: never a bar.
    """

    def __init__(self, quiet: bool) -> None:
        self._bar: Any = None
        self._epoch = -1
        self._beside, self._drawn = "", 0.0
        self._last: Progress | None = None
        self._update: Callable[[Progress], None] = self._ignore if quiet or not sys.stderr.isatty() else self._draw

    def __call__(self, progress: Progress) -> None:
        """After every step."""
        self._last = progress
        self._update(progress)
        stage = progress.beside.partition(":")[0]
        if stage and stage != self._beside:
            _log.info("step %d waits for %s", progress.step, progress.beside)
        self._beside = stage
        if progress.epoch != self._epoch:
            self._epoch = progress.epoch
            _log.info(
                "step %d of %d, epoch %d of %d, validation score %s",
                progress.step, progress.steps, progress.epoch, progress.epochs, _number(progress.val_score),
            )  # fmt: skip

    def closing(self, ended: str) -> str:
        """How it ended, in one sentence."""
        if self._last is None:
            return ended
        return f"{ended} after {self._last.step} steps, validation score {_number(self._last.val_score)}"

    def close(self) -> None:
        """Leave the terminal as a next line needs it."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=progress.steps, initial=progress.step, unit="step", dynamic_ncols=True)
        # The bar counts the run's own steps, so nothing else redraws it while something trains beside the run.
        due = bool(progress.beside) and time.monotonic() - self._drawn > _DRAW
        self._drawn = time.monotonic() if due else self._drawn
        self._bar.set_description(progress.beside or None, refresh=due)
        self._bar.update(progress.step - self._bar.n)
        if progress.epoch != self._epoch:
            self._bar.set_postfix(epoch=progress.epoch, val_score=_number(progress.val_score))

    @staticmethod
    def _ignore(_: Progress) -> None:
        """Nobody looks."""


def _number(value: float) -> str:
    return "not measured yet" if math.isnan(value) else f"{value:.4f}"
