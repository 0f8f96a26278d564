"""The table of runs: rows from what the catalogue knows, filters, columns, and the same as CSV.

Everything here is a function of values, so that a thousand runs are one pass and no history is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from cggm_core.names import MetricKey
from cggm_core.store import RunInfo
from cggm_core.ui.safe import plain

# A sign beside each word: a state is told by shape and word, and only then by colour.
STATES: Mapping[str, tuple[str, str]] = {
    "starting": ("○ starting", "#8A97A5"),
    "running": ("● running", "#2E86BD"),
    "paused": ("‖ paused", "#E69F00"),
    "finished": ("✓ finished", "#009E73"),
    "stopped": ("■ stopped", "#8A97A5"),
    "failed": ("✕ failed", "#D55E00"),
    "died": ("✕ died", "#D55E00"),
    "damaged": ("▲ damaged", "#CC79A7"),
}
SAMPLE, ARCHIVED, PINNED = "sample", "archived", "pinned"
_MARKS = {SAMPLE: "#9AA7B4", ARCHIVED: "#9AA7B4", PINNED: "#2E86BD"}
MOST_MODALITIES = 4
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Filter:
    """Which runs are wanted; an empty field wants all.

    Attributes:
        text: every word of it occurs in name, id, tags, notes, data set, method or preset.
        states, datasets, methods: one of these.
        archived: whether archived runs are listed as well.
    """

    text: str = ""
    states: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    archived: bool = False

    def takes(self, info: RunInfo) -> bool:
        """Whether the run is wanted."""
        if info.archived and not self.archived:
            return False
        if self.states and state_of(info) not in self.states:
            return False
        if self.datasets and dataset_of(info) not in self.datasets:
            return False
        if self.methods and word(info, "method") not in self.methods:
            return False
        return not self.text or self._found(info)

    def _found(self, info: RunInfo) -> bool:
        parts = (info.name, info.id, *info.tags, info.notes, dataset_of(info),
                 word(info, "method"), word(info, "preset"))  # fmt: skip
        text = "\n".join(parts).casefold()
        return all(term in text for term in self.text.casefold().split())


def state_of(info: RunInfo) -> str:
    """State for people: a file that cannot be trusted comes before what it says."""
    return "damaged" if info.damaged else info.state


def word(info: RunInfo, name: str) -> str:
    """A text of the configuration, cleaned; "" if it is missing or no text."""
    value = info.config.get(name, "")
    return plain(value, 80) if isinstance(value, str) else ""


def dataset_of(info: RunInfo) -> str:
    """The data set: a card's name, or the name of the file without its folders."""
    return word(info, "dataset").replace("\\", "/").rsplit("/", 1)[-1]


def seed_of(info: RunInfo) -> int | None:
    """The seed, if the configuration has one."""
    training = info.config.get("training")
    seed = training.get("seed") if isinstance(training, Mapping) else None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**53 else None


def progress_of(info: RunInfo) -> float | None:
    """Share of the planned steps that are done, 0 to 100; None while the plan is unknown."""
    if state_of(info) == "finished":
        return 100.0
    return min(100.0, 100.0 * (info.step + 1) / info.steps) if info.steps > 0 else None


def remark_of(info: RunInfo) -> str:
    """Why a run ended or cannot be read; "" where there is nothing to say."""
    return plain(info.damaged or info.reason, 300)


def score(info: RunInfo, metric: str, modality: str = "", *, best: bool = False) -> float | None:
    """Newest (or best) value of a series out of the run's summary; None if there is no finite one."""
    found = info.summary.get(MetricKey(metric, modality))
    if found is None:
        return None
    value = found.high if best else found.last
    return value if math.isfinite(value) else None


def modalities(infos: Iterable[RunInfo]) -> list[str]:
    """Modalities that have a unimodal validation score in any of the runs, in the order met."""
    found: dict[str, None] = {}
    for info in infos:
        for key in info.summary:
            if key.metric == "val_unimodal_score":
                found[key.modality] = None
    return list(found)


def frame(infos: Sequence[RunInfo]) -> pd.DataFrame:
    """One row a run, in the order given; scores of few modalities in a column each, of many in one text."""
    found = modalities(infos)
    rows = [_row(info, found) for info in infos]
    names = list(rows[0]) if rows else []
    # Objects, so that a column without any number still is one, and a missing number stays empty.
    columns = {name: pd.Series([row[name] for row in rows], dtype=_dtype(name)) for name in names}
    return pd.DataFrame(columns)


