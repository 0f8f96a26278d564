"""Configurations of one data set against a pinned baseline: curves with bands over seeds, final scores, settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from cggm_core import names
from cggm_core.analysis import comparison
from cggm_core.analysis.comparison import Spread, bootstrap, least_p
from cggm_core.analysis.grids import csv_of, parquet_of
from cggm_core.analysis.scores import Members, final_keys, finished, key_label, reading, score_table
from cggm_core.analysis.series import Axis, FloatArray, axis_values, smoothed
from cggm_core.analysis.tables import ScoreTable, settings_grid, spread_text, to_csv, to_frame, to_latex
from cggm_core.cards import PageCard
from cggm_core.figures import theme
from cggm_core.figures.comparison import SPREADS, Group, apart, compared, places
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo
from cggm_core.ui import session
from cggm_core.ui.configuration_picker import INLINE, bound, pick_configurations, short
from cggm_core.ui.cost_panel import cost_panel
from cggm_core.ui.panels import figure_card
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
HEIGHT = 400
MOST_CURVES = 4
MOST_STRONG = 8
QUIET = 60  # runs read without a word; more say how far the reading is
ROW_PIXELS, AROUND_PIXELS = 20, 110
MOST_ROWS, TALL = 18, 660  # a table of more rows scrolls in itself
FIRST_METRICS = ("val_score", "val_unimodal_score", "score", "unimodal_score", "balance_coefficient", "gradient_norm")
INTERVALS = {"t": "t interval", "bootstrap": "bootstrap"}
BANDS = {"std": "std", "interval": "95 % interval", "range": "min to max"}


def main() -> None:
    """The page."""
    st.title("Compare")
    with sentences():
        picked = pick_configurations("compare")
        if picked is None or not picked.by_name:
            st.info("There is nothing to compare yet: start runs on the page New run, the same with several seeds, or "
                    "choose configurations above.", icon=":material/info:")  # fmt: skip
            return
        by_name = dict(picked.by_name)
        if picked.repeats:
            st.caption(f"{picked.repeats} older or unfinished runs are left out: of several runs of one seed the "
                       "newest finished one counts.")  # fmt: skip
        view = controls(by_name)
        place = st.container()  # the table needs no history and is there at once; the curves follow above it
        scores(by_name, view.strong)
        cost_panel(by_name)
        settings(by_name)
        with place:
            curves(by_name, view)


def metric_keys(infos: Sequence[RunInfo]) -> list[MetricKey]:
    """Series that any of the runs records, those looked at most first."""
    found = dict.fromkeys(key for info in infos for key in info.summary
                          if not key.metric.startswith("test_") and key.metric not in names.COSTS)  # fmt: skip
    rank = {name: place for place, name in enumerate(FIRST_METRICS)}
    return sorted(found, key=lambda k: (rank.get(k.metric, len(rank)), k.metric, k.modality))


@dataclass(frozen=True)
class View:
    """How curves are drawn.

    Attributes:
        keys: series, each a figure.
        axis: how runs are aligned.
        spread: what bands show.
        half_life: of the smoothing, in steps.
        members: whether single runs are drawn.
        strong: configurations in colour, the baseline first.
    """

    keys: tuple[MetricKey, ...]
    axis: Axis
    spread: Spread
    half_life: float
    members: bool
    strong: tuple[str, ...]


def controls(by_name: Members) -> View:
    """What is chosen above the figures."""
    keys = metric_keys([info for runs in by_name.values() for info in runs])
    if not keys:
        st.caption("None of these runs has recorded a number yet.")
        return View((), "step", "std", 0.0, False, highlighted(by_name))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = series_picker(keys)
        shown = st.segmented_control("Align by", ["step", "epoch"], default="step", key="compare.axis", required=True)
        axis: Axis = "epoch" if shown == "epoch" else "step"
        spread = st.segmented_control("Band", list(SPREADS), default="std", key="compare.spread", required=True,
                                      format_func=lambda s: BANDS[s])  # fmt: skip
        half_life = 0
        if any(names.metric(key.metric).cadence == "step" for key in chosen):
            half_life = st.select_slider("Smoothing, half-life in steps", HALF_LIVES, 10, key="compare.half_life",
                                         width=240, format_func=lambda n: "raw" if n == 0 else str(n))  # fmt: skip
        members = st.toggle("Single runs", key="compare.members", help="Draw every run faintly as well.")
    return View(tuple(chosen), axis, spread or "std", float(half_life), members, highlighted(by_name))


def curves(by_name: Members, view: View) -> None:
    """Overlaid mean curves with bands, up to four series beside one another on one x range."""
    if view.keys:
        columns = st.columns(min(2, len(view.keys)), gap="small")
        for number, key in enumerate(view.keys):
            with columns[number % len(columns)]:
                curve(by_name, key, view)


def series_picker(keys: Sequence[MetricKey]) -> list[MetricKey]:
    """The series drawn, bound to `?metric=` (names separated by commas)."""
    by_text = {str(key): key for key in keys}
    return bound(
        "metric", "compare.metric", (), [keys[0]],
        lambda k: st.multiselect("Curves", keys, key=k, max_selections=MOST_CURVES, width=380,
                                 format_func=lambda key: plain(key_label(key), 60)) or None,
        meaning=lambda said: [by_text[word] for word in said.split(",") if word in by_text][:MOST_CURVES] or None,
        text=lambda chosen: ",".join(map(str, chosen)), fits=lambda chosen: all(key in keys for key in chosen),
    )  # fmt: skip


def highlighted(by_name: Members) -> tuple[str, ...]:
    """Configurations drawn in colour; where there are many, the others are thin and grey."""
    if len(by_name) <= MOST_STRONG:
        return tuple(by_name)
    listed = list(by_name)
    chosen = st.multiselect(
        "Highlighted", listed, listed[:MOST_STRONG], key=f"compare.strong.{short(str(listed))}",
        max_selections=MOST_STRONG, format_func=lambda name: plain(name, 60),
        help="Drawn in colour with their bands; the others are thin grey lines that say their name when pointed at.",
    )  # fmt: skip
    return tuple(dict.fromkeys([listed[0], *chosen]))


def curve(by_name: Members, key: MetricKey, view: View) -> None:
    """One series of all configurations."""
    total, place, drawn, thinned, done = sum(map(len, by_name.values())), places(view.strong), [], 0, 0
    bar = st.progress(0.0, f"Reading {total} runs") if total > QUIET else None
    for name, runs in by_name.items():
        lines = []
        for info in runs:
            x, y, left_out = line_of(info, key, view.axis, view.half_life)
            thinned = max(thinned, left_out)
            lines.append((x, y))
        done += len(runs)
        if bar is not None:
            bar.progress(done / total, f"Reading {total} runs")
        drawn.append(Group(name, place.get(name, 0), tuple(lines), name not in place))
    if bar is not None:
        bar.empty()
    note = f"Drawn at {PLACES:,} evenly spaced places of {thinned:,} recorded steps." if thinned else ""
    spec = compared(drawn, key, axis=view.axis, spread=view.spread, members=view.members, note=note)
    figure_card(
        spec, key=f"compare.figure.{short(str(key))}", link=f"compare:{view.axis}", height=HEIGHT, max_points=2000
    )


def line_of(info: RunInfo, key: MetricKey, axis: Axis, half_life: float) -> tuple[FloatArray, FloatArray, int]:
    """One run's curve on the axis, smoothed over every step, then thinned evenly; rows there were if thinned."""
    if key not in info.summary:
        return np.empty(0), np.empty(0), 0
    step, epoch, value = recorded(info.id, (info.updated_at, info.step, info.state), key)
    per_epoch = info.steps / info.epochs if info.steps > 0 and info.epochs > 0 else 0.0
    x = axis_values(axis, step, epoch, np.zeros(len(step)), per_epoch)
    y = smoothed(step, value, half_life if names.metric(key.metric).cadence == "step" else 0.0)
    if len(step) <= PLACES:
        return x, y, 0
    kept = np.unique(np.linspace(0, len(step) - 1, PLACES).round().astype(np.int64))
    return x[kept], y[kept], len(step)


