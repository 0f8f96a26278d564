"""Runs against a pinned baseline: curves with bands over seeds, final scores, configurations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from cggm_core import names
from cggm_core.analysis import comparison
from cggm_core.analysis.grids import guarded
from cggm_core.analysis.scores import Members, finished, key_label, reading, score_table
from cggm_core.analysis.series import Axis, FloatArray, axis_values, smoothed
from cggm_core.analysis.tables import ScoreTable, to_csv, to_latex
from cggm_core.cards import PageCard
from cggm_core.figures.comparison import SPREADS, Group, compared
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo
from cggm_core.ui import session
from cggm_core.ui.cost_panel import cost_panel
from cggm_core.ui.panels import figure_card
from cggm_core.ui.pickers import pick_runs, suggested
from cggm_core.ui.safe import plain, sentences

CARD = PageCard(
    name="compare",
    title="Compare",
    summary="Runs against a pinned baseline: curves with spread over seeds, final scores with paired tests.",
    icon=":material/compare_arrows:",
    order=60,
    section="Several runs",
    alias=("statistics", "seeds", "table", "latex"),
)

HALF_LIVES = (0, 2, 5, 10, 20, 50, 100, 200, 500)
PLACES = 1000
HEIGHT = 420
FIRST_METRICS = ("val_score", "score", "unimodal_score", "balance_coefficient", "gradient_norm")


def main() -> None:
    """The page."""
    st.title("Compare")
    chosen = pick_runs("compare.runs", default=suggested)
    sound = [info for info in chosen if not info.damaged]
    if len(sound) < len(chosen):
        st.warning(f"{len(chosen) - len(sound)} damaged runs are left out.", icon=":material/broken_image:")
    if not sound:
        st.info("Choose two or more runs above. Runs that differ in the seed alone are averaged.",
                icon=":material/info:")  # fmt: skip
        return
    groups = comparison.grouped(sound)
    titles = comparison.group_names(groups)
    by_name: dict[str, tuple[RunInfo, ...]] = {titles[group]: runs for group, runs in groups.items()}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        baseline = st.selectbox("Baseline", list(by_name), likely_baseline(by_name), key="compare.baseline",
                                format_func=plain, width=280)  # fmt: skip
        key = metric_picker(sound)
    ordered = {baseline: by_name[baseline], **by_name}
    mixed_data(ordered)
    with sentences():
        if key is not None:
            curves(ordered, key)
        scores(ordered)
        cost_panel(ordered)
        settings(ordered)


def likely_baseline(by_name: Members) -> int:
    """Place of the configuration that balances nothing; 0 where there is none."""
    methods = [runs[0].config.get("method") for runs in by_name.values()]
    return methods.index("joint") if "joint" in methods else 0


def mixed_data(by_name: Members) -> None:
    """Say so when runs of different data sets stand beside each other."""
    data = {str(runs[0].config.get("dataset")) for runs in by_name.values()}
    if len(data) > 1:
        st.warning("These runs were trained on different data sets; their scores do not compare.",
                   icon=":material/warning:")  # fmt: skip


def metric_picker(infos: Sequence[RunInfo]) -> MetricKey | None:
    """Choice among the series that any of the runs records."""
    found = dict.fromkeys(key for info in infos for key in info.summary
                          if not key.metric.startswith("test_") and key.metric not in names.COSTS)  # fmt: skip
    if not found:
        return None
    rank = {name: place for place, name in enumerate(FIRST_METRICS)}
    keys = sorted(found, key=lambda k: (rank.get(k.metric, len(rank)), k.metric, k.modality))
    return st.selectbox("Curve", keys, key="compare.metric", width=320, format_func=lambda k: plain(key_label(k), 80))


def curves(by_name: Members, key: MetricKey) -> None:
    """Overlaid mean curves with bands."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        axis: Axis = (
            "epoch"
            if st.segmented_control("Align by", ["step", "epoch"], default="step", key="compare.axis", required=True)
            == "epoch"
            else "step"
        )
        spread = st.segmented_control(
            "Band", list(SPREADS), default="std", key="compare.spread", required=True,
            format_func=lambda s: {"std": "std", "interval": "95 % interval", "range": "min to max"}[s])  # fmt: skip
        half_life = 0
        if names.metric(key.metric).cadence == "step":
            half_life = st.select_slider("Smoothing, half-life in steps", HALF_LIVES, 10, key="compare.half_life",
                                         width=280, format_func=lambda n: "raw" if n == 0 else str(n))  # fmt: skip
        members = st.toggle("Single runs", key="compare.members", help="Draw every run faintly as well.")
    drawn, thinned = [], 0
    for place, (name, runs) in enumerate(by_name.items()):
        lines = []
        for info in runs:
            x, y, left_out = line_of(info, key, axis, float(half_life))
            thinned = max(thinned, left_out)
            lines.append((x, y))
        drawn.append(Group(name, place - 1, tuple(lines)))
    note = f"Drawn at {PLACES:,} evenly spaced places of {thinned:,} recorded steps." if thinned else ""
    figure_card(
        compared(drawn, key, axis=axis, spread=spread or "std", members=members, note=note),
        key="compare.figure", link=f"compare:{axis}", height=HEIGHT, max_points=2000,
    )  # fmt: skip


