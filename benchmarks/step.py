"""What measuring and balancing cost at the paper's MOSI shape, and what the backbone costs beside the released one.

    python benchmarks/step.py [rounds]

Shape: three sequences of 50 steps, one output, batch 64; transformer fusion of width 40, 5 heads, encoders of 5 layers
and fusion of 3, classifiers of two attention layers; one thread. All variants train in this one process, a few steps
each in turn, so that a machine that slows down slows all of them; ratios are taken round by round, and their median is
shown. Times are of the processor, all threads together: what else the machine does is not counted.
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
from torch.nn import functional as F

from benchmarks.released_backbone import NO_DROPOUT, Dropouts, ReleasedBackbone
from cggm_core.config import RunConfig
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Place, Trainer
from cggm_core.engine.worker import build_data
from cggm_core.protocols.data import take
from cggm_core.store import MemoryRun

STEPS = 4
BARE, READ = "bare loop", "classifiers"
BUDGETS = {
    "joint, all measured": (READ, "<=", 1.05),
    "CGGM paper, all measured": (BARE, "<=", 1.15),
    "released backbone": (BARE, ">=", 1.2),
    "released backbone, its dropouts": ("bare loop, dropout 0.1", ">=", 1.2),
}


def config_of(method: str, dropout: float) -> RunConfig:
    """The shape under the preset of MOSI; dropout 0 where nothing else is said, which is fastest on both sides."""
    data = {"task": "regression", "modalities": 3, "samples": 1000, "dim": 40, "length": 50}
    return RunConfig.from_dict(
        {
            "dataset": "synthetic",
            "dataset_params": data,
            "method": method,
            "preset": "mosi",
            "model_params": {"dropout": dropout},
            "training": {"epochs": 100_000, "schedule": "constant", "threads": 1, "device": "cpu"},
        }
    )


class Variant:
    """One way to train, advanced a few steps at a time."""

    def __init__(self, method: str, *, readers: bool, measure: bool, dropout: float = 0.0) -> None:
        config = config_of(method, dropout)
        self.trainer = Trainer(config, build_data(config), readers=readers, measure=measure)
        self.recorder = Recorder(MemoryRun().writer(), self.trainer.device) if measure else None
        # Validation is no part of a step: every block stays inside one epoch.
        self.trainer.batches = 10**9

    def block(self) -> float:
        """Processor seconds a step, over a block of steps of one epoch."""
        place = self.trainer.place = Place(step=self.trainer.place.step, epoch=0, batch=0)
        began = time.process_time()
        self.trainer.fit(self.recorder, between=lambda at: at.batch < STEPS)
        assert place.batch == STEPS
        return (time.process_time() - began) / STEPS


class Released:
    """The released code's backbone in its own bare loop: the same batches, loss, clipping and rule."""

    def __init__(self, dropouts: Dropouts) -> None:
        config = config_of("joint", 0.0)
        self.split = build_data(config).splits["train"]
        self.clip = config.training.gradient_clip
        self.model = ReleasedBackbone([40, 40, 40], 1, dropouts)
        self.optimiser = torch.optim.Adam(self.model.parameters(), config.training.lr)
        self.batches = torch.randperm(len(self.split)).split(config.training.batch_size)[:STEPS]

    def block(self) -> float:
        """Processor seconds a step, over a block of steps."""
        began = time.process_time()
        for index in self.batches:
            batch = take(self.split, index, torch.device("cpu"))
            self.optimiser.zero_grad()
            F.l1_loss(self.model(list(batch.inputs.values())), batch.target).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimiser.step()
        return (time.process_time() - began) / STEPS


def main() -> int:
    """Print one row a variant; 1 if a budget is missed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.set_num_threads(1)
    variants: dict[str, Variant | Released] = {
        BARE: Variant("joint", readers=False, measure=False),
        READ: Variant("joint", readers=True, measure=False),
        "joint, all measured": Variant("joint", readers=True, measure=True),
        "CGGM paper, unmeasured": Variant("cggm", readers=True, measure=False),
        "CGGM paper, all measured": Variant("cggm", readers=True, measure=True),
        "released backbone": Released(NO_DROPOUT),
        "bare loop, dropout 0.1": Variant("joint", readers=False, measure=False, dropout=0.1),
        "released backbone, its dropouts": Released(Dropouts()),
    }
    for variant in variants.values():
        variant.block()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(variant.block())
    print("| variant | ms a step, median | fastest | to bare loop | budget | seen |\n|---|---|---|---|---|---|")
    missed = False
    for name, taken in times.items():
        bare = f"{_ratio(taken, times[BARE]):.3f}"
        budget = seen = ""
        if name in BUDGETS:
            against, sign, limit = BUDGETS[name]
            ratio = _ratio(taken, times[against])
            kept = ratio <= limit if sign == "<=" else ratio >= limit
            missed |= not kept
            budget, seen = f"{sign} {limit:.2f} of {against}", f"{ratio:.3f} {'kept' if kept else 'MISSED'}"
        print(
            f"| {name} | {1e3 * statistics.median(taken):.1f} | {1e3 * min(taken):.1f} | {bare} | {budget} | {seen} |"
        )
    return int(missed)


def _ratio(taken: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(taken, other, strict=True))


if __name__ == "__main__":
    sys.exit(main())
