"""What a finding rests on: its numbers as a table, and the figure in which they can be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from cggm_core.analysis.verdict import Finding
from cggm_core.analysis.verdict_record import Record
from cggm_core.figures import diagnosis as pictures
from cggm_core.figures import dynamics
from cggm_core.figures.live import LiveRun
from cggm_core.figures.spec import FigureSpec
from cggm_core.figures.view import RunView
from cggm_core.store import RunReader
from cggm_core.ui.panels import figure_card
from cggm_core.ui.remade import remade
from cggm_core.ui.safe import plain

OF_RECORD: dict[str, Callable[[Record], FigureSpec]] = {
    "contributions": pictures.contributions,
    "removal": lambda record: pictures.robustness(record, "removal"),
    "coefficient_health": pictures.coefficient_health,
}
OF_RUN: dict[str, Callable[[RunView], FigureSpec]] = {
    "validation": dynamics.validation, "directions": dynamics.directions, "losses": dynamics.losses,
    "update_ratios": dynamics.update_ratios, "gradient_norms": dynamics.gradient_norms,
}  # fmt: skip
HALF_LIFE = 10.0
_MOST_NUMBERS = 24


def evidence(findings: Sequence[Finding], title: str, record: Record, reader: RunReader, key: str) -> None:
    """Numbers and figure of one rule's findings.

    Args:
        findings: of one rule, one a modality; at least one.
        title: of the finding, in words of ours.
        record: what the rule read.
        reader: of the run, for figures of its whole course.
        key: beginning of the widgets' keys.
    """
    if any(finding.evidence for finding in findings):
        st.dataframe(numbers(findings), hide_index=True, width="stretch", height="content",
                     alt=f"Numbers behind the finding {plain(title)}")  # fmt: skip
    name = findings[0].figure
    if name in OF_RECORD:
        figure_card(OF_RECORD[name](record), key=f"{key}.figure")
    elif name in OF_RUN:
        figure_card(OF_RUN[name](remade(reader, f"{key}.course", _course)), key=f"{key}.figure")


def numbers(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """A column a modality, a row a number."""
    names = dict.fromkeys(name for finding in findings for name in finding.evidence)
    rows = list(names)[:_MOST_NUMBERS]
    table = {"Number": [plain(name.replace("_", " ").capitalize(), 60) for name in rows]}
    for finding in findings:
        head = plain(finding.modality, 60) if len(findings) > 1 and finding.modality else "Value"
        table[head] = [plain(_shown(finding.evidence.get(name)), 60) for name in rows]
    return table


def _course(reader: RunReader) -> RunView:
    live = LiveRun(reader, HALF_LIFE)
    live.poll()
    return live.view()


def _shown(value: object) -> str:
    return "unknown" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
