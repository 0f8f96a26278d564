"""Finding a run by what a person typed, and printing for programs and for people."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cggm_core.names import MetricKey
from cggm_core.store import Catalogue, RunInfo

SAMPLES = Path(__file__).resolve().parents[2] / "sample_runs"


def catalogue(given: argparse.Namespace) -> Catalogue:
    """The runs of `--runs` and, to be read only, the samples that came with the software."""
    return Catalogue(given.runs, [SAMPLES])


def print_json(value: Any) -> None:
    """One JSON document; a number that JSON does not have becomes null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=True))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as what they hold."""
    cells = [[one_line(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def one_line(value: Any) -> str:
    """A value for a terminal; nothing a user named can move the cursor or break the line."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)


def last(info: RunInfo, metric: str) -> float | None:
    """Newest value of a fused metric; None if there is none or it is no number."""
    found = info.summary.get(MetricKey(metric))
    return None if found is None or math.isnan(found.last) else found.last


def row(info: RunInfo) -> dict[str, Any]:
    """What a list shows of a run."""
    training = info.config.get("training", {})
    return {
        "id": info.id,
        "name": info.name,
        "state": info.state,
        "reason": info.reason,
        "dataset": info.config.get("dataset", ""),
        "method": info.config.get("method", ""),
        "preset": info.config.get("preset", ""),
        "seed": training.get("seed") if isinstance(training, dict) else None,
        "step": info.step,
        "steps": info.steps,
        "epoch": info.epoch,
        "epochs": info.epochs,
        "val_score": last(info, "val_score"),
        "test_score": last(info, "test_score"),
        "created_at": info.created_at,
        "tags": list(info.tags),
        "damaged": info.damaged,
        "sample": info.sample,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
