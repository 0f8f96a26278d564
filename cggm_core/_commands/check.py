"""`check`: whether a configuration and its data would train, without training or writing anything."""

from __future__ import annotations

import argparse
from typing import Any

from cggm_core import launch
from cggm_core._commands.finding import one_line, print_json
from cggm_core._commands.settings import add_settings, config_of
from cggm_core.config import RunConfig
from cggm_core.errors import CggmError


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "check", parents=[common], help="see whether settings and data would train, without training",
        allow_abbrev=False,
    )  # fmt: skip
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Build everything a run needs and say what it is."""
    try:
        found = _described(config_of(given))
    except CggmError as error:
        if not given.json:
            raise
        print_json({"ok": False, "error": str(error)})
        return 2
    if given.json:
        print_json({"ok": True, **found})
        return 0
    for name, value in found.items():
        if name != "config":
            print(f"{name:12} {one_line(_words(value))}")
    print("this would train")
    return 0


def _described(config: RunConfig) -> dict[str, Any]:
    launch.take_share(config.training.threads)
    from cggm_core.engine import worker

    prepared = worker.prepare(config)
    config, data = prepared.config, prepared.data
    return {
        "dataset": data.name,
        "task": data.task.name,
        "outputs": data.task.outputs,
        "modalities": {m: {"kind": s.kind, "shape": list(s.shape)} for m, s in data.modalities.items()},
        "samples": {name: len(split) for name, split in data.splits.items()},
        "model": config.model,
        "method": config.method,
        "preset": config.preset,
        "steps": prepared.trainer.steps,
        "device": str(prepared.trainer.device),
        "threads": config.training.threads or launch.share(),
        "fingerprint": config.fingerprint(),
        "config": config.to_dict(),
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "x".join(str(one) for one in value)
    return str(value)
