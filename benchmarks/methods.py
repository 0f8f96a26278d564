"""Every method on the same data, seeds and settings: `python benchmarks/methods.py`.

Runs are ordinary runs in a folder, trained by a small pool of processes, one thread each. A run that is there and
finished with the same configuration on the same data is not trained again, so an interrupted table goes on where
it stopped, and the app shows the same runs. Every method has its card's own settings; nothing is chosen
by any score: last epoch's weights, on the test split. The table has mean and standard deviation over seeds, the
difference to joint training seed by seed with its t interval and an exact sign-flip test, and what a method costs,
measured in one process, methods taking turns.

A data set is NAME or a path, with settings after a colon: `synthetic:informative=0.9,0.9,0.9;samples=1500`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from cggm_core import catalog, launch
from cggm_core._commands.settings import pairs
from cggm_core.analysis.comparison import paired, sample, seed_of
from cggm_core.cards import MethodCard
from cggm_core.config import RunConfig
from cggm_core.errors import CggmError
from cggm_core.names import MetricKey
from cggm_core.store import Catalogue, RunInfo, create_run, run_folder

if TYPE_CHECKING:
    from cggm_core.engine.trainer import Place

DATA = (
    "digits_views",
    "synthetic:informative=0.8,0.6,0.5;noise=0.5",
    "synthetic:informative=0.9,0.5,0.3;noise=0.5;speed=1,0.3,0.3",
)
SCORE = MetricKey("test_score")
ALONE = "unimodal"


@dataclass
class Row:
    """One line of the table: a method with its settings, and what became of it on one data set."""

    label: str
    configs: list[RunConfig]
    runs: dict[int, RunInfo] = field(default_factory=dict)
    refused: str = ""

    @property
    def scores(self) -> dict[int, float]:
        """Test score by seed."""
        return {seed: info.summary[SCORE].last for seed, info in self.runs.items() if SCORE in info.summary}


def configuration(method: str, data: str, settings: Sequence[str]) -> RunConfig:
    """A method (NAME or NAME:PRESET) on a data set, both as the command line writes them; the card's knobs."""
    method, _, preset = method.partition(":")
    name, _, knobs = data.partition(":")
    own = pairs([f"dataset.{pair}" for pair in knobs.split(";")]) if knobs else {}
    base = RunConfig(dataset=name, method=method, preset=preset)
    return base.with_settings({"device": "cpu", **own, **pairs(settings)})


def rows_of(data: str, methods: Sequence[str], seeds: int, settings: Sequence[str]) -> tuple[list[Row], str]:
    """What is to be trained on one data set, and the data's fingerprint; refusals carry their reason."""
    from cggm_core.engine.trainer import check_method
    from cggm_core.engine.worker import build_data

    bundle = build_data(configuration("joint", data, settings))
    rows = []
    for method in methods:
        base = configuration(method, data, settings).settled(bundle.task.name)
        made = {method.replace(":", " "): base}
        if method == ALONE:
            made = {f"{m} alone": base.with_settings({"method.modality": m}) for m in bundle.modalities}
        for label, config in made.items():
            row = Row(label, [config.with_settings({"seed": seed}) for seed in range(seeds)])
            try:
                check_method(config, bundle)
            except CggmError as error:
                row.refused = str(error)
            rows.append(row)
    return rows, bundle.fingerprint


def finished(root: Path, wanted: set[str], data: str) -> dict[str, RunInfo]:
    """Runs of the folder that are finished, by their configuration's fingerprint, on data of this fingerprint."""
    catalogue, found = Catalogue(root), {}
    for info in catalogue.runs():
        with contextlib.suppress(CggmError):
            word = RunConfig.from_dict(info.config).fingerprint()
            if info.state == "finished" and word in wanted and word not in found:
                reader = catalogue.reader(info.id)
                if reader.events()[0].data.get("data") == data:
                    found[word] = info
                reader.close()
    return found


def train(job: tuple[str, str]) -> str:
    """Train one configuration in this process; says what went wrong, "" where nothing did."""
    from cggm_core.engine import worker

    text, root = job
    config = RunConfig.from_json(text)
    try:
        prepared = worker.prepare(config)
        folder = run_folder(Path(root), create_run(Path(root), prepared.config.to_json()))
        ended = worker.run(prepared, folder)
        return "" if ended == "finished" else f"{config.method} {ended}"
    except Exception as error:  # one run that fails must not take the others with it
        return f"{config.method} on {config.dataset}, seed {config.training.seed}: {type(error).__name__}: {error}"


def fill(rows: Sequence[Row], root: Path, data: str, workers: int, budget: float) -> list[str]:
    """Train what is missing until the budget (seconds) is used up, attach every finished run; complaints."""
    mine = [row for row in rows if not row.refused]
    wanted = {config.fingerprint(): config for row in mine for config in row.configs}
    there = finished(root, set(wanted), data)
    # Seed by seed, so that a table that is not finished compares all methods on the seeds it has.
    missing = sorted((c for word, c in wanted.items() if word not in there), key=lambda c: c.training.seed)
    complaints = [text for text in trained(missing, root, workers, budget) if text]
    there = finished(root, set(wanted), data)
    for row in mine:
        row.runs = {seed_of(i): i for c in row.configs if (i := there.get(c.fingerprint()))}
    return complaints


