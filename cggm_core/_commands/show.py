"""`show`: one run: state, configuration, last values, lives and events."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cggm_core._commands.finding import catalogue, one_line, print_json, print_table, row
from cggm_core.errors import DamagedRunError
from cggm_core.store import RunInfo

_PARTS = ("dataset_params", "model_params", "method_params", "training")


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "show", parents=[common], help="one run: state, settings, last values, events", allow_abbrev=False
    )
    parser.add_argument("id", metavar="RUN", help="its id, or an unambiguous beginning of it")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Show the run."""
    runs = catalogue(given)
    info = runs.find(given.id)
    reader = runs.reader(info.id)
    attempts: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    try:
        attempts = [asdict(life) for life in reader.attempts()]
        events = [asdict(event) for event in reader.events()]
    except DamagedRunError:
        if not info.damaged:
            raise
    finally:
        reader.close()
    if given.json:
        print_json(_document(info, attempts, events))
    else:
        _print(info, events)
    return 0


def _document(info: RunInfo, attempts: list[Any], events: list[Any]) -> dict[str, Any]:
    series = [
        {"metric": key.metric, "modality": key.modality, **asdict(summary)} for key, summary in info.summary.items()
    ]
    return {
        **row(info), "notes": info.notes, "pinned": info.pinned, "archived": info.archived,
        "config": dict(info.config), "series": series, "attempts": attempts, "events": events,
    }  # fmt: skip


def _print(info: RunInfo, events: list[dict[str, Any]]) -> None:
    shown = row(info) | {"created_at": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.created_at))}
    for name, value in shown.items():
        if value not in (None, "", [], False):
            print(f"{name:10} {one_line(value)}")
    for part in _PARTS:
        held = info.config.get(part)
        values = held if isinstance(held, Mapping) else {}  # another program may have written anything
        print(f"\n{part}: " + one_line(" ".join(f"{knob}={value}" for knob, value in values.items())))
    if info.summary:
        print()
        print_table(
            ("series", "last", "lowest", "highest", "values"),
            [(key, s.last, s.low, s.high, s.count) for key, s in info.summary.items()],
        )
    for event in events:
        print(one_line(f"step {event['step']}: {event['kind']}: {event['text']}"))
