"""One run from configuration to sealed folder, in this process; listens to `control.json` and to signals.

Why cooperative: a pause by SIGSTOP can fall into a write transaction and a stop by SIGKILL loses steps, so both
are asked for and answered between two steps.
"""

from __future__ import annotations

import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from cggm_core import catalog
from cggm_core.config import RunConfig
from cggm_core.engine import checkpoint
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.snapshots import SnapshotTaker
from cggm_core.engine.trainer import Place, Trainer
from cggm_core.errors import CggmError, DataError
from cggm_core.names import MetricKey
from cggm_core.protocols.data import DataBundle, DatasetBuilder
from cggm_core.store import ControlInbox, Request, RunWriter, open_writer

_FLUSH = 2.0  # seconds a checkpoint waits for the store; one that is away must not stop training
_TELL = 10.0  # seconds between two events on how far a training beside the run is
_PAUSE_LOOK = 0.1  # seconds between two looks at the requests while paused


@dataclass(frozen=True)
class Progress:
    """How far a run has come; `val_loss` and `val_score` are NaN before the first epoch's end.

    `beside` says what trains beside the run before its next step (teachers, trials), and how far that is.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    val_loss: float = math.nan
    val_score: float = math.nan
    beside: str = ""


@dataclass(frozen=True)
class Prepared:
    """A run that can start: configuration (its model named), data and trainer fit; nothing was written yet."""

    config: RunConfig
    data: DataBundle
    trainer: Trainer


def build_data(config: RunConfig) -> DataBundle:
    """The data a configuration names.

    Raises:
        CggmError: with one sentence on what is wrong with them.
    """
    if config.is_file():
        # Imported here: a private module of the plug-in folder, needed by paths only.
        from cggm_core.datasets._paths import open_path

        return open_path(Path(config.dataset), config.dataset_params)
    return catalog.load("dataset", config.dataset, DatasetBuilder)(**config.dataset_params).build()


def prepare(config: RunConfig) -> Prepared:
    """Build everything a run needs.

    Raises:
        CggmError: if data, model, method and device do not fit; nothing was written.
    """
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    data = build_data(config)
    trainer = Trainer(config, data)
    return Prepared(trainer.config, data, trainer)


def run(
    prepared: Prepared,
    folder: Path,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Literal["finished", "stopped"]:
    """Train in this process until the end or until asked to stop.

    Args:
        prepared: from `prepare`.
        folder: a run folder made by `create_run`; this process becomes its one writer.
        resume: go on from the folder's checkpoint instead of the beginning.
        progress: called after every step, of what trains beside the run too.

    Returns:
        How it ended; a stopped run has a checkpoint of its last step.

    Raises:
        CggmError: if the folder cannot be written or resumed.
        Exception: whatever training raised, after the run was recorded as failed.
    """
    state = checkpoint.load(folder, prepared.trainer.device) if resume else None
    if state:
        if state["data"] != prepared.data.fingerprint:
            raise DataError(
                f"{prepared.data.name} has changed since run {folder.name} was trained on it; put the data back, "
                "or start a new run"
            )
        prepared.trainer.load_state_dict(state["trainer"])
        torch.set_num_threads(state["threads"])
    writer = open_writer(folder, resume_at=prepared.trainer.place.step if resume else None)
    try:
        worker = _Worker(prepared, folder, writer, progress, handled=state["handled"] if state else 0)
        with _signals(worker):
            return worker.train(resumed=resume)
    except BaseException as error:
        reason = str(error) if isinstance(error, CggmError) else f"{type(error).__name__}: {error}"
        writer.event(prepared.trainer.place.step, "error", reason[:2000])
        writer.finish("failed", reason[:2000])
        raise


class _Worker:
    """State of one life of a run: what was asked, what is due."""

    def __init__(
        self, prepared: Prepared, folder: Path, writer: RunWriter, progress: Callable[[Progress], None] | None,
        *, handled: int,
    ) -> None:  # fmt: skip
        self._trainer, self._data, self._config = prepared.trainer, prepared.data, prepared.config
        self._folder, self._writer, self._progress = folder, writer, progress
        self._recorder = Recorder(writer, prepared.trainer.device)
        self._snapshots = SnapshotTaker(
            writer, prepared.trainer.device, prepared.config.training, prepared.trainer.steps
        )
        self._inbox = ControlInbox(folder, after=handled)
        self._handled = handled
        self._saved = time.monotonic()
        self._paused = False
        self._last: dict[MetricKey, float] = {}
        self._told: tuple[str, float] = "", 0.0  # what the run says it trains beside itself, and when it said so
        self.asked_to_stop = ""

    def train(self, *, resumed: bool) -> Literal["finished", "stopped"]:
        """Everything between opening and sealing the store."""
        trainer = self._trainer
        self._writer.progress(trainer.steps, self._config.training.epochs)
        self._writer.state("running")
        said, device = described(trainer), trainer.device
        text = f"training {'goes on' if resumed else 'starts'} on {device} ({said['processor']})"
        self._writer.event(trainer.place.step, "resume" if resumed else "start", text, said)
        if resumed:
            self._forget_old_requests()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # another run of this process is none of this one's cost
        self._save()
        done = trainer.fit(self._recorder, self._between, self._after_epoch, self._snapshots.look)
        if done:
            test = trainer.validate("test")
            self._recorder.epoch(trainer.place.step - 1, trainer.place.epoch - 1, test)
        else:
            trainer.record_costs(self._recorder)  # of a finished run they stand at its last epoch
        self._save()
        self._writer.finish("finished" if done else "stopped", "" if done else self.asked_to_stop)
        return "finished" if done else "stopped"

    def _between(self, place: Place) -> bool:
        """Before each step, of what trains beside the run too: requests, a pause, a checkpoint; False stops."""
        self._report(place)
        self._tell(place)
        self._answer(self._inbox.poll())
        if self._paused:
            self._recorder.catch_up()
            self._snapshots.catch_up()
            self._writer.state("paused")
            while self._paused and not self.asked_to_stop:
                time.sleep(_PAUSE_LOOK)
                self._answer(self._inbox.poll())
            self._writer.state("running")
        if time.monotonic() - self._saved >= self._config.training.checkpoint_seconds:
            self._save()
        # A snapshot that was asked for before the stop is still owed: one more step, then the end; but not where
        # that step is a whole training away.
        return not self.asked_to_stop or (self._snapshots.owed and place.beside is None)

    def _answer(self, requests: tuple[Request, ...]) -> None:
        for request in requests:
            self._handled = request.number
            text, data = self._do(request)
            self._writer.event(self._trainer.place.step, request.kind, text, {**data, "request": request.number})
        if problem := self._inbox.take_problem():
            self._writer.event(self._trainer.place.step, "warning", problem)
        if requests:
            # An intervention must survive a kill: the checkpoint knows it was handled, and what it set.
            self._save()

    def _do(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Meet one request; what was done, in words and as data."""
        match request.kind:
            case "pause":
                self._paused = True
                return "paused", {}
            case "resume":
                self._paused = False
                return "resumed", {}
            case "stop":
                self.asked_to_stop = "stopped on request"
                return "stop requested", {}
            case "snapshot":
                self._snapshots.ask()
                return "gradient snapshot requested", {}
            case "contributions":
                self._trainer.look(self._recorder)
                return "contributions and robustness curves taken", {}
        return self._set(request)

    def _set(self, request: Request) -> tuple[str, dict[str, Any]]:
        words: list[str] = []
        done: dict[str, Any] = {}
        for name, value in request.values.items():
            before = self._trainer.method.knobs.get(name)
            try:
                done[name] = self._trainer.set_knob(name, value)
                words.append(f"{name} {_shown(before)} \u2192 {_shown(done[name])}")
            except CggmError as error:
                words.append(f"refused: {error}")
        return "; ".join(words), done

    def _after_epoch(self, place: Place, values: dict[MetricKey, float]) -> None:
        self._last = values
        self._report(place)

    def _report(self, place: Place) -> None:
        if self._progress:
            loss = self._last.get(MetricKey("val_loss"), math.nan)
            score = self._last.get(MetricKey("val_score"), math.nan)
            epochs = self._config.training.epochs
            beside = str(place.beside or "")
            self._progress(Progress(place.step, self._trainer.steps, place.epoch, epochs, loss, score, beside))

    def _tell(self, place: Place) -> None:
        """Say in the run, now and then, what trains beside it."""
        stage, (what, at) = place.beside, self._told
        if stage is None:
            self._told = "", 0.0
        elif stage.what != what or time.monotonic() - at >= _TELL:
            self._told = stage.what, time.monotonic()
            self._writer.event(place.step, "beside", str(stage), {"step": stage.step, "steps": stage.steps})

    def _forget_old_requests(self) -> None:
        """Requests nobody was there to hear: knobs still count, a pause or a stop was for the life before."""
        self._answer(tuple(r for r in self._inbox.poll() if r.kind == "set"))

    def _save(self) -> None:
        """Write a checkpoint; a disk that refuses costs a warning, not the training."""
        # Rows first: a checkpoint ahead of the store would, after a kill, leave a hole that no resume fills.
        self._recorder.catch_up()
        self._snapshots.catch_up()
        self._writer.flush(_FLUSH)
        try:
            checkpoint.save(
                self._folder,
                {
                    "trainer": self._trainer.state_dict(),
                    "handled": self._handled,
                    "threads": torch.get_num_threads(),
                    "data": self._data.fingerprint,
                },
            )
        except OSError as error:
            self._writer.event(self._trainer.place.step, "warning", f"checkpoint not written: {error}")
        self._saved = time.monotonic()


def described(trainer: Trainer) -> dict[str, Any]:
    """What the start event says of a training: device, task, chance, modalities, sizes."""
    device, data = trainer.device, trainer.data
    count = sum(p.numel() for p in trainer.parts.parameters)
    read = sum(p.numel() for p in trainer.readers.modules.parameters()) if trainer.readers else 0
    return {
        "device": str(device), "processor": processor(device), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "python": platform.python_version(), "data": data.fingerprint,
        "task": data.task.name, "score": trainer.task.score_name, "unit": data.task.unit,
        "chance": trainer.task.chance, "modalities": list(data.modalities), "parameters": count,
        "classifier_parameters": read, "samples": {name: len(split) for name, split in data.splits.items()},
    }  # fmt: skip


def processor(device: torch.device) -> str:
    """Name of a GPU, or kind of the host's processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def _signals(worker: _Worker) -> Iterator[None]:
    """Interrupt and terminate mean: checkpoint, then stop; a second one means at once."""

    def ask(number: int, _frame: object) -> None:
        if worker.asked_to_stop:
            raise KeyboardInterrupt
        worker.asked_to_stop = f"stopped by {signal.Signals(number).name}"

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