def line_of(info: RunInfo, key: MetricKey, axis: Axis, half_life: float) -> tuple[FloatArray, FloatArray, int]:
    """One run's curve on the axis, smoothed over every step, then thinned evenly; rows there were if thinned."""
    step, epoch, value = recorded(info.id, session.reader(info.id).change_token(), key)
    per_epoch = info.steps / info.epochs if info.steps > 0 and info.epochs > 0 else 0.0
    x = axis_values(axis, step, epoch, np.zeros(len(step)), per_epoch)
    y = smoothed(step, value, half_life)
    if len(step) <= PLACES:
        return x, y, 0
    kept = np.unique(np.linspace(0, len(step) - 1, PLACES).round().astype(np.int64))
    return x[kept], y[kept], len(step)


@st.cache_data(show_spinner=False, max_entries=300, scope="session")
def recorded(run_id: str, token: tuple[int, ...], key: MetricKey) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, epochs and values of a series; `token` makes a changed run be read again."""
    series = session.reader(run_id).series([key])[key]
    return series.step, series.epoch, series.value


def scores(by_name: Members) -> None:
    """Final scores with spread and paired differences, and their downloads."""
    done = finished(by_name)
    table = score_table(done)
    with st.container(border=True):
        st.markdown("**Final scores**")
        waiting = sum(len(runs) for runs in by_name.values()) - sum(len(runs) for runs in done.values())
        if waiting:
            st.caption(f"{waiting} runs have not finished and are not in this table.")
        if not table.columns:
            st.caption("No finished run records a validation or test score.")
            return
        st.dataframe(score_frame(table), hide_index=True, key="compare.scores", column_config=_NUMBERS,
                     placeholder="", height=min(600, 37 + 35 * sum(map(len, table.rows.values()))),
                     alt="Final scores by configuration")  # fmt: skip
        st.caption(reading(table))
        with st.container(horizontal=True):
            st.download_button("LaTeX", to_latex(table), "cggm-scores.tex", "text/x-tex", on_click="ignore",
                               icon=":material/download:", key="compare.latex")  # fmt: skip
            st.download_button("CSV", to_csv(table), "cggm-scores.csv", "text/csv", on_click="ignore",
                               icon=":material/download:", key="compare.csv")  # fmt: skip


_FORMAT = {"mean": "%.4f", "std": "%.4f", "difference": "%+.4f", "p": "%.3g", "p (Holm)": "%.3g"}
_NUMBERS = {name: st.column_config.NumberColumn(name, format=form) for name, form in _FORMAT.items()}


def score_frame(table: ScoreTable) -> pd.DataFrame:
    """The table as shown: a row for every number of every configuration."""
    rows, adjusted = [], table.adjusted()
    for number, column in enumerate(table.columns):
        best = table.best(number)
        for name, cells in table.rows.items():
            sample, pair = cells[number].sample, cells[number].paired
            interval = f"{pair.low:+.4f} to {pair.high:+.4f}" if pair and math.isfinite(pair.low) else ""
            rows.append({
                "score": plain(column.label, 80), "configuration": plain(name, 80), "n": sample.n, "mean": sample.mean,
                "std": sample.std if sample.n > 1 else None, "best mean": "✓" if best == name else "",
                "difference": pair.mean if pair and pair.n else None, "95 % interval": interval,
                "p": pair.p if pair and math.isfinite(pair.p) else None,
                "p (Holm)": adjusted[name, number] if pair and math.isfinite(pair.p) else None,
                "test": pair.test if pair else "baseline",
            })  # fmt: skip
    return pd.DataFrame(rows)


def settings(by_name: Members) -> None:
    """Settings in which the configurations differ."""
    with st.container(border=True):
        st.markdown("**Differences of configuration**")
        if len(by_name) < 2:
            st.caption("One configuration: there is nothing to differ from.")
            return
        apart = comparison.differences({name: runs[0].config for name, runs in by_name.items()}, ("training.seed",))
        if not apart:
            st.caption("The configurations agree in every setting.")
            return
        rows = [{"setting": plain(key), **{plain(name, 60): shown(one.get(name)) for name in by_name}}
                for key, one in apart.items()]  # fmt: skip
        frame = pd.DataFrame(rows)
        st.dataframe(frame, hide_index=True, key="compare.settings", alt="Settings that differ")
        guarded_frame = frame.map(lambda text: guarded(str(text)))
        st.download_button("CSV", guarded_frame.to_csv(index=False), "cggm-settings.csv", "text/csv",
                           on_click="ignore", icon=":material/download:", key="compare.settings.csv")  # fmt: skip


def shown(value: object) -> str:
    """A setting as inert text; a dash where a configuration has no such setting."""
    return "–" if value is None else plain(value, 80)


main()
