"""Train the sample runs anew: five settings, three seeds each, on embedded data, sealed.

    python sample_runs/make.py

Replaces every run in this folder. The same software on the same kind of processor gives the same numbers; only run
ids and times differ. `README.md` beside this file says what they show; after training it is to be read again.
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# Before torch is loaded: one thread, so that the bits do not depend on the number of cores.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

from cggm_core.config import RunConfig  # noqa: E402
from cggm_core.engine import worker  # noqa: E402
from cggm_core.names import MetricKey  # noqa: E402
from cggm_core.store import create_run, is_run_id, open_reader  # noqa: E402

SEEDS = (0, 1, 2)
SETTINGS: dict[str, dict[str, object]] = {
    "joint": {"method": "joint"},
    "CGGM paper": {"method": "cggm", "preset": "paper"},
    "CGGM stable": {"method": "cggm", "preset": "stable"},
    "CGGM magnitude only": {"method": "cggm", "preset": "paper", "method_params": {"direction": False}},
    "CGGM direction only": {"method": "cggm", "preset": "paper", "method_params": {"magnitude": False}},
}
# Gradients for the gradient map: three runs are enough to show it, and each costs 0.9 MB.
MAPPED = ("joint", "CGGM paper", "CGGM stable")
KEPT = {"config.json", "run.db"}


def config_of(name: str, seed: int) -> RunConfig:
    """One sample's configuration; the card of the data set and the defaults of the model say the rest."""
    return RunConfig.from_dict(
        {
            "dataset": "digits_views",
            "name": f"{name}, seed {seed}",
            "tags": ["sample"],
            "training": {
                "epochs": 20,
                "batch_size": 64,
                "seed": seed,
                "threads": 1,
                "device": "cpu",
                "snapshots": "logarithmic" if seed == SEEDS[0] and name in MAPPED else "off",
                "snapshot_count": 6,
            },
            **SETTINGS[name],
        }
    )


def train(config: RunConfig) -> dict[str, float]:
    """Train one run into this folder and leave only what readers need.

    Returns:
        Final fused and unimodal test scores.
    """
    prepared = worker.prepare(config)
    folder = HERE / create_run(HERE, config.to_json())
    worker.run(prepared, folder)
    for path in folder.iterdir():
        if path.name not in KEPT:
            path.unlink()
    summary = open_reader(folder).info().summary
    names = {"fused": MetricKey("test_score")} | {
        m: MetricKey("test_unimodal_score", m) for m in prepared.data.modalities
    }
    return {name: summary[key].last for name, key in names.items()}


def main() -> None:
    """Remove the old runs, train the new ones, print a table."""
    for old in HERE.iterdir():
        if old.is_dir() and is_run_id(old.name):
            shutil.rmtree(old)
    made = [(name, seed) for name in SETTINGS for seed in SEEDS]
    # One after the other, each in a process of its own: a process's peak memory is that of all it ever did.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        for (name, seed), scores in zip(made, processes.map(train, [config_of(*one) for one in made]), strict=True):
            print(f"{name:20s} seed {seed}  " + "  ".join(f"{k} {v:.4f}" for k, v in scores.items()), flush=True)


if __name__ == "__main__":
    main()
