"""What measuring and balancing cost: ratios to the bare loop at the paper's MOSI shape, one thread.

    python benchmarks/step.py [rounds]

Shape: three sequences of 50 steps, width 40, 5 layers, 5 heads, batch 64. All variants train in this one process,
a few steps each in turn, so that a machine that slows down slows all of them; the ratio is taken round by round.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch

from cggm_core.config import RunConfig
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Place, Trainer
from cggm_core.engine.worker import build_data
from cggm_core.store import MemoryRun

STEPS = 4
BUDGETS = {"joint, all measured": ("classifiers", 1.05), "CGGM paper, all measured": ("bare loop", 1.15)}


def config_of(method: str) -> RunConfig:
    """The shape, with two classes: the head of a sentiment's sign."""
    return RunConfig.from_dict(
        {
            "dataset": "synthetic",
            "dataset_params": {"modalities": 3, "classes": 2, "samples": 1000, "dim": 40, "length": 50},
            "model_params": {"width": 40, "layers": 5, "heads": 5, "classifier_layers": 2},
            "method": method,
            "training": {"epochs": 100_000, "batch_size": 64, "threads": 1, "device": "cpu"},
        }
    )


class Variant:
    """One way to train, advanced a few steps at a time."""

    def __init__(self, method: str, *, readers: bool, measure: bool) -> None:
        config = config_of(method)
        self.trainer = Trainer(config, build_data(config), readers=readers, measure=measure)
        self.recorder = Recorder(MemoryRun().writer(), self.trainer.device) if measure else None
        # Validation is no part of a step: every block stays inside one epoch.
        self.trainer.batches = 10**9

    def block(self) -> float:
        """Seconds a step, over a block of steps of one epoch."""
        place = self.trainer.place = Place(step=self.trainer.place.step, epoch=0, batch=0)
        began = time.perf_counter()
        self.trainer.fit(self.recorder, between=lambda at: at.batch < STEPS)
        assert place.batch == STEPS
        return (time.perf_counter() - began) / STEPS


def main() -> None:
    """Print one row a variant."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.set_num_threads(1)
    variants = {
        "bare loop": Variant("joint", readers=False, measure=False),
        "classifiers": Variant("joint", readers=True, measure=False),
        "joint, all measured": Variant("joint", readers=True, measure=True),
        "CGGM paper, unmeasured": Variant("cggm", readers=True, measure=False),
        "CGGM paper, all measured": Variant("cggm", readers=True, measure=True),
    }
    for variant in variants.values():
        variant.block()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(variant.block())
    print(
        "| variant | ms a step, median | fastest | to bare loop | to classifiers | budget |\n|---|---|---|---|---|---|"
    )
    for name, taken in times.items():
        bare, read = (
            statistics.median(a / b for a, b in zip(taken, times[other], strict=True))
            for other in ("bare loop", "classifiers")
        )
        against, budget = BUDGETS.get(name, ("", 0.0))
        said = f"{budget:.2f} to {against}" if against else ""
        absolute = f"{1e3 * statistics.median(taken):.1f} | {1e3 * min(taken):.1f}"
        print(f"| {name} | {absolute} | {bare:.3f} | {read:.3f} | {said} |")


if __name__ == "__main__":
    main()
