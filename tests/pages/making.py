"""Runs in every state, written through the store's own writer, without training anything."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cggm_core.config import RunConfig, Training
from cggm_core.names import MetricKey
from cggm_core.store import create_run, note_launch, open_writer, own_identity, pack, run_folder, take_in, unpack
from cggm_core.store.tensorboard_messages import Event
from cggm_core.store.tensorboard_records import framed

MODALITIES = ("pixels", "fourier", "projections")
STEP_METRICS = ("unimodal_score", "unimodal_loss", "score_gain", "balance_coefficient", "gradient_norm_raw",
                "gradient_norm", "direction_cosine")  # fmt: skip
TAGS = (b"train/loss", b"<b>loss</b>", b"../../x", b"loss", b"\xe2\x80\xae![x](http://example.org/x.png)")
SECOND_PROCESS = """
import sys, time
sys.path.insert(0, {here!r})
from tests.pages.making import write_rows
from cggm_core.store import open_writer, note_launch, own_identity
note_launch(__import__("pathlib").Path({folder!r}), own_identity())
writer = open_writer({folder!r})
write_rows(writer, {steps}, 60)
writer.progress(60, 6)
writer.state("running")
writer.flush()
print("ready", flush=True)
time.sleep({seconds})
"""


def config(**given: Any) -> RunConfig:
    """A configuration; the seed may be given beside the fields of `RunConfig`."""
    seed = given.pop("seed", 0)
    made = RunConfig(**{"method": "cggm", **given})
    return replace(made, training=replace(made.training, seed=seed)) if seed else made


def write_rows(writer: Any, steps: int, planned: int, modalities: Sequence[str] = MODALITIES) -> None:
    """Step and epoch metrics of a run that looks like training; ten steps an epoch."""
    pairs = [MetricKey(metric, m) for metric in STEP_METRICS for m in modalities]
    step_keys = [MetricKey("loss"), MetricKey("task_loss"), MetricKey("score"), *pairs]
    stream = writer.stream("step", step_keys)
    epoch_keys = [MetricKey("val_loss"), MetricKey("val_score"),
                  *(MetricKey("val_unimodal_score", m) for m in modalities)]  # fmt: skip
    epochs = writer.stream("epoch", epoch_keys)
    writer.progress(planned, -(-planned // 10))
    for step in range(steps):
        rise = 1 - math.exp(-(step + 1) / 20)
        values = [2 - rise, 2 - rise, rise, *(0.3 + 0.1 * (i % 5) * rise for i in range(len(pairs)))]
        writer.log(stream, step, step // 10, values)
        if step % 10 == 9:
            spread = [0.9 * rise - 0.1 * i for i in range(len(modalities))]
            writer.log(epochs, step, step // 10, [2 - rise, 0.95 * rise, *spread])


def finished(root: Path, made: RunConfig | None = None, *, state: str = "finished", steps: int = 60,
             reason: str = "", modalities: Sequence[str] = MODALITIES) -> str:  # fmt: skip
    """A sealed run; returns its id."""
    run_id = create_run(root, (made or config()).to_json())
    writer = open_writer(run_folder(root, run_id))
    write_rows(writer, steps, 60, modalities)
    writer.state("running")
    writer.event(0, "start", "training starts", {})
    writer.flush()
    writer.finish(state, reason)  # type: ignore[arg-type]
    return run_id


def scored(root: Path, score: float, seed: int = 0, state: str = "finished", *, changed: bool = False,
           data: str = "same", **given: Any) -> str:  # fmt: skip
    """A run with a test score, of two epochs; its rho may have been changed while it trained. Returns its id."""
    config = RunConfig(**{"method": "cggm", **given}, training=Training(seed=seed, epochs=2))
    run_id = create_run(root, config.to_json())
    writer = open_writer(run_folder(root, run_id))
    keys = [MetricKey("test_score"), MetricKey("test_accuracy"),
            *(MetricKey("test_unimodal_score", m) for m in MODALITIES)]  # fmt: skip
    writer.progress(10, 2)
    writer.log(writer.stream("test", keys), 9, 1, [score, score, 0.5, 0.6, 0.7])
    writer.event(0, "start", "training starts", {"data": data})
    if changed:
        writer.event(5, "set", "rho 1.3 → 2", {"rho": 2.0})
    writer.state("running")
    writer.flush()
    writer.finish(state)  # type: ignore[arg-type]
    return run_id


def living(root: Path, steps: int = 25, seconds: float = 120.0) -> tuple[str, subprocess.Popen[str]]:
    """A run that a second process is writing; end that process when done with it."""
    run_id = create_run(root, config(name="living").to_json())
    here = str(Path(__file__).parents[2])
    code = SECOND_PROCESS.format(here=here, folder=str(run_folder(root, run_id)), steps=steps, seconds=seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=here)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return run_id, process


def died(root: Path) -> str:
    """A run whose process was killed in mid-training."""
    run_id, process = living(root)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    return run_id


def damaged(root: Path) -> str:
    """A run whose file was overwritten in the middle."""
    run_id = finished(root, config(name="damaged"))
    path = run_folder(root, run_id) / "run.db"
    raw = bytearray(path.read_bytes())
    raw[:4096] = b"\x00" * 4096
    path.write_bytes(bytes(raw))
    return run_id


def starting(root: Path) -> str:
    """A run whose worker has not written anything yet."""
    run_id = create_run(root, config(name="starting").to_json())
    note_launch(run_folder(root, run_id), own_identity())
    return run_id


def foreign(root: Path) -> str:
    """A run of somebody's own loop: metrics and a configuration the lab knows nothing of."""
    given: Mapping[str, Any] = {"name": "own loop", "dataset": "/data/secret/mine.npz", "method": "mine",
                                "training": "none", "anything": [1, {"x": None}]}  # fmt: skip
    run_id = create_run(root, json.dumps(given))
    writer = open_writer(run_folder(root, run_id))
    stream = writer.stream("mine", [MetricKey("my loss"), MetricKey("val_score"), MetricKey("weird", "a|b")])
    for step in range(30):
        writer.log(stream, step, 0, [1.0 / (step + 1), math.nan if step % 3 else math.inf, -float(step)])
    writer.finish("finished")
    return run_id


