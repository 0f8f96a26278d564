"""The verdict on a page: findings with their numbers, confidence, figure and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cggm_core import catalog, launch
from cggm_core.analysis.verdict import Finding, Verdict, judge
from cggm_core.analysis.verdict_balance import health
from cggm_core.analysis.verdict_record import Record, read_record
from cggm_core.errors import CggmError
from cggm_core.figures import diagnosis as pictures
from cggm_core.store import RunInfo, RunReader
from cggm_core.ui import evidence, preset_panel, session
from cggm_core.ui.panels import figure_card
from cggm_core.ui.remade import remade
from cggm_core.ui.safe import md

LOOKS = {
    "problem": (":material/error:", "red"), "warning": (":material/warning:", "orange"),
    "note": (":material/info:", "blue"), "fine": (":material/check_circle:", "green"),
}  # fmt: skip
# What a rule is called on the page; a rule that has no words here is shown by its name.
TITLES = {
    "dominant": "One modality dominates", "underused": "A modality is underused", "balanced": "Nobody dominates",
    "lagging": "Lagging modality", "unused": "Unused though it knows something", "uninformative": "Adds nothing",
    "harmful": "Does harm", "overfitting": "Overfitting modality", "conflicting": "Gradients in conflict",
    "fusion_below_best": "Fusion below its best part", "diverged": "The loss diverged",
    "nothing_learnt": "Nothing learnt", "no_evidence": "No evidence", "nothing_wrong": "Nothing wrong",
    "negative_coefficient": "Coefficient below 0", "exploding_coefficient": "Coefficient explodes",
    "undefined_coefficient": "Coefficient undefined", "coefficient_healthy": "Coefficient healthy",
    "cancelled_scale": "The optimiser undoes the balancing", "mean_scale": "Balancing changes the learning rate",
    "clipped": "Clipping couples the modalities",
}  # fmt: skip
SURE = (
    "How surely the finding holds. High: the difference is far beyond its error, or every measure agrees; medium: "
    "likely; low: a hint, to be looked at."
)
SEVERITIES = {
    "problem": "Costs score", "warning": "May cost score", "note": "Worth knowing", "fine": "Looked at, nothing wrong",
}  # fmt: skip
CARD_WIDTH = 430  # pixels at least; a narrow page puts one card under the other


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


def headline(found: Diagnosed, key: str) -> None:
    """What the verdict says of the whole run, with what to do about it; beside it the figure it is read from."""
    verdict, first = found.verdict, found.verdict.findings[0]
    left, right = st.columns([1, 1], gap="medium")
    with left:
        _head([first])
        st.markdown(f"## {md(verdict.headline, 600)}")
        if verdict.dominant or verdict.lagging:
            lagging = ", ".join(f"**{md(name, 60)}**" for name in verdict.lagging) or "nobody"
            st.markdown(f"Dominant: **{md(verdict.dominant or 'no single modality', 80)}** · lagging: {lagging}")
        _advice([first], f"{key}.finding.{first.rule}", found)
        for sentence in verdict.missing:
            st.info(md(sentence, 400), icon=":material/visibility_off:")
        if first.evidence:
            with st.popover("Numbers behind it", icon=":material/table_rows:", key=f"{key}.headline.numbers"):
                st.dataframe(evidence.numbers([first]), hide_index=True, width="content", height="content",
                             alt="Numbers behind the verdict")  # fmt: skip
    with right:
        figure_card(pictures.contributions(found.record), key=f"{key}.contributions")


def finding_cards(found: Diagnosed, reader: RunReader, key: str) -> None:
    """One card a rule that spoke, in the order of the verdict; what it says of several modalities stands together.

    The first finding is left to `headline`.
    """
    groups: dict[str, list[Finding]] = {}
    for finding in found.verdict.findings[1:]:
        groups.setdefault(finding.rule, []).append(finding)
    if not groups:
        return
    st.header("Findings", anchor=False)
    with st.grid(2, min_column_width=CARD_WIDTH, gap="small"):
        for rule, members in groups.items():
            with st.container(border=True, gap="xsmall", height="stretch"):
                _card(members, f"{key}.finding.{rule}", found, reader)


def ask_for_look(info: RunInfo) -> None:
    """A button that asks the running training for a full look now."""
    if st.button("Look now", icon=":material/query_stats:", key=f"look.{info.id}",
                 help="Contributions and curves of this moment; takes a few seconds of the training."):  # fmt: skip
        try:
            launch.request(session.runs_root(), info.id, "contributions", {})
            st.toast("Asked; the training answers between two steps.")
        except CggmError as error:
            st.error(md(error, 400), icon=":material/error:")


def title_of(rule: str) -> str:
    """What a rule is called on the page."""
    return TITLES.get(rule, rule.replace("_", " ").capitalize())


def _card(members: list[Finding], key: str, found: Diagnosed, reader: RunReader) -> None:
    _head(members)
    for finding in members:
        st.markdown(md(finding.text, 800))
    _advice(members, key, found)
    if not any(finding.evidence or finding.figure for finding in members):
        return
    # Drawn when opened: most findings are read and never asked for their figure.
    shelf = st.expander("Evidence", icon=":material/query_stats:", type="compact",
                        key=f"{key}.evidence", on_change="rerun")  # fmt: skip
    if shelf.open:
        with shelf:
            evidence.evidence(members, title_of(members[0].rule), found.record, reader, key)


def _head(members: list[Finding]) -> None:
    """Severity, name, confidence; whom it concerns, the sentences say."""
    first = members[0]
    icon, colour = LOOKS[first.severity]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(first.severity, icon=icon, color=colour, help=SEVERITIES[first.severity])  # type: ignore[arg-type]
        st.markdown(f"**{md(title_of(first.rule))}**", width="content")
        st.caption(f"{first.confidence} confidence", width="content", help=SURE)


def _advice(members: list[Finding], key: str, found: Diagnosed) -> None:
    """What to try and why, and the form filled with it."""
    first = members[0]
    if not first.advice:
        return
    st.markdown(f":material/lightbulb: {md(first.advice, 500)}")
    if not first.method:
        return
    method, preset = next_try(found.config, first.method, first.preset)
    wanted = " ".join(filter(None, [catalog.card("method", method).title, preset]))
    if st.button(
        f"Try {wanted}", icon=":material/play_arrow:", key=f"{key}.try",
        help="Opens the form New run with the data and settings of this run and this method; nothing starts yet.",
    ):  # fmt: skip
        preset_panel.start_from(found.config, (method, preset))
        session.go("new_run")


def next_try(config: Mapping[str, Any], method: str, preset: str) -> tuple[str, str]:
    """Method and preset to try after a run: those advised, unless it was trained with them already.

    A run of CGGM goes on with the preset that has no reversed coefficient, any other with joint training, without
    which nobody knows what the balancing did.
    """
    presets = [one.name for one in catalog.card("method", method).presets]
    preset = preset or next(iter(presets), "")
    if config.get("method") != method or config.get("preset") not in ("", preset):
        return method, preset
    return (method, "stable") if "stable" in presets and preset != "stable" else ("joint", "")