@st.cache_data(show_spinner=False, max_entries=2000, scope="session")
def recorded(run_id: str, state: tuple[float, int, str], key: MetricKey) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, epochs and values of a series; `state` makes a run that went on be read again."""
    reader = session.catalogue().reader(run_id)  # not kept: hundreds may be read for one figure
    try:
        series = reader.series([key])[key]
    finally:
        reader.close()
    return series.step, series.epoch, series.value


def scores(by_name: Members, strong: Sequence[str]) -> None:
    """Final scores with spread and paired differences, and their downloads."""
    done = finished(by_name)
    keys = final_keys(done)
    with st.container(border=True):
        st.markdown("**Final scores**")
        waiting = sum(len(runs) for runs in by_name.values()) - sum(len(runs) for runs in done.values())
        if waiting:
            st.caption(f"{waiting} runs have not finished and are not in this table.")
        if not keys:
            st.caption("No finished run records a validation or test score.")
            return
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            key = bound("number", "compare.number", keys, keys[0],
                        lambda k: st.selectbox("Number", keys, key=k, width=320,
                                               format_func=lambda key: plain(key_label(key), 60)))  # fmt: skip
            interval = st.segmented_control(
                "Interval", list(INTERVALS), default="t", key="compare.interval", required=True,
                format_func=lambda name: INTERVALS[name],
                help="95 % of the mean difference. The bootstrap assumes nothing of the shape of the spread, and is "
                     "too narrow below some eight seeds: of three it holds the truth three times in four.")  # fmt: skip
            every = st.toggle("All numbers", key="compare.all", help="Mean and spread of every number side by side.")
        table = score_table(done, keys if every else [key])
        one = table.only([keys.index(key)]) if every else table
        if every:
            frame, widths = wide_frame(table), None
        else:
            frame, widths = score_frame(one, interval or "t"), COLUMNS
        styled = frame.style.apply(swatches, names=list(by_name), strong=strong, subset=[" "])
        tall = "content" if len(frame) <= MOST_ROWS else TALL
        st.dataframe(styled, hide_index=True, key="compare.scores", column_config=widths, placeholder="", height=tall,
                     alt="Final scores by configuration")  # fmt: skip
        st.caption(reading(one))
        with st.container(horizontal=True):
            save("LaTeX", lambda: to_latex(table), "cggm-scores.tex", "text/x-tex", "compare.latex")
            save("CSV, every digit", lambda: to_csv(table), "cggm-scores.csv", "text/csv", "compare.csv")
            save("Parquet", lambda: parquet_of(to_frame(table)), "cggm-scores.parquet",
                 "application/vnd.apache.parquet", "compare.parquet")  # fmt: skip
    if len(by_name) > 1:
        spec = apart(one, strong=strong)
        rows = len(spec.panels[0].rows)
        figure_card(spec, key="compare.apart", height=max(180, AROUND_PIXELS + ROW_PIXELS * rows), max_points=2000)


def save(label: str, make: Callable[[], str | bytes], file: str, mime: str, key: str) -> None:
    """A download that is made when it is clicked."""
    st.download_button(label, make, file, mime, on_click="ignore", icon=":material/download:", key=key)


COLUMNS = {
    " ": st.column_config.TextColumn(" ", width=30, pinned=True, help="Colour in the figures; ✓ is the best mean."),
    "configuration": st.column_config.TextColumn("configuration", width=300, pinned=True),
    "n": st.column_config.NumberColumn("n", width=40, help="Finished runs."),
    "mean ± std": st.column_config.TextColumn("mean ± std", width=150),
    "difference": st.column_config.NumberColumn("difference", format="%+.4f", width=90,
                                                help="To the baseline, seed by seed."),
    "95 % interval": st.column_config.TextColumn("95 % interval", width=160, help="Of the mean difference."),
    "p": st.column_config.NumberColumn("p", format="%.3g", width=65, help="Two-sided, of this comparison alone."),
    "p (Holm)": st.column_config.NumberColumn("p (Holm)", format="%.3g", width=75,
                                              help="Allows for all comparisons of this number."),
    "pairs": st.column_config.NumberColumn("pairs", format="%d", width=60, help="Seeds that both have."),
    "least p": st.column_config.NumberColumn("least p", format="%.3g", width=75, help=(
        "The smallest p that the exact sign-flip test of so many pairs can give, whatever the difference; 0 where "
        "there are pairs enough for the t-test.")),
}  # fmt: skip


def score_frame(table: ScoreTable, interval: str) -> pd.DataFrame:
    """One number of every configuration as shown; every digit stands in the CSV."""
    rows, adjusted, best = [], table.adjusted(), table.best(0)
    for name, cells in table.rows.items():
        sample, pair = cells[0].sample, cells[0].paired
        low, high = (bootstrap(pair.differences) if interval == "bootstrap" else (pair.low, pair.high)) if pair else (
            math.nan, math.nan)  # fmt: skip
        tested = pair is not None and math.isfinite(pair.p)
        rows.append({
            " ": "✓" if best == name else "●", "configuration": plain(name, 80), "n": sample.n,
            "mean ± std": spread_text(sample, 4),
            "difference": pair.mean if pair and pair.n else None,
            "95 % interval": f"{low:+.4f} to {high:+.4f}" if math.isfinite(low) else "",
            "p": pair.p if pair and tested else None, "p (Holm)": adjusted[name, 0] if tested else None,
            "pairs": pair.n if pair else None, "least p": least_p(pair.n) if pair and tested else None,
        })  # fmt: skip
    return pd.DataFrame(rows)


def wide_frame(table: ScoreTable) -> pd.DataFrame:
    """Every number of every configuration, mean and spread."""
    rows = []
    for name, cells in table.rows.items():
        row = {" ": "●", "configuration": plain(name, 80)}
        for number, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            mark = " ✓" if table.best(number) == name else ""
            row[plain(column.label, 80)] = f"{spread_text(cell.sample, 3)}{mark}"
        rows.append(row)
    return pd.DataFrame(rows)


def swatches(column: pd.Series[str], names: Sequence[str], strong: Sequence[str]) -> list[str]:
    """Style of each configuration's mark: its colour in the figures, grey where it is not highlighted."""
    tones, place = theme.TONES["dark" if st.context.theme.type == "dark" else "light"], places(strong)
    made = []
    for name in names:
        where = place.get(name)
        colour = theme.NEUTRAL if where is None else theme.FUSED if where < 0 else theme.ordinal_colour(where)
        made.append(f"color: {tones.get(colour, colour)}; font-weight: bold")
    return made[: len(column)]


