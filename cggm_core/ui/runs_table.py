"""The table of runs: columns to choose from, rows, and the same as CSV.

Everything here is a function of values, so that a page of runs is one pass and no history is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from cggm_core.store import RunInfo
from cggm_core.ui import runs_facts
from cggm_core.ui.runs_facts import Facts, in_line
from cggm_core.ui.safe import plain

# A sign beside each word: a state is told by shape and word, and only then by colour. The table writes black on a chip
# in the light theme and white in the dark one, so each colour has the one brightness (0.179) that carries both at 4.5.
STATES: Mapping[str, tuple[str, str]] = {
    "starting": ("○ starting", "#6A7882"),
    "running": ("● running", "#007AC2"),
    "paused": ("‖ paused", "#A56800"),
    "finished": ("✓ finished", "#008663"),
    "stopped": ("■ stopped", "#6A7882"),
    "failed": ("✕ failed", "#CE4910"),
    "died": ("✕ died", "#CE4910"),
    "damaged": ("▲ damaged", "#AF5695"),
}
SAMPLE, ARCHIVED = "sample", "archived"
PIN = "★"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENDED_BADLY = ("failed", "died", "damaged")
_NUMBERS = ("progress", "score", "best", "test", "lr", "rho", "lam")
_WHOLE = ("seed", "epochs", "batch_size")
_TIMES = ("age", "started", "changed")

# What a column is called here: its name for people, and in the address.
COLUMNS: Mapping[str, str] = {
    "state": "State", "name": "Name", "dataset": "Data set", "way": "Method · preset", "seed": "Seed",
    "progress": "Progress", "score": "Score", "unimodal": "Unimodal scores", "age": "Age", "tags": "Tags",
    "best": "Best score", "test": "Test score", "each": "Unimodal scores, a column each", "model": "Model",
    "epochs": "Epochs planned", "batch_size": "Batch size", "lr": "Learning rate", "rho": "ρ", "lam": "λ",
    "started": "Started", "changed": "Last changed", "remark": "Remark", "notes": "Notes", "id": "Id",
}  # fmt: skip
# These fit beside each other on a page 1,440 pixels wide.
FIRST = ("state", "name", "dataset", "way", "seed", "progress", "score", "unimodal", "age", "tags")


def frame(facts: Sequence[Facts], columns: Sequence[str] = FIRST) -> pd.DataFrame:
    """One row a run, in the order given.

    Args:
        facts: the runs.
        columns: of `COLUMNS`, in the order wanted; "each" becomes one column a modality.
    """
    found = runs_facts.modalities(f.info for f in facts) if "each" in columns else []
    names = [n for name in columns for n in ([f"m:{m}" for m in found] if name == "each" else [name])]
    # Objects, so that a column without any number still is one, and a missing number stays empty.
    made = {name: pd.Series([_cell(f, name) for f in facts], dtype=_dtype(name)) for name in names}
    return pd.DataFrame(made)


def column_config(facts: Sequence[Facts], columns: Sequence[str] = FIRST) -> dict[str, Any]:
    """How the columns of `frame` are shown."""
    config = st.column_config
    each = runs_facts.modalities(f.info for f in facts) if "each" in columns else []
    shown: dict[str, Any] = {
        "state": config.MultiselectColumn(
            "State", options=[text for text, _ in STATES.values()], color=[c for _, c in STATES.values()], width=100),
        "name": config.TextColumn("Name", width=166, help=f"{PIN}: pinned above the others"),
        "dataset": config.TextColumn("Data set", width=94),
        "way": config.TextColumn("Method · preset", width=120),
        "seed": config.NumberColumn("Seed", format="%d", width=48),
        "progress": config.ProgressColumn(
            "Progress", format="%d%%", min_value=0.0, max_value=100.0, width=84,
            help="Share of the planned steps that are done"),
        "score": _score("Score", "Fused score on the validation split, newest epoch"),
        "unimodal": config.TextColumn(
            "Unimodal scores", width=168,
            help="Newest validation score of each modality's classifier, the highest first; of a run that ended "
                 "badly the reason"),
        "age": config.DatetimeColumn("Age", format="distance", width=120, help="Since it was started"),
        "tags": config.ListColumn("Tags", width=88, help="Yours; and whether a run came with the lab or is archived"),
        "best": _score("Best", "Highest fused validation score of any epoch"),
        "test": _score("Test", "Fused score on the test split"),
        "model": config.TextColumn("Model", width=120),
        "epochs": config.NumberColumn("Epochs", format="%d", width=60),
        "batch_size": config.NumberColumn("Batch", format="%d", width=60),
        "lr": config.NumberColumn("Learning rate", format="%g", width=90),
        "rho": config.NumberColumn("ρ", format="%g", width=50),
        "lam": config.NumberColumn("λ", format="%g", width=50),
        "started": config.DatetimeColumn("Started", format="D MMM YYYY, HH:mm", width=140),
        "changed": config.DatetimeColumn("Last changed", format="D MMM YYYY, HH:mm", width=140),
        "remark": config.TextColumn("Remark", width=320, help="Why a run ended or cannot be read"),
        "notes": config.TextColumn("Notes", width=240),
        "id": config.TextColumn("Id", width=230),
    }  # fmt: skip
    for m in each:
        shown[f"m:{m}"] = config.NumberColumn(
            plain(m, 24), format="%.3f", width=78, help="Unimodal validation score, newest epoch"
        )
    return shown


def table_key(place: str, members: Sequence[Sequence[str]]) -> str:
    """Key of the table that shows these rows: other rows are another table.

    The page hears of a tick by the number of its row alone. If a table kept its key while its rows change, a tick
    made on the old one could land on the run that took that row.

    Args:
        place: which table it is.
        members: ids of the runs behind each row.
    """
    return f"{place}.{zlib.crc32(repr([tuple(ids) for ids in members]).encode()):08x}"


def to_csv(facts: Sequence[Facts]) -> bytes:
    """The runs as CSV, one row each, scores of every modality in a column; no cell is a formula."""
    found = runs_facts.modalities(f.info for f in facts)
    rows = []
    for f in facts:
        info = f.info
        row: dict[str, Any] = {
            "id": info.id, "name": info.name, "state": f.state, "dataset": f.dataset,
            "method": f.method, "preset": f.preset, "seed": f.seed,
            "step": info.step, "steps": info.steps, "epoch": info.epoch, "epochs": info.epochs,
            "val_score": f.score, "val_score_best": runs_facts.score(info, "val_score", best=True),
        }  # fmt: skip
        row |= {f"val_unimodal_score[{m}]": f.unimodal.get(m) for m in found}
        row |= {"test_score": runs_facts.score(info, "test_score"), "tags": "; ".join(info.tags),
                "started": datetime.fromtimestamp(info.created_at).astimezone().isoformat(timespec="seconds"),
                "sample": info.sample, "remark": runs_facts.remark_of(info), "notes": info.notes}  # fmt: skip
        rows.append({_inert(name): _inert(value) for name, value in row.items()})
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _score(label: str, text: str) -> Any:
    return st.column_config.NumberColumn(label, format="%.3f", width=58, help=text)


_CELLS: Mapping[str, Callable[[Facts], Any]] = {
    "state": lambda f: [STATES[f.state][0]],
    "name": lambda f: f"{PIN} {f.name}" if f.info.pinned else f.name,
    "unimodal": lambda f: (
        (runs_facts.remark_of(f.info) if f.state in _ENDED_BADLY else "") or in_line(f.unimodal)
    ),
    "age": lambda f: datetime.fromtimestamp(f.info.created_at),
    "started": lambda f: datetime.fromtimestamp(f.info.created_at),
    "changed": lambda f: datetime.fromtimestamp(f.info.updated_at),
    "tags": lambda f: [*_marks(f.info), *(plain(tag, 30) for tag in f.tags)],
    "best": lambda f: runs_facts.score(f.info, "val_score", best=True),
    "test": lambda f: runs_facts.score(f.info, "test_score"),
    "model": lambda f: runs_facts.word(f.info, "model"),
    "remark": lambda f: runs_facts.remark_of(f.info),
    "notes": lambda f: plain(f.info.notes, 200),
    "epochs": lambda f: f.info.epochs or None,
}  # fmt: skip


def _cell(f: Facts, name: str) -> Any:
    if name.startswith("m:"):
        return f.unimodal.get(name[2:])
    if name in _CELLS:
        return _CELLS[name](f)
    if name in ("batch_size", "lr"):
        return _setting(f.info, "training", name)
    if name in ("rho", "lam"):
        return _setting(f.info, "method_params", name)
    return getattr(f, name)


def _setting(info: RunInfo, part: str, name: str) -> float | None:
    """A number among the settings; None where there is none."""
    given = info.config.get(part)
    value = given.get(name) if isinstance(given, Mapping) else None
    sound = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return value if sound else None


def _marks(info: RunInfo) -> list[str]:
    return [mark for mark, on in ((SAMPLE, info.sample), (ARCHIVED, info.archived)) if on]


def _dtype(name: str) -> str:
    if name in _NUMBERS or name.startswith("m:"):
        return "float64"
    return "Int64" if name in _WHOLE else "datetime64[ms]" if name in _TIMES else "object"


def _inert(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
