"""What configurations cost on a page: weights and memory added, time of a step against the baseline."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from cggm_core.analysis.costs import Cost, cost_table
from cggm_core.analysis.grids import guarded
from cggm_core.analysis.scores import Members
from cggm_core.ui.safe import md, plain

_MEGA = 1e6
_PARTS = {"method": "method", "classifier": "classifiers", "measuring": "series"}
_SIZES = (
    "Added: what a method trains or holds beside the model, the unimodal classifiers where it needs them (the paper's "
    "Table 8 counts these); memory is weights, gradients and optimiser state, without activations. Peak: the most a "
    "GPU's tensors took, or else the whole process, libraries and data included."
)
_TIMES = (
    "Times are medians over steps, then over runs. Wall time tells how long one waits, and is noisy on a machine that "
    "does other things at the same time. Work is the processor time of all threads, on a GPU wall time, with a "
    "step's share of teachers, trials and prototypes; runs of two machines do not compare, and on a busy one "
    "tens of percent are noise. Unwatched leaves out what only looks: the recorded series, and the "
    "classifiers where the method does not need them; on a GPU it is not known."
)
_COLUMNS = {
    "added weights": st.column_config.NumberColumn("added weights", format="localized"),
    "added MB": st.column_config.NumberColumn("added MB", format="%.3g"),
    "of the model": st.column_config.NumberColumn("of the model", format="%.1f %%",
                                                  help="Added memory in percent of the model's own."),
    "peak MB": st.column_config.NumberColumn("peak MB", format="%.0f"),
    "ms a step": st.column_config.NumberColumn("ms a step", format="%.2f", help="Wall time."),
    "work, ms": st.column_config.NumberColumn("work, ms", format="%.2f", help="Processor time; on a GPU wall time."),
    "× baseline": st.column_config.NumberColumn("× baseline", format="%.2f", help="Work over the baseline's."),
    "unwatched ×": st.column_config.NumberColumn("unwatched ×", format="%.2f",
                                                 help="Work without what is only watched, over the baseline's."),
}  # fmt: skip


def cost_panel(by_name: Members, key: str = "costs") -> None:
    """The table with how to read it; `cost_panel(by_name)` is all a page needs.

    Args:
        by_name: runs by configuration, the baseline first.
        key: beginning of the widgets' keys, unique on the page.
    """
    found = cost_table(by_name)
    with st.container(border=True):
        st.markdown("**What it costs**")
        without = sum(cost.unrecorded for cost in found.values())
        if not any(cost.runs for cost in found.values()):
            st.caption("Not recorded: these runs have no epoch behind them, or were made before costs were recorded.")
            return
        frame = cost_frame(found)
        st.dataframe(frame, hide_index=True, key=f"{key}.table", column_config=_COLUMNS, placeholder="not recorded",
                     alt="Added weights, memory and time of a step by configuration")  # fmt: skip
        st.caption(md(_SIZES, 600))
        st.caption(md(_TIMES, 800))
        if without:
            st.caption(f"{without} runs recorded no costs and are not in the medians.")
        safe = frame.assign(configuration=[guarded(name) for name in frame["configuration"]])
        st.download_button("CSV", safe.to_csv(index=False), "cggm-costs.csv", "text/csv", on_click="ignore",
                           icon=":material/download:", key=f"{key}.csv")  # fmt: skip


def cost_frame(found: dict[str, Cost]) -> pd.DataFrame:
    """One row a configuration; what was not recorded stays empty."""
    rows = [
        {
            "configuration": plain(name, 80), "runs": cost.runs, "added weights": cost.added_parameters,
            "added MB": cost.added_bytes / _MEGA, "of the model": _percent(cost.added_bytes, cost.bytes),
            "peak MB": cost.peak_bytes / _MEGA, "ms a step": cost.step_seconds * 1e3,
            "work, ms": cost.work_seconds * 1e3, "× baseline": cost.work_ratio,
            "unwatched ×": cost.needed_ratio,
            "of the work": ", ".join(f"{_PARTS[part]} {share:.0%}" for part, share in cost.shares.items()),
        }
        for name, cost in found.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _percent(value: float, whole: float) -> float:
    return 100 * value / whole if whole > 0 else math.nan
