"""What keeping gradients costs: one kept batch against one step, and the default schedule on whole runs.

    python benchmarks/snapshots.py [rounds]

Every step of the training keeps its gradients, with a clock around the keeping alone; the ratio is taken block by
block, so that a machine that slows down slows both sides of it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch

from cggm_core.config import RunConfig, Training
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.snapshots import SnapshotTaker, planned
from cggm_core.engine.trainer import Place, Trainer
from cggm_core.engine.worker import build_data
from cggm_core.protocols.step import Step
from cggm_core.store import MemoryRun

STEPS = 5
LENGTHS = (200, 1000, 10_000)
BUDGET = 1.05  # of a run of 1,000 steps with the default schedule
SHAPES = {
    "MOSI shape (50 steps, width 40, 5 layers)": {
        "dataset": "synthetic",
        "dataset_params": {"modalities": 3, "classes": 2, "samples": 1000, "dim": 40, "length": 50},
        "model_params": {"width": 40, "layers": 5, "heads": 5, "classifier_layers": 2},
    },
    "digits_views, as it comes": {"dataset": "digits_views"},
    "phantom, batches of 16": {"dataset": "phantom", "training": {"batch_size": 16}},
}


def config_of(shape: dict[str, Any]) -> RunConfig:
    """CGGM on the shape, on one thread."""
    training = {"epochs": 100_000, "batch_size": 64, "threads": 1, "device": "cpu", **shape.get("training", {})}
    return RunConfig.from_dict({**shape, "method": "cggm", "training": training})


class Kept:
    """A training that keeps every step's gradients, with a clock around the keeping."""

    def __init__(self, config: RunConfig) -> None:
        self.trainer = Trainer(config, build_data(config))
        self.trainer.batches = 10**9
        self.run = MemoryRun()
        writer = self.run.writer()
        self.recorder = Recorder(writer, self.trainer.device)
        every = Training(snapshots="every", snapshot_every=1, snapshot_batches=1)
        self.taker = SnapshotTaker(writer, self.trainer.device, every, 2000)
        self.keeping: list[float] = []

    def look(self, step: Step) -> None:
        """Keep, and note how long it took."""
        began = time.perf_counter()
        self.taker.look(step)
        self.keeping.append(time.perf_counter() - began)

    def block(self) -> tuple[float, float]:
        """Seconds a step without the keeping, and seconds of keeping, over a block of steps."""
        self.keeping.clear()
        self.trainer.place = Place(step=self.trainer.place.step, epoch=0, batch=0)
        began = time.perf_counter()
        self.trainer.fit(self.recorder, between=lambda at: at.batch < STEPS, on_step=self.look)
        whole, keeping = (time.perf_counter() - began) / STEPS, statistics.mean(self.keeping)
        return whole - keeping, keeping


def main() -> int:
    """Print one row a shape; 1 if the default schedule costs more than its budget."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    over = False
    heads = " | ".join(f"{steps:,} steps" for steps in LENGTHS)
    print(f"| shape | ms a step | ms a kept batch | to a step | kB a kept batch | run of {heads} |")
    print("|---|---|---|---|---|" + "---|" * len(LENGTHS))
    for name, shape in SHAPES.items():
        kept = Kept(config_of(shape))
        kept.block()
        blocks = [kept.block() for _ in range(rounds)]
        step = statistics.median(a for a, _ in blocks)
        ratio = statistics.median(b / a for a, b in blocks)
        shots = kept.run.reader().snapshots()
        size = sum(shot.array.nbytes for shot in shots) / len({shot.step for shot in shots}) / 1000
        whole = [1 + ratio * len(planned(Training(), steps)) / steps for steps in LENGTHS]
        over |= whole[1] > BUDGET
        told = " | ".join(f"{cost:.3f}" for cost in whole)
        print(f"| {name} | {1e3 * step:.1f} | {1e3 * step * ratio:.2f} | {ratio:.3f} | {size:.0f} | {told} |")
    return int(over)


if __name__ == "__main__":
    raise SystemExit(main())
