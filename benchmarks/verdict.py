"""Is the verdict right where the truth is known? Random synthetic configurations, one joint training each.

    python benchmarks/verdict.py [--configurations 100] [--first 0] [--tasks ...] [--out FILE]

The truth is taken from the generator's knobs before anything is trained. The information of a modality is the way
from chance to perfect that the best possible model could go with it alone: (ceiling - chance) / (perfect - chance),
the ceiling worked out from `informative` and `noise` (`datasets/synthetic.py`).

* dominated: one modality's information is at least 0.3 and at least twice that of every other, and it is not learnt
  slower than any other that tells something (0.1); otherwise speed and information argue, and there is no clear truth.
* balanced: information at least 0.3, no two modalities further apart than 0.05, equal speeds; or, with three or four
  modalities, two or more such equals and the rest at most a third of them: then several lead and no single one does.
* speed alone: equal information, one modality learnt four times as fast. What the network leans on then depends on how
  long it trains, so no truth is claimed; the row shows what was said.

Everything between is drawn again. Knobs are drawn from: 2 to 4 modalities, the three tasks, 2 to 8 classes, 1,000 to
2,000 samples (masks: 240 of 16 pixels a side), noise 0.05 to 0.8, speed 0.2 to 1, 6 to 12 epochs; everything else is
the default (masks: batches of 16 at a rate of 0.005, as the README advises).
Results are appended to a file as they come; started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from cggm_core.analysis.verdict import Verdict, diagnose
from cggm_core.config import RunConfig
from cggm_core.datasets.synthetic import CARD, Synthetic, Truth
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data, described
from cggm_core.store import MemoryRun

LEAST, TWICE, EQUAL, MINOR, TELLS = 0.3, 2.0, 0.05, 1 / 3, 0.1
KINDS = ("dominated", "balanced", "speed alone")
WANTED = 0.95


def information(truth: Truth, blind: float, task: str) -> dict[str, float]:
    """Way from chance to perfect that each ceiling allows; chance is the ceiling of a modality that tells nothing."""
    chance, perfect = blind, 0.0 if task == "regression" else 1.0
    return {m: (value - chance) / (perfect - chance) for m, value in truth.ceilings.items()}


def true_kind(told: dict[str, float], speeds: dict[str, float]) -> tuple[str, str | None]:
    """Which of `KINDS` a configuration is, and who dominates; ("", None) where the truth is not clear."""
    ranked = sorted(told, key=lambda m: -told[m])
    first, best = ranked[0], told[ranked[0]]
    if best < LEAST:
        return "", None
    if best >= TWICE * told[ranked[1]]:
        heard = [m for m in told if told[m] >= TELLS]
        return ("dominated", first) if all(speeds[first] >= speeds[m] for m in heard) else ("", None)
    equals = [m for m in ranked if best - told[m] <= EQUAL]
    rest = [m for m in ranked if m not in equals]
    if len(equals) < 2 or any(told[m] > MINOR * best for m in rest):
        return "", None
    if len({speeds[m] for m in equals}) == 1:
        return "balanced", None
    fast = max(equals, key=lambda m: speeds[m])
    if not rest and all(speeds[fast] >= 4 * speeds[m] for m in equals if m != fast):
        return "speed alone", fast
    return "", None


def drawn(number: int, kind: str, tasks: tuple[str, ...]) -> dict[str, Any]:
    """A configuration of a kind: drawn until its truth is that kind and clear."""
    random = np.random.default_rng([number, KINDS.index(kind), 20_241_121])
    while True:
        count, task = int(random.integers(2, 5)), str(random.choice(tasks))
        told = random.uniform(0.0, 1.0, count)
        noise = random.uniform(0.05, 0.8, count)
        speed = random.choice([1.0, 1.0, 0.5, 0.3, 0.2], count)
        if kind != "dominated":
            equal = random.random(count) < 0.7 if count > 2 and kind == "balanced" else np.ones(count, bool)
            told[equal], noise[equal], speed[:] = told[0], noise[0], speed[0]
            told[equal] = np.clip(told[equal] + random.uniform(-0.01, 0.01, equal.sum()), 0, 1)
        if kind == "speed alone":
            speed[:], speed[int(random.integers(count))] = 0.2, 1.0
        classes = int(random.integers(2, 9))
        params = {
            "task": task, "modalities": count, "classes": classes, "samples": int(random.integers(1000, 2001)),
            "informative": _text(told), "noise": _text(noise), "speed": _text(speed),
            "seed": int(random.integers(2**31)),
        } | SMALLER.get(task, {})  # fmt: skip
        made = Synthetic(**CARD.resolve(params))  # type: ignore[arg-type]
        truth = made.truth()
        blind = min(Synthetic(**CARD.resolve(params | {"informative": "0"})).truth().ceilings.values())  # type: ignore[arg-type]
        found, who = true_kind(information(truth, blind, task), dict(truth.speeds))
        if found == kind:
            return {"params": params, "epochs": int(random.integers(6, 13)), "truth": who, "kind": kind}


SMALLER: dict[str, dict[str, Any]] = {"segmentation": {"samples": 240, "dim": 16}}


def trained(config: dict[str, Any], number: int) -> Verdict:
    """The verdict on a joint training of a configuration, in this process and in memory."""
    training = {"epochs": config["epochs"], "seed": number, "device": "cpu", "threads": 1} | TRAINING.get(
        config["params"]["task"], {}
    )
    run_config = RunConfig.from_dict({"dataset": "synthetic", "dataset_params": config["params"], "training": training})
    data = build_data(run_config)
    trainer = Trainer(run_config, data)
    run = MemoryRun(run_config.to_dict())
    writer = run.writer()
    writer.progress(trainer.steps, config["epochs"])
    writer.event(0, "start", "training starts", described(trainer))
    trainer.fit(Recorder(writer, trainer.device))
    writer.finish("finished")
    return diagnose(run.reader())


TRAINING: dict[str, dict[str, Any]] = {"segmentation": {"batch_size": 16, "lr": 0.005, "classifier_lr": 0.005}}


def _text(values: Any) -> str:
    return ",".join(f"{value:.4f}" for value in values)


def main() -> int:
    """Train what is missing, print the table; 1 where it is below what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configurations", type=int, default=100, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first; thresholds were made on 0 to 99")
    parser.add_argument("--tasks", nargs="+", default=["classification", "regression", "segmentation"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop training after so long; go on later")
    parser.add_argument("--out", type=Path, default=Path("verdict-benchmark.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    held = {(row["number"], row["kind"], tuple(row["tasks"])): row for row in done}
    began, rows = time.monotonic(), []
    for number in range(given.first, given.first + given.configurations):
        for kind in given.kinds:
            key = (number, kind, tuple(given.tasks))
            if key not in held and time.monotonic() - began < given.seconds:
                config = drawn(number, kind, tuple(given.tasks))
                verdict = trained(config, number)
                held[key] = {"number": number, "tasks": given.tasks, **config, "said": verdict.dominant,
                             "lagging": verdict.lagging, "rules": [f.rule for f in verdict.findings],
                             "evidence": dict(verdict.findings[0].evidence)}  # fmt: skip
                with given.out.open("a") as file:
                    file.write(json.dumps(held[key]) + "\n")
            if key in held:
                rows.append(held[key])
    return table(rows)


def table(rows: list[dict[str, Any]]) -> int:
    """Print what was said against what is true."""
    print(f"{'truth':14}{'group':>18}{'n':>6}{'right':>8}{'other':>8}{'none':>8}{'share right':>14}")
    missed = 0
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        groups = {"all": mine}
        for task in sorted({row["params"]["task"] for row in mine}):
            groups[task] = [row for row in mine if row["params"]["task"] == task]
        for count in sorted({row["params"]["modalities"] for row in mine}):
            groups[f"{count} modalities"] = [row for row in mine if row["params"]["modalities"] == count]
        for name, part in groups.items():
            said = Counter(
                "right" if r["said"] == r["truth"] else "none" if r["said"] is None else "other" for r in part
            )
            share = said["right"] / len(part) if part else float("nan")
            print(f"{kind:14}{name:>18}{len(part):6}{said['right']:8}{said['other']:8}{said['none']:8}{share:14.3f}")
            missed += name == "all" and kind != "speed alone" and bool(part) and share < WANTED
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