def column_config(infos: Sequence[RunInfo]) -> dict[str, Any]:
    """How the columns of `frame` are shown."""
    config, number = st.column_config, "%.4f"
    marked = any(info.sample or info.archived or info.pinned for info in infos)
    pills = [text for text, _ in STATES.values()] + list(_MARKS)
    shown: dict[str, Any] = {
        "state": config.MultiselectColumn(
            "State", options=pills, color=[*(c for _, c in STATES.values()), *_MARKS.values()],
            width=180 if marked else 118,
        ),
        "name": config.TextColumn("Name", width=180),
        "progress": config.ProgressColumn(
            "Progress", format="%d%%", min_value=0.0, max_value=100.0, width=95,
            help="Share of the planned steps that are done"),
        "val_score": config.NumberColumn(
            "Score", format=number, width=65, help="Fused score on the validation split, newest epoch"),
        "best": config.NumberColumn(
            "Best", format=number, width=65, help="Highest fused validation score of any epoch"),
        "unimodal": config.TextColumn(
            "Unimodal scores", width=220,
            help="Validation score of each modality's classifier, newest epoch"),
        "dataset": config.TextColumn("Data set", width=105),
        "method": config.TextColumn("Method", width=70),
        "preset": config.TextColumn("Preset", width=70),
        "seed": config.NumberColumn("Seed", format="%d", width=55),
        "started": config.DatetimeColumn("Started", format="D MMM YYYY, HH:mm", width=140),
        "tags": config.ListColumn("Tags", width=120),
        "remark": config.TextColumn("Remark", width=320, help="Why a run ended or cannot be read"),
    }  # fmt: skip
    found = modalities(infos)
    for modality in found if len(found) <= MOST_MODALITIES else ():
        shown[f"m:{modality}"] = config.NumberColumn(
            plain(modality, 20), format=number, width=80,
            help="Validation score of this modality's classifier, newest epoch",
        )  # fmt: skip
    return shown


def to_csv(infos: Sequence[RunInfo]) -> bytes:
    """The runs as CSV, one row each, scores of every modality in a column; no cell is a formula."""
    found = modalities(infos)
    rows = []
    for info in infos:
        row: dict[str, Any] = {
            "id": info.id, "name": info.name, "state": state_of(info), "dataset": dataset_of(info),
            "method": word(info, "method"), "preset": word(info, "preset"), "seed": seed_of(info),
            "step": info.step, "steps": info.steps, "epoch": info.epoch, "epochs": info.epochs,
            "val_score": score(info, "val_score"), "val_score_best": score(info, "val_score", best=True),
        }  # fmt: skip
        row |= {f"val_unimodal_score[{m}]": score(info, "val_unimodal_score", m) for m in found}
        row |= {"test_score": score(info, "test_score"), "tags": "; ".join(info.tags),
                "started": datetime.fromtimestamp(info.created_at).astimezone().isoformat(timespec="seconds"),
                "sample": info.sample, "remark": remark_of(info), "notes": info.notes}  # fmt: skip
        rows.append({_inert(name): _inert(value) for name, value in row.items()})
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _row(info: RunInfo, found: list[str]) -> dict[str, Any]:
    marks = [mark for mark, on in ((SAMPLE, info.sample), (ARCHIVED, info.archived), (PINNED, info.pinned)) if on]
    row: dict[str, Any] = {
        "state": [STATES[state_of(info)][0], *marks],
        "name": plain(info.name, 120) or info.id[-8:],
        "progress": progress_of(info),
        "val_score": score(info, "val_score"),
        "best": score(info, "val_score", best=True),
    }
    scores = {m: score(info, "val_unimodal_score", m) for m in found}
    if len(found) <= MOST_MODALITIES:
        row |= {f"m:{m}": value for m, value in scores.items()}
    else:
        row["unimodal"] = " · ".join(f"{plain(m, 20)} {v:.3f}" for m, v in scores.items() if v is not None)
    return row | {
        "dataset": dataset_of(info), "method": word(info, "method"), "preset": word(info, "preset"),
        "seed": seed_of(info), "started": datetime.fromtimestamp(info.created_at),
        "tags": [plain(tag, 30) for tag in info.tags], "remark": remark_of(info),
    }  # fmt: skip


def _dtype(name: str) -> str:
    if name in ("progress", "val_score", "best") or name.startswith("m:"):
        return "float64"
    return {"seed": "Int64", "started": "datetime64[ms]"}.get(name, "object")


def _inert(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