def newer(root: Path) -> str:
    """A run that a later version of the lab wrote."""
    run_id = finished(root, config(name="from the future"))
    with contextlib.closing(sqlite3.connect(run_folder(root, run_id) / "run.db")) as connection:
        connection.execute("PRAGMA user_version = 999")
    return run_id


def not_finite(root: Path) -> str:
    """A run whose losses overflowed and whose coefficients are undefined, in part or from end to end."""
    run_id = create_run(root, config(name="overflowed").to_json())
    writer = open_writer(run_folder(root, run_id))
    keys = [MetricKey("loss"), MetricKey("score"), MetricKey("val_score"), MetricKey("val_loss")]
    keys += [MetricKey(metric, m) for metric in STEP_METRICS for m in MODALITIES]
    stream = writer.stream("step", keys)
    kinds = (math.nan, math.inf, -math.inf, 1e308, -1e-320)
    for step in range(50):
        values = [kinds[(step + place) % 5] if place % 4 else math.nan for place in range(len(keys))]
        writer.log(stream, step, step // 10, values)
    writer.finish("failed", "the loss is nan at step 49")
    return run_id


def one_epoch(root: Path) -> str:
    """A run of a single epoch that was never validated."""
    run_id = create_run(root, config(name="one epoch", training=Training(epochs=1)).to_json())
    writer = open_writer(run_folder(root, run_id))
    stream = writer.stream("step", [MetricKey("loss"), *(MetricKey("unimodal_score", m) for m in MODALITIES)])
    writer.progress(12, 1)
    for step in range(12):
        writer.log(stream, step, 0, [1.0 / (step + 1), 0.2, 0.3, 0.4])
    writer.finish("finished")
    return run_id


def imported(root: Path) -> str:
    """A run that came in an archive."""
    with quick_folder(root) as elsewhere:
        pack([run_folder(elsewhere, finished(elsewhere, config(name="from elsewhere")))], elsewhere / "runs.zip")
        return unpack(elsewhere / "runs.zip", root)[0]


def watched(root: Path) -> str:
    """A run of an own loop with the three lines in it; a process of its own, for it needs torch."""
    before = set(root.iterdir())
    code = "from cggm_core.examples import plain_loop; plain_loop.train(20)"
    here = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here, env={**os.environ, "CGGM_RUNS": str(root)},
                   capture_output=True)  # fmt: skip
    return next(path.name for path in root.iterdir() if path not in before and (path / "run.db").exists())


def enormous(root: Path, steps: int = 125_000) -> str:
    """A finished run of 40 series, 5 million values if nothing else is asked for."""
    run_id = create_run(root, config(name="enormous").to_json())
    writer = open_writer(run_folder(root, run_id))
    keys = [MetricKey("loss"), MetricKey("task_loss"), MetricKey("score"), MetricKey("direction_loss")]
    keys += [MetricKey(metric, m) for metric in STEP_METRICS for m in MODALITIES]
    keys += [MetricKey("update_ratio", m) for m in MODALITIES]
    keys += [MetricKey("head_gradient_norm", m) for m in ("", *MODALITIES)]
    keys += [MetricKey(f"own_{number}") for number in range(40 - len(keys))]
    stream = writer.stream("step", keys)
    rows = [[math.sin(row / 60 + place) for place in range(40)] for row in range(1000)]
    writer.progress(steps, steps // 1000)
    for step in range(steps):
        writer.log(stream, step, step // 1000, rows[step % 1000])
    writer.flush(120.0)
    writer.finish("finished")
    return run_id


@contextlib.contextmanager
def quick_folder(beside: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: a run asks the disk some twenty times to be sure."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 500 << 20
    with tempfile.TemporaryDirectory(dir=memory if room else beside.parent) as made:
        yield Path(made)


def from_event_files(root: Path) -> str:
    """A run out of event files of somebody else's: tags the lab knows nothing of, no configuration, no modality."""
    steps = [
        Event(wall_time=1e9 + n, step=n, summary={"value": [{"tag": tag, "simple_value": 1 / (n + 1)} for tag in TAGS]})
        for n in range(30)
    ]
    file = root.parent / "events.out.tfevents.1.somewhere"
    file.write_bytes(b"".join(framed(event.SerializeToString()) for event in steps))
    return take_in(file, root)[0]


def many(root: Path, count: int) -> list[str]:
    """Many small finished runs of different methods, presets and seeds."""
    kinds = [("joint", ""), ("cggm", "paper"), ("cggm", "stable"), ("cggm", "released")]
    training = Training(epochs=1)
    made = []
    with quick_folder(root) as place:
        for number in range(count):
            method, preset = kinds[number % 4]
            chosen = RunConfig(method=method, preset=preset, training=replace(training, seed=number // 4),
                               name=f"sweep {number}", tags=("sweep", f"part {number % 7}"))  # fmt: skip
            made.append(finished(place, chosen, steps=10))
        for run_id in made:
            shutil.move(place / run_id, root / run_id)
    return made
