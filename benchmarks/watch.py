"""What a watch costs a loop of one's own: ratios at the paper's MOSI shape, one thread.

    python benchmarks/watch.py [rounds]

Shape: three sequences of 50 steps, width 40, 5 layers, 5 heads, batch 64. All variants train in this one process, a few
steps each in turn, so that a machine that slows down slows all of them; the ratio is taken round by round, in processor
seconds of this process: the writer's thread counts, other programs do not.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from torch import Tensor, nn

import cggm_core
from cggm_core.config import Training
from cggm_core.engine.readers import UnimodalReaders
from cggm_core.engine.watch_model import WatchedModel
from cggm_core.models.late_fusion import LateFusion
from cggm_core.protocols.data import ModalitySpec, TaskSpec
from cggm_core.protocols.tasks import make_task

STEPS, BATCH, MODALITIES = 4, 64, ("audio", "vision", "text")
BUDGETS = {"watched, encoders alone": ("bare loop", 1.05), "watched, everything": ("classifiers", 1.05),
           "watched and balanced by CGGM": ("bare loop", 1.15)}  # fmt: skip


class Variant:
    """One loop: bare, with the classifiers alone, watched, or balanced."""

    def __init__(self, name: str, runs: str) -> None:
        torch.manual_seed(0)
        specs = {m: ModalitySpec("sequence", (50, 40)) for m in MODALITIES}
        self.net = LateFusion(specs, 2, width=40, layers=5, heads=5, classifier_layers=1, dropout=0.0)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=1e-3, fused=True)
        self.inputs = {m: torch.randn(BATCH, 50, 40) for m in MODALITIES}
        self.target = torch.randint(0, 2, (BATCH,))
        encoders = {m: self.net._encoders[m] for m in MODALITIES}
        self.watch: cggm_core.Watch | None = None
        self.readers: UnimodalReaders | None = None
        self.terms = name == "watched and balanced by CGGM"
        if name == "classifiers":
            seen = WatchedModel(encoders, self.net.head)
            features = self.net.encode(self.inputs)
            seen.plan(features, 2, self.net.head(self.net.fuse(features)))
            task = make_task(TaskSpec("classification", 2))
            self.readers = UnimodalReaders(seen, task, Training(), torch.device("cpu"))
        elif name == "watched, encoders alone":
            self.watch = cggm_core.watch(encoders, runs=runs)
        elif name != "bare loop":
            method = "cggm" if self.terms else None
            self.watch = cggm_core.watch(
                encoders, head=self.net.head, task="classification", method=method, runs=runs
            )  # fmt: skip

    def block(self) -> float:
        """Processor seconds a step."""
        began = time.process_time()
        for _ in range(STEPS):
            self.step()
        return (time.process_time() - began) / STEPS

    def step(self) -> None:
        """One step of the loop."""
        self.optimiser.zero_grad()
        features = self.net.encode(self.inputs)
        logits: Tensor = self.net.head(self.net.fuse(features))
        loss = nn.functional.cross_entropy(logits, self.target)
        if self.watch is not None and self.terms:
            loss = self.watch.loss(loss, self.target)
        loss.backward()
        if self.watch is not None:
            self.watch.step(loss, self.target)
        if self.readers is not None:
            self.readers.judge(self.readers.predict(features), self.target)
            self.readers.update()
        self.optimiser.step()


def main() -> int:
    """Print one row a variant; 1 when a budget is missed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # the runs are thrown away, open or not
    names = ("bare loop", "classifiers", *BUDGETS)
    with tempfile.TemporaryDirectory() as runs:
        variants = {name: Variant(name, runs) for name in names}
        for variant in variants.values():
            variant.block()
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, variant in variants.items():
                times[name].append(variant.block())
        for variant in variants.values():
            if variant.watch is not None:
                variant.watch.close()
    print(
        "| variant | ms a step, median | fastest | to bare loop | to classifiers | budget |\n|---|---|---|---|---|---|"
    )
    missed = 0
    for name, taken in times.items():
        ratio = {
            other: statistics.median(a / b for a, b in zip(taken, times[other], strict=True))
            for other in ("bare loop", "classifiers")
        }
        against, budget = BUDGETS.get(name, ("bare loop", 0.0))
        kept = not budget or ratio[against] <= budget
        missed += not kept
        said = f"{budget:.2f} to {against}, {'kept' if kept else 'missed'}" if budget else ""
        both = " | ".join(f"{value:.3f}" for value in ratio.values())
        print(f"| {name} | {1e3 * statistics.median(taken):.1f} | {1e3 * min(taken):.1f} | {both} | {said} |")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
