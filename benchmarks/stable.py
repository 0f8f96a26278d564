"""Is CGGM worth having, and which one: joint, `paper`, `released`, `stable` and parts of it, paired by seed.

    python benchmarks/stable.py [--sets NAME ...] [--settings NAME ...] [--seeds 0 1 2] [--log FILE] [--seconds N]

Trains every setting on every set with every seed, in this process, one after the other, and prints the difference to
joint training of the same seed with its 95 % interval. Sets of the synthetic family are drawn anew for each seed.
`--log` keeps each finished run as a line of JSON; a second call goes on where the first one stopped. Real data are
looked for at `$CGGM_DATA`. Without arguments: two synthetic sets, three seeds, about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch

from cggm_core.analysis.comparison import paired
from cggm_core.config import RunConfig
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.methods.cggm import Cggm
from cggm_core.names import MetricKey
from cggm_core.protocols.step import Step

DATA = Path(os.environ.get("CGGM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def told(informative: str, speed: str, modalities: int = 2, **more: Any) -> dict[str, Any]:
    """A set of the synthetic family."""
    knobs = {"modalities": modalities, "informative": informative, "speed": speed, **more}
    return {"dataset": "synthetic", "dataset_params": knobs, "training": {"epochs": 20}}


SETS: dict[str, dict[str, Any]] = {
    "slow": told("0.6,0.95", "1,0.15"),
    "slower": told("0.7,0.9", "1,0.08"),
    "slow of three": told("0.6,0.6,0.9", "1,0.4,0.1", 3),
    "slow, SGD": told("0.6,0.95", "1,0.15") | {
        "training": {"epochs": 20, "optimiser": "sgd", "lr": 1e-2, "classifier_lr": 1e-2}
    },
    "slow, regression": told("0.6,0.95", "1,0.15", task="regression"),
    "balanced": told("0.8", "1"),
    "digits_views": {"dataset": "digits_views", "training": {"epochs": 20}},
    "mfeat": {"dataset": str(DATA / "mfeat.npz"), "training": {"epochs": 15}},
    "cmu_mosi": {"dataset": str(DATA / "cmu_mosi.npz"), "training": {"epochs": 15}},
    "avdigits": {"dataset": str(DATA / "avdigits.npz"), "training": {"epochs": 8}},
    "lgg_mri": {"dataset": str(DATA / "lgg_mri.npz"), "training": {"epochs": 4, "batch_size": 32}},
}  # fmt: skip
STABLE = {"method": "cggm", "preset": "stable"}
SETTINGS: dict[str, dict[str, Any]] = {
    "joint": {},
    "paper": {"method": "cggm", "preset": "paper"},
    "released": {"method": "cggm", "preset": "released"},
    "stable": STABLE,
    "stable, on the gradient": {**STABLE, "method_params": {"scales": "gradient"}},
    "stable, of the score": {**STABLE, "method_params": {"epsilon": "score"}},
    "stable, with direction": {**STABLE, "method_params": {"direction": True}},
    "paper, magnitude only": {"method": "cggm", "preset": "paper", "method_params": {"direction": False}},
}
DEFAULT_SETS = ("slow", "slow of three")


def config_of(name: str, setting: str, seed: int) -> RunConfig:
    """One run; the seed is also that of synthetic data."""
    given = {**SETS[name], **SETTINGS[setting]}
    if given["dataset"] == "synthetic":
        given["dataset_params"] = {**given["dataset_params"], "seed": seed}
    training = {"batch_size": 64, "seed": seed, "threads": 1, "device": "cpu", **given["training"]}
    return RunConfig.from_dict({**given, "training": training})


def train(config: RunConfig) -> dict[str, Any]:
    """Final scores, and the extremes of the coefficients that were used."""
    began = time.perf_counter()
    trainer = Trainer(config, build_data(config), measure=False)
    method, used = trainer.method, list[torch.Tensor]()

    def look(_step: Step) -> None:
        if isinstance(method, Cggm):
            used.append(method.coefficients)

    trainer.fit(on_step=look)
    found: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1)}
    for split in ("val", "test"):
        values = trainer.validate(split)
        found[split] = values[MetricKey(f"{split}_score")]
        found[f"{split}_unimodal"] = {k.modality: v for k, v in values.items() if k.metric.endswith("unimodal_score")}
    if used:
        whole = torch.stack(used)
        found["coefficient"] = {
            "lowest": float(whole.min()), "highest": float(whole.max()),
            "negative": float((whole < 0).any(1).double().mean()),
            "beyond 5": float((whole.abs() > 5).any(1).double().mean()),
            "mean": [float(whole.mean(1).min()), float(whole.mean(1).max())],
        }  # fmt: skip
    return found


def table(rows: Iterable[dict[str, Any]], split: str) -> None:
    """Mean score, paired difference to joint and the coefficients' extremes, for every set and setting."""
    scores: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    extremes: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        key = row["set"], row["setting"]
        scores[key][row["seed"]] = row[split]
        extremes[key] += [row["coefficient"]] if "coefficient" in row else []
    print(
        f"| set | setting | n | {split} score | minus joint | 95 % interval | p | coefficient | negative | beyond 5 |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for key, values in scores.items():
        line = f"| {key[0]} | {key[1]} | {len(values)} | {sum(values.values()) / len(values):.4f} "
        if key[1] == "joint":
            print(line + "| | | | | | |")
            continue
        against, seen = paired(values, scores[key[0], "joint"]), extremes[key]
        low, high = min(e["lowest"] for e in seen), max(e["highest"] for e in seen)
        negative, beyond = (sum(e[word] for e in seen) / len(seen) for word in ("negative", "beyond 5"))
        print(
            f"{line}| {against.mean:+.4f} | {against.low:+.4f} to {against.high:+.4f} | {against.p:.3f} "
            f"| {low:.3g} to {high:.3g} | {negative:.0%} | {beyond:.0%} |"
        )


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description="CGGM's presets against joint training")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=DEFAULT_SETS, metavar="NAME")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS)[:4], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run after so long")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    asked = parser.parse_args()
    began, rows = time.monotonic(), list[dict[str, Any]]()
    if asked.log and asked.log.exists():
        rows = [json.loads(line) for line in asked.log.read_text().splitlines()]
    done = {(row["set"], row["setting"], row["seed"]) for row in rows}
    torch.set_num_threads(1)
    for name in asked.sets:
        if SETS[name]["dataset"].endswith(".npz") and not Path(SETS[name]["dataset"]).exists():
            print(f"{name} left out: no {SETS[name]['dataset']}", file=sys.stderr)
            continue
        for seed in asked.seeds:
            for setting in ("joint", *(s for s in asked.settings if s != "joint")):
                if (name, setting, seed) in done or time.monotonic() - began > asked.seconds:
                    continue
                row = {"set": name, "setting": setting, "seed": seed, **train(config_of(name, setting, seed))}
                rows.append(row)
                if asked.log:
                    with asked.log.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    table(rows, asked.split)


if __name__ == "__main__":
    main()