def trained(configs: Sequence[RunConfig], root: Path, workers: int, budget: float) -> Iterator[str]:
    """Train configurations in a pool; ends early once the budget is used up, runs under way are ended."""
    if not configs or budget <= 0:
        return
    begun, jobs = time.monotonic(), [(config.to_json(), str(root)) for config in configs]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, said in enumerate(pool.imap_unordered(train, jobs), 1):
            yield said
            print(f"\r{done}/{len(jobs)} runs", end="", file=sys.stderr, flush=True)
            if time.monotonic() - begun > budget:
                break
    print(file=sys.stderr)


def costs(rows: Sequence[Row], epochs: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Time of a step (median) and of a whole training, relative to joint's, by label; methods take turns.

    Both with unimodal classifiers and every series measured, nothing stored. The training holds what a method does
    before and between epochs, and validation. Processor time of one thread, which a busy machine hardly touches.
    """
    from cggm_core.engine.worker import prepare

    steps: dict[str, list[float]] = {}
    wholes: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for row in rows:
            if row.refused:
                continue
            seen: list[float] = []

            def between(place: Place, seen: list[float] = seen) -> bool:
                if place.beside is None:  # steps of teachers and trials are the training's time, not the step's
                    seen.append(time.process_time())
                return True

            begun = time.process_time()
            trainer = prepare(row.configs[0].with_settings({"epochs": epochs})).trainer
            trainer.fit(between=between)
            whole = time.process_time() - begun
            if turn:  # the first round warms caches and allocators up
                gaps = [after - before for before, after in itertools.pairwise(seen)]
                steps.setdefault(row.label, []).append(statistics.median(gaps))
                wholes.setdefault(row.label, []).append(whole)
    middle = {label: (statistics.median(steps[label]), statistics.median(wholes[label])) for label in steps}
    base = middle["joint"]
    return {label: (step / base[0], whole / base[1]) for label, (step, whole) in middle.items()}


def table(rows: Sequence[Row], cost: dict[str, tuple[float, float]]) -> str:
    """Markdown: the rows in the order given, differences to joint."""
    lines = [
        "| method | seeds | mean | sd | to joint | 95 % interval | p | step | training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    joint = next(row for row in rows if row.label == "joint").scores
    for row in rows:
        if row.refused:
            lines.append(f"| {row.label} | refused: {row.refused} | | | | | | | |")
            continue
        found, apart = sample(list(row.scores.values())), paired(row.scores, joint)
        against = ("", "", "")
        if row.label != "joint" and apart.n:
            interval = f"{apart.low:+.4f} to {apart.high:+.4f}" if apart.n > 1 else ""
            against = (f"{apart.mean:+.4f}", interval, f"{apart.p:.3f}" if apart.n > 1 else "")
        step, whole = (f"{number:.2f}" for number in cost[row.label]) if row.label in cost else ("", "")
        cells = (
            row.label,
            found.n,
            f"{found.mean:.4f}" if found.n else "",
            f"{found.std:.4f}" if found.n > 1 else "",
            *against,
            step,
            whole,
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--methods", nargs="+", help="NAME or NAME:PRESET; joint is always among them (default: all)")
    made.add_argument("--data", nargs="+", default=list(DATA), help="names or paths, settings after a colon")
    made.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1")
    made.add_argument("--epochs", type=int, default=8)
    made.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings, for every run alike")
    made.add_argument("--runs", type=Path, default=Path("runs") / "methods", help="folder of the runs")
    made.add_argument("--workers", type=int, default=0, help="processes side by side (0: as many as fit)")
    made.add_argument("--seconds", type=float, default=float("inf"), help="train no longer than this, then the table")
    made.add_argument("--rounds", type=int, default=5, help="turns of the cost measurement; 0 leaves it out")
    made.add_argument("--cost-epochs", type=int, default=3, help="epochs of each training whose time is taken")
    return made


def main() -> int:
    given: Any = parser().parse_args()
    cards: dict[str, MethodCard] = catalog.all_cards("method")
    every = [f"{m}:{p.name}" if card.presets else m for m, card in cards.items() for p in card.presets or (card,)]
    methods = ["joint", *(m for m in given.methods or every if m != "joint")]
    launch.take_share(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    settings = [f"epochs={given.epochs}", "threads=1", *given.set]
    ends, complaints = time.monotonic() + given.seconds, []
    for number, data in enumerate(given.data):
        rows, fingerprint = rows_of(data, methods, given.seeds, settings)
        workers = given.workers or launch.slots()
        complaints += fill(rows, given.runs, fingerprint, workers, ends - time.monotonic())
        cost = costs(rows, given.cost_epochs, given.rounds) if given.rounds and number == 0 else {}
        print(f"\n### {data}\n\n{', '.join(settings)}; test score\n\n{table(rows, cost)}", flush=True)
    for complaint in complaints:
        print(f"failed: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CggmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
