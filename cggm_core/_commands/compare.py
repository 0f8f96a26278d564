"""`compare`: final scores of runs, configurations against a baseline, seed by seed."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import Any

from cggm_core._commands.finding import catalogue, print_json, print_table
from cggm_core.analysis.scores import configurations, finished, reading, score_table
from cggm_core.analysis.tables import ScoreTable, spread_text, to_csv, to_latex
from cggm_core.errors import ConfigError


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "compare", parents=[common], help="final scores of runs against a baseline", allow_abbrev=False
    )
    parser.add_argument("ids", metavar="RUN", nargs="+", help="ids, or unambiguous beginnings of them")
    named = "configuration to compare with, as this table names it (default: joint training)"
    parser.add_argument("--baseline", default="", metavar="NAME", help=named)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="every number as JSON")
    form.add_argument("--to", choices=("csv", "latex"), help="the table for a spreadsheet or a paper")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the table."""
    runs = catalogue(given)
    chosen = {info.id: info for info in (runs.find(run_id) for run_id in given.ids)}
    by_name = finished(configurations([info for info in chosen.values() if not info.damaged], given.baseline))
    if not any(by_name.values()):
        raise ConfigError(f"none of these {len(chosen)} runs has finished; wait, or name others")
    table = score_table(by_name)
    if given.json:
        print_json(as_json(table))
    elif given.to:
        print((to_csv if given.to == "csv" else to_latex)(table), end="")
    else:
        print_scores(table)
    return 0


def as_json(table: ScoreTable) -> dict[str, Any]:
    """The table as plain values; a number there is not is NaN, which JSON shows as null."""
    adjusted = table.adjusted()
    return {
        "baseline": table.baseline,
        "rows": [
            {"configuration": name, "metric": column.key, "direction": column.direction, **asdict(cell.sample),
             "best": table.best(number) == name,
             "paired": {**asdict(cell.paired), "p_holm": adjusted[name, number]} if cell.paired else None}
            for name, cells in table.rows.items()
            for number, (column, cell) in enumerate(zip(table.columns, cells, strict=True))
        ],
        "reading": reading(table),
    }  # fmt: skip


def print_scores(table: ScoreTable) -> None:
    """A line a number of every configuration, and what the number of seeds allows to say."""
    adjusted = table.adjusted()
    rows = []
    for number, column in enumerate(table.columns):
        for name, cells in table.rows.items():
            cell = cells[number]
            pair = cell.paired
            interval = f"{pair.low:+.4f} to {pair.high:+.4f}" if pair and math.isfinite(pair.low) else ""
            rows.append([
                column.label, name, cell.sample.n, spread_text(cell.sample, 4),
                f"{pair.mean:+.4f}" if pair and pair.n else "", interval,
                f"{adjusted[name, number]:.3g}" if pair and math.isfinite(pair.p) else "",
            ])  # fmt: skip
    print_table(("score", "configuration", "n", "mean ± std", "difference", "95 % interval", "p (Holm)"), rows)
    print(reading(table))
