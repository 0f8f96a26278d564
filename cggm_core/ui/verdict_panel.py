"""The verdict on a page: findings with their numbers, confidence, figure and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cggm_core import launch
from cggm_core.analysis.verdict import Finding, Verdict, judge
from cggm_core.analysis.verdict_balance import health
from cggm_core.analysis.verdict_record import Record, read_record
from cggm_core.errors import CggmError
from cggm_core.store import RunInfo, RunReader
from cggm_core.ui import preset_panel, session
from cggm_core.ui.remade import remade
from cggm_core.ui.safe import md, plain

LOOKS = {
    "problem": (":material/error:", "red"), "warning": (":material/warning:", "orange"),
    "note": (":material/info:", "blue"), "fine": (":material/check_circle:", "green"),
}  # fmt: skip
WHERE = {
    "contributions": "Contribution of each modality, below", "removal": "Removal, one modality at a time, below",
    "coefficient_health": "Health of the coefficient, below", "validation": "Scores on the validation split, Monitor",
    "directions": "Gradient direction, Monitor", "losses": "Losses, Monitor",
    "update_ratios": "Update ratio, Monitor", "gradient_norms": "Gradient magnitude, Monitor",
}  # fmt: skip
_MOST_NUMBERS = 24


@dataclass(frozen=True)
class Diagnosed:
    """A run's record and the verdict on it; `balanced` where a coefficient other than 1 was applied."""

    record: Record
    verdict: Verdict
    balanced: bool
    config: Mapping[str, Any]


def diagnosed(reader: RunReader, key: str) -> Diagnosed:
    """The verdict, made again when the run has come further (`remade`).

    Args:
        reader: of the run.
        key: where the session keeps it.

    Raises:
        StoreError: if the run cannot be read.
    """
    return remade(reader, f"{key}.verdict", _diagnosed)


def _diagnosed(reader: RunReader) -> Diagnosed:
    record = read_record(reader)
    return Diagnosed(record, judge(record), bool(health(record)), reader.info().config)


def state_notice(info: RunInfo) -> None:
    """What the run's state means for the verdict; nothing where it is simply finished."""
    reason = md(info.damaged or info.reason, 400)
    if info.damaged:
        st.error(f"The file of this run cannot be trusted: {reason}. There is no verdict on it.",
                 icon=":material/broken_image:")  # fmt: skip
    elif info.state in ("died", "failed"):
        st.warning(
            f"This run {'died' if info.state == 'died' else 'failed'}{f' ({reason})' if reason else ''}; the verdict "
            f"is on what was recorded up to step {max(0, info.step)}.", icon=":material/heart_broken:",
        )  # fmt: skip
    elif info.state == "stopped":
        st.info("Stopped before its planned end; the verdict is on what was recorded.", icon=":material/stop_circle:")
    elif info.state in ("starting", "running", "paused"):
        st.info(f"This run is {info.state}; the verdict may change until it ends.", icon=":material/hourglass_top:")
    if info.sample:
        st.badge("sample", icon=":material/inventory_2:", color="gray")


def finding_cards(found: Diagnosed, key: str) -> None:
    """One card a rule that spoke, in the order of the verdict; what it says of several modalities stands together."""
    groups: dict[str, list[Finding]] = {}
    for finding in found.verdict.findings:
        groups.setdefault(finding.rule, []).append(finding)
    for rule, members in groups.items():
        with st.container(border=True, gap="xsmall"):
            _card(members, f"{key}.finding.{rule}", found)


def ask_for_look(info: RunInfo) -> None:
    """A button that asks the running training for a full look now."""
    if st.button("Look now", icon=":material/query_stats:", key=f"look.{info.id}",
                 help="Contributions and curves of this moment; takes a few seconds of the training."):  # fmt: skip
        try:
            launch.request(session.runs_root(), info.id, "contributions", {})
            st.toast("Asked; the training answers between two steps.")
        except CggmError as error:
            st.error(md(error, 400), icon=":material/error:")


def _card(members: list[Finding], key: str, found: Diagnosed) -> None:
    first = members[0]
    icon, colour = LOOKS[first.severity]
    title = first.rule.replace("_", " ").capitalize()
    whom = ", ".join(finding.modality for finding in members if finding.modality)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(first.severity, icon=icon, color=colour)  # type: ignore[arg-type]
        st.markdown(f"**{md(title)}**" + (f" · {md(whom, 120)}" if whom else ""), width="content")
        st.caption(f"{first.confidence} confidence", width="content")
    for finding in members:
        if finding.text != found.verdict.headline:  # which stands above already
            st.markdown(md(finding.text, 800))
    if first.advice:
        st.markdown(f":material/lightbulb: {md(first.advice, 500)}")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if any(finding.evidence for finding in members):
            with st.popover("Evidence", icon=":material/table_rows:", key=f"{key}.evidence"):
                st.dataframe(_numbers(members), hide_index=True, width="content", height="content",
                             alt=f"Numbers behind the finding {plain(title)}")  # fmt: skip
                if first.figure in WHERE:
                    st.caption(f"Seen in: {WHERE[first.figure]}.")
        helped = f"New run: same data and settings, with {f'{first.method} {first.preset}'.strip()}"
        if first.method and st.button("Try it", icon=":material/play_arrow:", key=f"{key}.try", help=helped):
            preset_panel.start_from(found.config, (first.method, first.preset))
            session.go("new_run")


def _numbers(members: list[Finding]) -> dict[str, list[str]]:
    """A column a modality, a row a number."""
    names = dict.fromkeys(name for finding in members for name in finding.evidence)
    rows = list(names)[:_MOST_NUMBERS]
    table = {"what": [plain(name.replace("_", " "), 60) for name in rows]}
    for finding in members:
        head = plain(finding.modality, 60) if len(members) > 1 and finding.modality else "value"
        table[head] = [plain(_shown(finding.evidence.get(name)), 60) for name in rows]
    return table


def _shown(value: object) -> str:
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
