"""A folder of many small but real runs, as years of use leave it: for benchmarks and for looking at the pages.

    python benchmarks/_many_runs.py FOLDER COUNT

Every run is written by the store's own writer: 40 steps, four epochs, four data sets with their modalities, nine
methods and presets, five seeds, names, tags, notes, pins and archives, spread over two years; nothing is trained. Of a
hundred, three failed, two were stopped, one is damaged, and one was left by its writer: it shows as running while this
program lives, then as died. The same count and seed give the same numbers.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cggm_core.config import RunConfig, Training
from cggm_core.names import MetricKey
from cggm_core.store import RunWriter, open_writer, update_marks

STEPS, EPOCHS, DAYS = 40, 4, 730
BATCH = 250
DATA = {
    "digits_views": ("pixels", "fourier", "projections"), "diabetes": ("body", "serum"),
    "phantom": ("flair", "t1", "t1ce", "t2"), "synthetic": ("a", "b"),
}  # fmt: skip
METHODS = (("joint", ""), ("cggm", "paper"), ("cggm", "stable"), ("cggm", "released"), ("ogm", ""), ("agm", ""),
           ("pmr", ""), ("umt", ""), ("mslr", ""))  # fmt: skip
SEEDS = 5
PER_STEP = ("unimodal_score", "unimodal_loss", "balance_coefficient", "gradient_norm_raw", "gradient_norm",
            "direction_cosine")  # fmt: skip
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_runs(root: Path, count: int, *, seed: int = 0) -> list[str]:
    """Fill a folder with runs; returns their ids, oldest first.

    Args:
        root: folder of all runs; made if missing, what is in it stays.
        count: runs to make, 0 or more.
        seed: of everything that is drawn.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    draw, first, made = random.Random(seed), time.time() - DAYS * 86_400, []
    with _quick_folder(root) as place:
        for number in range(count):
            moment = first + (number + draw.random()) / count * DAYS * 86_400
            made.append(_one(place, number, moment, draw))
            if len(made) % BATCH == 0 or number == count - 1:
                for folder in sorted(place.iterdir()):
                    shutil.move(folder, root / folder.name)
    return made


@contextlib.contextmanager
def _quick_folder(root: Path) -> Iterator[Path]:
    """Where runs are written before they are moved: in memory if the system has such a folder.

    A run asks the disk some twenty times to be sure, which is most of the time that a small one takes.
    """
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else root.parent
    with tempfile.TemporaryDirectory(dir=where) as made:
        yield Path(made)


def _one(place: Path, number: int, moment: float, draw: random.Random) -> str:
    dataset = list(DATA)[number // (len(METHODS) * SEEDS) % len(DATA)]
    config = _config(dataset, number)
    folder = place / _run_id(moment, draw)
    folder.mkdir(mode=0o700)
    (folder / "config.json").write_text(config.to_json())
    ending = number % 100
    writer = open_writer(folder, wall=lambda: moment)
    steps = STEPS if ending >= 6 else draw.randrange(5, STEPS)
    _write(writer, DATA[dataset], steps, 0.55 + 0.35 * draw.random(), draw)
    if ending < 3:
        writer.finish("failed", f"ValueError: the loss is nan at step {steps}; lower the learning rate")
    elif ending < 5:
        writer.finish("stopped")
    elif ending == 5:
        writer.leave()
    else:
        writer.finish("finished")
    if ending == 6:
        _damage(folder / "run.db")
    if number % 97 == 0:
        update_marks(folder, pinned=True)
    elif number % 23 == 0:
        update_marks(folder, archived=True, notes="Superseded by the sweep of the next month.")
    return folder.name


def _config(dataset: str, number: int) -> RunConfig:
    method, preset = METHODS[number // SEEDS % len(METHODS)]
    batch = number // (len(METHODS) * SEEDS * len(DATA))
    lr = (1e-3, 5e-4, 2e-3)[batch % 3]
    given = RunConfig(dataset=dataset, method=method, preset=preset, training=Training(epochs=EPOCHS, lr=lr))
    return replace(
        given, training=replace(given.training, seed=number % SEEDS),
        name=f"sweep {batch} {method} {preset}".strip() if number % 3 else "",
        tags=(f"sweep-{batch}", *(("for the paper",) if number % 40 == 0 else ())),
        notes="Learning rate chosen on seed 0." if number % 50 == 0 else "",
    )  # fmt: skip


def _write(writer: RunWriter, modalities: tuple[str, ...], steps: int, best: float, draw: random.Random) -> None:
    pairs = [MetricKey(metric, m) for metric in PER_STEP for m in modalities]
    every = writer.stream("step", [MetricKey("loss"), MetricKey("score"), *pairs])
    scores = [MetricKey("val_loss"), MetricKey("val_score"), *(MetricKey("val_unimodal_score", m) for m in modalities)]
    after = writer.stream("epoch", scores)
    writer.progress(STEPS, EPOCHS)
    length = STEPS // EPOCHS
    for step in range(steps):
        rise = best * (1 - math.exp(-(step + 1) / 12))
        writer.log(every, step, step // length, [2 - rise, rise, *(rise * draw.random() for _ in pairs)])
        if step % length == length - 1:
            parts = [rise * (1 - 0.15 * place) + 0.02 * draw.random() for place in range(len(modalities))]
            writer.log(after, step, step // length, [2 - rise, rise, *parts])
    writer.event(0, "start", "training starts", {})


def _damage(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"\0" * 4096)


def _run_id(moment: float, draw: random.Random) -> str:
    """An id as the store makes them, but of a moment that is past."""
    number = int(moment * 1000) << 80 | draw.getrandbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))


if __name__ == "__main__":
    began = time.perf_counter()
    new = make_runs(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{len(new)} runs in {time.perf_counter() - began:.1f} s")
