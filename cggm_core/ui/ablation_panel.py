"""Pieces of an ablation on the page: how full it is, starting what is missing, its tables with their downloads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from cggm_core import launch
from cggm_core.analysis import comparison
from cggm_core.analysis.ablation import Family, Filled, Work, to_start, waiting
from cggm_core.analysis.ablation_tables import conclusion
from cggm_core.analysis.scores import reading
from cggm_core.analysis.tables import ScoreTable, to_csv, to_latex
from cggm_core.config import RunConfig
from cggm_core.errors import CggmError
from cggm_core.launch.queue import OPEN, QueueState
from cggm_core.launch.queue_progress import time_left
from cggm_core.ui import session
from cggm_core.ui.safe import md, plain

STARTED, REFUSED = "ablation.started", "ablation.refused"
MOST_RUNS = 500
_TOLD = ("dataset", "model", "training.epochs")
_NUMBERS = {"n": ("%d", 40), "mean": ("%.4f", 70), "std": ("%.4f", 70), "difference": ("%+.4f", 82),
            "p": ("%.3g", 55), "p (Holm)": ("%.3g", 72)}  # fmt: skip
_TEXTS = {"best": 50, "95 % interval": 150, "test": 180}
_COLUMNS = {
    **{name: st.column_config.NumberColumn(name, format=form, width=width) for name, (form, width) in _NUMBERS.items()},
    **{name: st.column_config.TextColumn(name, width=width) for name, width in _TEXTS.items()},
}


def queued(state: QueueState) -> list[Work]:
    """Jobs of the queue as works: those that are open, and those that failed before they had a run."""
    open_jobs = waiting(job.config for job in state.jobs if job.state in OPEN)
    return [*open_jobs, *waiting((j.config for j in state.jobs if j.state == "failed" and not j.run), "failed")]


def family_names(families: Sequence[Family]) -> dict[str, str]:
    """A line for each family: data, model, length, and the settings in which it differs from others."""
    configs = {family.word: family.config.to_dict() for family in families}
    apart = comparison.differences(configs, _TOLD)
    names = {}
    for family in families:
        config, count = family.config, len(family.finished())
        told = [f"{key.removeprefix('training.')} {one[family.word]}"
                for key, one in apart.items() if family.word in one][:3]  # fmt: skip
        data = config.dataset.replace("\\", "/").rpartition("/")[2]
        parts = [data, config.model, f"{config.training.epochs} epochs", *told, f"{count} finished"]
        names[family.word] = plain(" · ".join(parts), 140)
    return names


def took(family: Family) -> list[float]:
    """Seconds that the finished runs of a family took from their making to their end, this machine or another."""
    return [info.updated_at - info.created_at for info in family.finished() if info.updated_at > info.created_at]


def standing(filled: Sequence[Filled]) -> str:
    """How full the cells are, in one line."""
    whole = sum(bool(one.runs) and not one.missing and not one.open for one in filled)
    counts = ((sum(len(one.open) for one in filled), "waiting or training"),
              (sum(len(one.missing) for one in filled), "missing"),
              (sum(len(one.failed) for one in filled), "of them failed before"))  # fmt: skip
    told = [f"{count} runs {what}" if what != "of them failed before" else f"{count} {what}"
            for count, what in counts if count]  # fmt: skip
    return ", ".join([f"{whole} of {len(filled)} places complete", *told]) + "."


def expected(runs: int, seconds: Sequence[float]) -> str:
    """How long runs would take by what finished ones took; "" where none tells."""
    if not seconds:
        return ""
    each = statistics.median(seconds)
    left = launch.duration(time_left([], runs, [each], launch.side_by_side()))
    return f"about {left}, at the {launch.duration(each)} that finished runs of these settings took (median)"


def start_missing(
    filled: Sequence[Filled], key: str, seconds: Sequence[float], *, everything: bool = False
) -> None:  # fmt: skip
    """The button that starts whatever is missing, and how long that would take.

    Args:
        filled: places, some perhaps twice.
        key: of the button.
        seconds: that finished runs took.
        everything: whether these are all places of the page.
    """
    configs = to_start(filled)
    if not configs:
        return
    several = f"{'all' if everything else 'the'} {len(configs)} missing runs" if len(configs) > 1 else "the missing run"
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(f"Start {several}", key=f"{key}.start", icon=":material/play_arrow:",
                            type="primary" if everything else "secondary",
                            disabled=len(configs) > MOST_RUNS)  # fmt: skip
        about = expected(len(configs), seconds)
        too_many = f"{len(configs)} runs at once are too many; at most {MOST_RUNS}."
        st.caption(too_many if len(configs) > MOST_RUNS else f"{about[:1].upper()}{about[1:]}." if about else
                   "How long one takes is not known before the first has finished.", width="content")  # fmt: skip
    if pressed:
        start(configs)


def start(configs: Sequence[RunConfig]) -> None:
    """Queue runs and draw the page anew, so that it is watched from now on."""
    try:
        launch.start_many(configs, session.runs_root())
        st.session_state[STARTED] = len(configs)
    except CggmError as error:
        st.session_state[REFUSED] = str(error)
    st.rerun()


def said() -> None:
    """What came of the last start."""
    if refused := st.session_state.pop(REFUSED, ""):
        st.error(md(refused, 800), icon=":material/error:")
    if count := st.session_state.pop(STARTED, 0):
        runs = f"{count} runs are" if count > 1 else "One run is"
        st.success(f"{runs} in the queue; the places fill as they finish.", icon=":material/check_circle:")


def table_card(table: ScoreTable, key: str, file: str, caption: str, *, concluded: bool = True) -> None:
    """Rows, what they establish, and the downloads.

    Args:
        table: its rows; baseline first.
        key: of the widgets.
        file: name of the downloads without ending.
        caption: of the LaTeX table.
        concluded: whether what it establishes is said here.
    """
    frame = score_frame(table)
    st.dataframe(frame, hide_index=True, key=f"{key}.table", column_config=_COLUMNS, placeholder="",
                 row_height=35, height=37 + 35 * min(len(frame), 12), alt=caption)  # fmt: skip
    many = len(table.columns) > 1
    for number, column in enumerate(table.columns if concluded else ()):
        if words := conclusion(table, number):
            st.markdown(f"**{md(column.label)}**: {md(words, 800)}" if many else md(words, 800))
    st.caption(md(reading(table), 800))
    with st.container(horizontal=True):
        st.download_button("LaTeX", to_latex(table, caption=caption), f"{file}.tex", "text/x-tex", on_click="ignore",
                           icon=":material/download:", key=f"{key}.latex")  # fmt: skip
        st.download_button("CSV", to_csv(table), f"{file}.csv", "text/csv", on_click="ignore",
                           icon=":material/download:", key=f"{key}.csv")  # fmt: skip


def score_frame(table: ScoreTable) -> pd.DataFrame:
    """A row for every number of every configuration, as plain text and numbers."""
    rows, adjusted = [], table.adjusted()
    for number, column in enumerate(table.columns):
        best = table.best(number)
        for name, cells in table.rows.items():
            sample, pair = cells[number].sample, cells[number].paired
            rows.append({
                "score": plain(column.label, 80), "setting": plain(name, 80), "n": sample.n,
                "mean": sample.mean if sample.n else None, "std": sample.std if sample.n > 1 else None,
                "best": "✓" if best == name else "", "difference": pair.mean if pair and pair.n else None,
                "95 % interval": f"{pair.low:+.4f} to {pair.high:+.4f}" if pair and math.isfinite(pair.low) else "",
                "p": pair.p if pair and math.isfinite(pair.p) else None,
                "p (Holm)": adjusted[name, number] if pair and math.isfinite(pair.p) else None,
                "test": pair.test.partition(", n =")[0] if pair else "baseline",
            })  # fmt: skip
    return pd.DataFrame(rows)


def mixed_data(data: Mapping[str, str]) -> str:
    """A warning where runs of one data set or path were trained on different content; "" where they were not.

    Args:
        data: fingerprint of the data by run; "" where a run does not tell.
    """
    told = sorted(set(data.values()) - {""})
    if len(told) < 2:
        return ""
    return (f"The data behind these runs has changed between them ({len(told)} different contents): their scores do "
            "not compare. Give a changed file a path of its own and train anew.")  # fmt: skip
