"""`methods`, `datasets` and `presets`: what there is, out of the plug-ins' cards."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from cggm_core import catalog
from cggm_core._commands.finding import one_line, print_json
from cggm_core.cards import Card, FormatCard, RunPresetCard

_KINDS = {"methods": ("method", "balancing methods"), "datasets": ("dataset", "data sets"),
          "presets": ("preset", "presets of whole runs")}  # fmt: skip


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    for command, (kind, what) in _KINDS.items():
        parser = listed.add_parser(
            command, parents=[common], help=f"{what} with their settings and ranges", allow_abbrev=False
        )
        parser.add_argument("--json", action="store_true", help="for a program")
        if kind == "dataset":
            parser.add_argument("--formats", action="store_true", help="only what --dataset PATH reads")
        parser.set_defaults(run=run, kind=kind, formats=False)


def run(given: argparse.Namespace) -> int:
    """List the cards."""
    found = catalog.all_cards("format" if given.formats else given.kind)
    if given.json:
        print_json([asdict(card) for card in found.values()])
        return 0
    if not given.formats:
        _show(found.values(), given.kind)
    if given.kind == "dataset":
        print("\nOf your own, with --dataset PATH:" if not given.formats else "With --dataset PATH:")
        _show(catalog.all_cards("format").values(), given.kind)
    return 0


def _show(cards: Iterable[Card], kind: str) -> None:
    for card in cards:
        print(f"{card.name}: {card.title}. {card.summary}")
        if isinstance(card, RunPresetCard):
            _show_settings(card)
        if isinstance(card, FormatCard):
            print(f"  {card.layout}")
        for preset in card.presets:
            print(f"  --preset {preset.name}: {preset.text}")
        for knob in card.params:
            print(f"  {kind}.{knob.name}={one_line(knob.default)}{_range(knob)}: {knob.text}")


def _show_settings(card: RunPresetCard) -> None:
    by_method = {f"method.{name} ({method})": value
                 for method, values in card.method_params.items() for name, value in values.items()}  # fmt: skip
    by_model = {f"model.{name}": value for name, value in card.model_params.items()}
    for name, value in {**card.training, "model": card.model, **by_model, **by_method}.items():
        print(f"  {name}={one_line(value)}")
    print(f"  {card.paper}. {card.unsaid}")


def _range(knob: Any) -> str:
    if knob.choices:
        return f" ({', '.join(knob.choices)})"
    if knob.low is None and knob.high is None:
        return ""
    low = "" if knob.low is None else f"{knob.low:g}"
    high = "" if knob.high is None else f"{knob.high:g}"
    return f" ({low}..{high})"