def settings(by_name: Members) -> None:
    """Settings in which the configurations differ."""
    with st.container(border=True):
        st.markdown("**Differences of configuration**")
        if len(by_name) < 2:
            st.caption("One configuration: there is nothing to differ from.")
            return
        differ = comparison.differences({name: runs[0].config for name, runs in by_name.items()}, ("training.seed",))
        if not differ:
            st.caption("The configurations agree in every setting.")
            return
        told = differ if len(by_name) <= INLINE else comparison.telling(differ)
        if len(told) < len(differ):
            st.caption(f"{len(differ) - len(told)} knobs that belong to one method, or are alike wherever there are "
                       "any, are left out here; the downloads hold them.")  # fmt: skip
        grid, shown = settings_grid(differ, list(by_name)), settings_grid(told, list(by_name))
        frame = pd.DataFrame([[plain(value, 80) for value in row] for row in shown.rows],
                             columns=[plain(name, 60) for name in shown.columns])  # fmt: skip
        config = {frame.columns[0]: st.column_config.TextColumn(frame.columns[0], pinned=True)}
        st.dataframe(frame, hide_index=True, key="compare.settings", alt="Settings that differ",
                     height="content" if len(frame) <= MOST_ROWS else TALL, column_config=config)  # fmt: skip
        with st.container(horizontal=True):
            save("LaTeX", grid.latex, "cggm-settings.tex", "text/x-tex", "compare.settings.latex")
            save("CSV", lambda: csv_of(grid.frame()), "cggm-settings.csv", "text/csv", "compare.settings.csv")


main()
