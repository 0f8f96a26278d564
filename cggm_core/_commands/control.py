"""`control`: ask a running training for something."""

from __future__ import annotations

import argparse
from typing import Any

from cggm_core._commands.finding import catalogue
from cggm_core._commands.settings import pairs
from cggm_core.errors import ConfigError

_VERBS = ("pause", "resume", "stop", "set", "snapshot", "contributions")


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "control",
        parents=[common],
        help="pause, resume, stop or change a running training",
        allow_abbrev=False,
    )
    parser.add_argument("id", metavar="RUN", help="its id, or an unambiguous beginning of it")
    parser.add_argument(
        "verb",
        choices=_VERBS,
        help="snapshot takes the gradients now, contributions looks at who carries the prediction",
    )
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE", help="with set: rho=1.3 direction=false")
    parser.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="with stop: time before signals follow (default: 30)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Ask, and for `stop` wait until it has ended."""
    from cggm_core import launch

    info = catalogue(given).find(given.id)
    if info.sample:
        raise ConfigError(f"run {info.id} came with the software and has long ended")
    if (given.verb == "set") != bool(given.values):
        wants = "at least one KEY=VALUE" if given.verb == "set" else "no values"
        raise ConfigError(f"control {given.verb} takes {wants}")
    if given.verb == "stop":
        print(f"{info.id} {launch.stop(given.runs, info.id, given.grace)}")
        return 0
    number = launch.request(given.runs, info.id, given.verb, pairs(given.values))
    print(f"{info.id} request {number}: {given.verb}")
    return 0
