"""`matrix`: methods with presets times seeds, put into the queue; how far it has come; trying again; taking back."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, replace
from typing import Any, get_args

from cggm_core import launch
from cggm_core._commands.finding import print_json, print_table
from cggm_core._commands.settings import add_settings, config_of
from cggm_core.config import RunConfig
from cggm_core.errors import ConfigError
from cggm_core.launch.queue import OPEN, Job, JobState

MOST_RUNS = 500


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "matrix", parents=[common], help="methods times seeds, queued side by side", allow_abbrev=False,
        description="Queues a run for every method and seed, with the settings of train. Without --methods it says how "
        "far the queue has come.",
    )  # fmt: skip
    parser.add_argument("--methods", nargs="+", metavar="NAME[:PRESET]", help="joint cggm:paper cggm:stable")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="of each method (default: --seed, else 0)")
    parser.add_argument("--slots", type=int, default=0, metavar="N", help="side by side (default: as many as fit)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--retry", action="store_true", help="put runs that failed back, from their checkpoints")
    asked.add_argument("--cancel", action="store_true", help="stop what trains with a checkpoint, drop what waits")
    parser.add_argument("--json", action="store_true", help="the queue as JSON")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Queue, try again or take back; then say how the queue stands."""
    if given.methods and (given.retry or given.cancel):
        raise ConfigError("--methods queues runs; leave --retry and --cancel out")
    if given.methods:
        launch.start_many(configs(given), given.runs, given.slots)
    elif given.retry:
        launch.retry(given.runs)
    elif given.cancel:
        launch.cancel(given.runs)
    state = launch.queue_state(given.runs)
    done = launch.progress(state, given.runs)
    if given.json:
        print_json({**asdict(done), "slots": state.slots, "queue": [asdict(job) for job in state.jobs]})
    else:
        _print(state, done)
    return 0


def configs(given: argparse.Namespace) -> list[RunConfig]:
    """Every run of the matrix, methods within seeds, so that a half-done one compares all methods.

    Raises:
        ConfigError: for a method, preset or setting that does not exist, or more than 500 runs.
    """
    seeds = list(dict.fromkeys(given.seeds or [0 if given.seed is None else given.seed]))
    count = len(given.methods) * len(seeds)
    if count > MOST_RUNS:
        raise ConfigError(f"{count} runs at once are too many; at most {MOST_RUNS}")
    made: list[RunConfig] = []
    bases = []
    for word in dict.fromkeys(given.methods):
        method, _, preset = word.partition(":")
        one = argparse.Namespace(**{**vars(given), "method": method, "preset": preset or given.preset, "name": None})
        bases.append((word.replace(":", " "), config_of(one)))
    for seed in seeds:
        for label, base in bases:
            name = " · ".join(part for part in (given.name or "", label, f"seed {seed}") if part)
            made.append(replace(base.with_settings({"seed": seed}), name=name))
    return made


def _print(state: launch.QueueState, done: launch.Progress) -> None:
    if not state.jobs:
        print("The queue is empty.")
        return
    print_table(("state", "done", "run", "what", "why it failed"), [_row(job, done) for job in state.jobs])
    counts = ", ".join(f"{state.count(name)} {name}" for name in get_args(JobState) if state.count(name))
    left = launch.duration(done.seconds)
    about = f"; about {left} left" if left and any(job.state in OPEN for job in state.jobs) else ""
    print(f"{counts}; {state.slots} at once{about}")


def _row(job: Job, done: launch.Progress) -> tuple[str, str, str, str, str]:
    share = 1.0 if job.state == "done" else done.shares.get(job.id, math.nan)
    what = job.config.get("name") or " ".join(str(job.config.get(key, "")) for key in ("dataset", "method", "preset"))
    return job.state, "" if math.isnan(share) else f"{share:.0%}", job.run, str(what)[:80], job.error[:200]
