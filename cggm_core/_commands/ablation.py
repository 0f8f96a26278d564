"""`ablation`: the paper's Fig. 5 and Tables 5 and 6 out of finished runs; starts what is missing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from cggm_core import launch
from cggm_core._commands.compare import as_json, print_scores
from cggm_core._commands.finding import catalogue, print_json
from cggm_core._commands.settings import add_settings, config_of
from cggm_core.analysis import ablation, ablation_tables
from cggm_core.analysis.ablation import PAPER_VALUES, Filled, Knob
from cggm_core.analysis.tables import ScoreTable, to_csv, to_latex
from cggm_core.config import AUTO, RunConfig
from cggm_core.errors import ConfigError
from cggm_core.launch.queue import OPEN
from cggm_core.names import MetricKey

PARTS = ("components", "rho", "lam", "classifiers")


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "ablation", parents=[common], help="sweeps and components of CGGM against joint training", allow_abbrev=False,
        description="Out of every finished run that differs in nothing but the knob: components (Table 6), rho and lam "
        "(Fig. 5), classifiers (Table 5).",
    )  # fmt: skip
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--of", metavar="RUN", help="data, model and training of this run, in place of flags")
    add_settings(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="asked for (0 1 2)")
    parser.add_argument("--values", type=float, nargs="+", metavar="X", help="of rho or lam (default: the paper's)")
    parser.add_argument("--score", default="test_score", metavar="NAME", help="compared (default: test_score)")
    parser.add_argument("--start", action="store_true", help="put the missing runs into the queue and return")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="every number as JSON")
    form.add_argument("--to", choices=("csv", "latex"), help="the table for a spreadsheet or a paper")
    parser.set_defaults(run=run, flags=[a.dest for a in parser._actions])


def run(given: argparse.Namespace) -> int:
    """Print the table, or start what is missing."""
    runs = catalogue(given)
    base = _base(given, runs.find(given.of).config if given.of else None)
    jobs = [job.config for job in launch.queue_state(given.runs).jobs if job.state in OPEN]
    works = [*ablation.works(runs.runs()), *ablation.waiting(jobs)]
    word = ablation.known(base).family
    family = next((f for f in ablation.families(works) if f.word == word), ablation.Family(word, base, ()))
    altered = {info.id for info in family.finished() if ablation.altered(runs.reader(info.id).events())}
    filled, table = _part(given, base, ablation.without(family, altered))
    missing = ablation.to_start(filled)
    waits = sum(len(one.open) for one in filled)
    if given.start:
        if missing:
            launch.start_many(missing, given.runs)
        print(f"{len(missing)} runs queued, {waits} were waiting or training already")
    elif given.json:
        wanted = [{"name": c.name, "seed": c.training.seed, "config": c.to_dict()} for c in missing]
        said = [ablation_tables.conclusion(table, number) for number in range(len(table.columns))]
        print_json({**as_json(table), "conclusions": said, "missing": wanted, "waiting": waits})
    elif given.to:
        print((to_csv if given.to == "csv" else to_latex)(table), end="")
    else:
        print_scores(table)
        for number, column in enumerate(table.columns):
            if words := ablation_tables.conclusion(table, number):
                print(f"{column.label}: {words}")
        if altered:
            print(f"{len(altered)} runs are left out: knobs were changed while they trained")
        print(f"{len(missing)} runs are missing, {waits} wait or train" + ("; --start queues them" if missing else ""))
    return 0


def _base(given: argparse.Namespace, of: Any) -> RunConfig:
    """CGGM as the flags, or the run named, have it.

    Raises:
        ConfigError: for flags that do not fit.
    """
    if given.method not in (None, "cggm"):
        raise ConfigError(f"an ablation is of cggm, not of {given.method!r:.80}; leave --method out")
    if of is None:
        given.method = "cggm"
        base = config_of(given)
        if base.model == AUTO:
            raise ConfigError(
                "the model for a file is known once a run has read it: name one with --model, or a run with --of"
            )
        return base
    others = {"dataset", "model", "config", "epochs", "batch_size", "lr", "device", "settings", "seed", "name"}
    if extra := sorted(flag for flag in others if getattr(given, flag) not in (None, [])):
        raise ConfigError(f"--of takes data and training from a run: leave --{extra[0].replace('_', '-')} out")
    if (known := ablation.parsed(of)) is None:
        raise ConfigError(f"run {given.of[:40]} was not configured by the lab, so nothing can be compared with it")
    knobs = {name: getattr(given, name) for name in ("magnitude", "direction", "rho", "lam")}
    mine = {name: value for name, value in knobs.items() if value is not None}
    own = RunConfig.from_dict(of)
    if own.method == "cggm" and given.preset is None:
        # As it was configured, not as it is compared: there lambda is 0 where direction is off.
        return replace(known.config, method="cggm", preset=own.preset, method_params={**own.method_params, **mine})
    return ablation.base_of(known.config, given.preset or "paper", mine)


def _part(given: argparse.Namespace, base: RunConfig, family: ablation.Family) -> tuple[list[Filled], ScoreTable]:
    key = MetricKey(given.score)
    if given.part == "components":
        filled = ablation.fill(ablation.component_cells(base), family.works, given.seeds)
        return filled, ablation_tables.component_table(filled, [key])
    if given.part == "classifiers":
        if not (modalities := family.modalities()):
            raise ConfigError("the modalities are known once a run of these settings has finished; train one first")
        filled = ablation.fill(ablation.classifier_cells(base, modalities), family.works, given.seeds)
        return filled, ablation_tables.classifier_table(filled, modalities)
    knob: Knob = given.part
    values = given.values or [*PAPER_VALUES[knob], *ablation.values_there(family.works, base, knob)]
    joint, *points = ablation.fill(
        [ablation.component_cells(base)[0], *ablation.sweep_cells(base, knob, values)], family.works, given.seeds
    )
    return [joint, *points], ablation_tables.swept(knob, joint, points, key).table
