"""`diagnose`: what is wrong with a run, since when and how surely, and what to try."""

from __future__ import annotations

import argparse
from typing import Any

from cggm_core._commands.finding import catalogue, one_line, print_json


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser(
        "diagnose", parents=[common], help="which modality dominates a run, and what else is wrong", allow_abbrev=False
    )
    parser.add_argument("id", metavar="RUN", help="its id, or an unambiguous beginning of it")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the verdict."""
    from cggm_core.analysis.verdict import diagnose

    runs = catalogue(given)
    reader = runs.reader(runs.find(given.id).id)
    try:
        verdict = diagnose(reader)
    finally:
        reader.close()
    if given.json:
        print_json(verdict.document())
        return 0
    print(one_line(verdict.headline))
    for finding in verdict.findings:
        print(f"\n{finding.severity}: {finding.rule} ({finding.confidence} confidence)")
        print("  " + one_line(finding.text))
        numbers = "; ".join(f"{name} {_shown(value)}" for name, value in finding.evidence.items())
        if numbers:
            print("  evidence: " + one_line(numbers))
        if finding.advice:
            print("  try: " + one_line(finding.advice))
    for sentence in verdict.missing:
        print("\nmissing: " + sentence)
    return 0


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "unknown" if value is None else str(value)
