"""What the looks at the probe set cost: one after each epoch, and a full one at the end, against an epoch of training.

    python benchmarks/contributions.py [epochs]

Within one training an epoch, a short look and a full look are timed in turn, medians compared, so that the ratios carry
over to another machine. One thread.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from cggm_core.config import RunConfig
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.store import MemoryRun

BUDGET = 1.15
# What is measured: data, their knobs, settings of the training.
CASES = {
    "digits_views": ("digits_views", {}, {}),
    "synthetic, 3 modalities": ("synthetic", {}, {}),
    "synthetic, 6 modalities": ("synthetic", {"modalities": 6}, {}),
    "phantom (masks)": ("phantom", {}, {"batch_size": 16}),
}


def timed(name: str, epochs: int) -> tuple[float, float, float]:
    """Median seconds of an epoch with its validation, of a short and of a full look."""
    dataset, params, training = CASES[name]
    config = RunConfig.from_dict({
        "dataset": dataset, "dataset_params": params,
        "training": {"epochs": epochs + 1, "device": "cpu", "threads": 1, "contributions": "off", **training},
    })  # fmt: skip
    trainer = Trainer(config, build_data(config))
    recorder = Recorder(MemoryRun().writer(), trainer.device)
    seconds: dict[str, list[float]] = {"epoch": [], "short": [], "full": []}
    began = [time.perf_counter()]

    def after(place: object, values: object) -> None:
        seconds["epoch"].append(time.perf_counter() - began[0])
        for kind, look in (("short", trainer.looks.short), ("full", trainer.looks.full)):
            start = time.perf_counter()
            look(recorder, 0, 0)
            seconds[kind].append(time.perf_counter() - start)
        began[0] = time.perf_counter()

    trainer.fit(recorder, on_epoch=after)
    return tuple(median(values[1:]) for values in seconds.values())  # type: ignore[return-value]


def main() -> int:
    """Print the table; 1 where a short look costs more than the budget."""
    torch.set_num_threads(1)
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    print(f"{'data':26}{'epoch':>10}{'short look':>12}{'run with':>10}{'full look':>12}{'in epochs':>11}")
    missed = 0
    for name in CASES:
        epoch, short, full = timed(name, epochs)
        ratio = 1 + short / epoch
        print(f"{name:26}{epoch:9.2f}s{short:11.3f}s{ratio:10.3f}{full:11.2f}s{full / epoch:11.2f}", flush=True)
        missed += ratio > BUDGET
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
