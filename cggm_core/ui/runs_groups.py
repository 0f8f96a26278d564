"""Runs put together: by configuration (the same but for the seed), data set, method or tag.

Every number stands with the count it was computed from, and is computed from all runs of the group that count, never
from a part of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from cggm_core.analysis import comparison
from cggm_core.analysis.comparison import Sample
from cggm_core.analysis.scores import one_a_seed
from cggm_core.store import RunInfo
from cggm_core.ui.runs_facts import Facts, group_of, in_line
from cggm_core.ui.runs_view import CONFIGURATION, DATASET, HIGHEST, LOWEST, METHOD, TAG
from cggm_core.ui.safe import plain

NOTHING = "(none)"
_By = Callable[[Facts], Iterable[str]]
_KEYS: Mapping[str, _By] = {
    CONFIGURATION: lambda f: (group_of(f.info),),
    DATASET: lambda f: (f.dataset,),
    # Scores of different data do not compare, so a method is put together within each data set.
    METHOD: lambda f: (f"{f.way}\n{f.dataset}",),
    TAG: lambda f: f.tags or ("",),
}


@dataclass(frozen=True)
class Group:
    """Runs that belong together.

    Attributes:
        by: one of `GROUPS`.
        key: what they share; of a configuration a digest, else the word itself.
        name: what they share, for people.
        members: the runs, in the order given.
        states: how many runs there are of each state.
        score: newest fused validation score over the finished runs, of a configuration one run a seed
            (`one_a_seed`); of no run where their data sets differ, because such scores do not compare.
    """

    by: str
    key: str
    name: str
    members: tuple[Facts, ...]
    states: Mapping[str, int]
    score: Sample


def grouped(facts: Sequence[Facts], by: str) -> list[Group]:
    """Groups in the order in which they first occur; a run with several tags belongs to several groups.

    Args:
        facts: runs in the order wanted.
        by: one of `GROUPS`.

    Raises:
        KeyError: if it is none of them.
    """
    keys = _KEYS[by]
    found: dict[str, list[Facts]] = {}
    for f in facts:
        for key in keys(f):
            found.setdefault(key, []).append(f)
    return [_group(by, key, tuple(members)) for key, members in found.items()]


def ordered(groups: Sequence[Group], sort: str) -> list[Group]:
    """Groups by their mean score where scores give the order, those without one last; else as they are."""
    if sort not in (HIGHEST, LOWEST):
        return list(groups)
    has = [group for group in groups if group.score.n]
    lacks = [group for group in groups if not group.score.n]
    return [*sorted(has, key=lambda g: g.score.mean, reverse=sort == HIGHEST), *lacks]


def frame(groups: Sequence[Group]) -> pd.DataFrame:
    """One row a group."""
    names = _names(groups)
    columns: dict[str, tuple[list[Any], str]] = {
        "group": ([names[g.key] for g in groups], "object"),
        "dataset": ([_shared(f.dataset for f in g.members) for g in groups], "object"),
        "runs": ([len(g.members) for g in groups], "int64"),
        "states": ([told_states(g) for g in groups], "object"),
        "mean": ([_finite(g.score.mean) for g in groups], "float64"),
        "std": ([_finite(g.score.std) for g in groups], "float64"),
        "n": ([g.score.n for g in groups], "int64"),
        "unimodal": ([told_unimodal(g) for g in groups], "object"),
        "started": ([datetime.fromtimestamp(max(f.info.created_at for f in g.members)) for g in groups],
                    "datetime64[ms]"),
    }  # fmt: skip
    return pd.DataFrame({name: pd.Series(values, dtype=kind) for name, (values, kind) in columns.items()})


def column_config(by: str) -> dict[str, Any]:
    """How the columns of `frame` are shown."""
    config = st.column_config
    shown: dict[str, Any] = {
        "group": config.TextColumn(by, width=240),
        "dataset": None if by == DATASET else config.TextColumn("Data set", width=100),
        "runs": config.NumberColumn("Runs", format="%d", width=55),
        "states": config.TextColumn("States", width=185),
        "mean": config.NumberColumn(
            "Score", format="%.3f", width=62,
            help="Mean of the newest validation score over the finished runs; left out where data sets differ"),
        "std": config.NumberColumn(
            "± std", format="%.3f", width=58, help="Standard deviation over those runs; one run has none"),
        "n": config.NumberColumn("n", format="%d", width=42, help="Runs behind it; of a configuration one a seed"),
        "unimodal": config.TextColumn(
            "Unimodal, mean", width=190, help="Mean validation score of each modality's classifier, finished runs"),
        "started": config.DatetimeColumn("Newest", format="distance", width=120),
    }  # fmt: skip
    return shown


def told_states(group: Group) -> str:
    """How many runs stand how, in words; the commonest first."""
    return ", ".join(f"{count} {state}" for state, count in sorted(group.states.items(), key=lambda item: -item[1]))


def told_unimodal(group: Group) -> str:
    """Mean score of each modality's classifier over the finished runs, the highest first."""
    values: dict[str, list[float]] = {}
    for f in group.members:
        if f.state == "finished":
            for modality, value in f.unimodal.items():
                values.setdefault(modality, []).append(value)
    means = {modality: sum(found) / len(found) for modality, found in values.items()}
    return in_line(means)


def _group(by: str, key: str, members: tuple[Facts, ...]) -> Group:
    states: dict[str, int] = {}
    for f in members:
        states[f.state] = states.get(f.state, 0) + 1
    alike = len({f.dataset for f in members}) == 1
    # A seed run twice is one number: a configuration counts one run a seed.
    counted = {info.id for info in one_a_seed([f.info for f in members])} if by == CONFIGURATION else None
    ended = [
        f.score for f in members
        if alike and f.state == "finished" and f.score is not None and (counted is None or f.info.id in counted)
    ]  # fmt: skip
    name = key.partition("\n")[0] or NOTHING
    return Group(by, key, name, members, states, comparison.sample(ended))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _names(groups: Sequence[Group]) -> dict[str, str]:
    if not groups or groups[0].by != CONFIGURATION:
        return {g.key: plain(g.name, 80) for g in groups}
    by_data: dict[str, dict[str, list[RunInfo]]] = {}
    for g in groups:
        by_data.setdefault(g.members[0].dataset, {})[g.key] = [f.info for f in g.members]
    # Within one data set, whose name has a column of its own: its knobs need not be told again in each name.
    return {key: plain(name, 120) for alike in by_data.values() for key, name in comparison.group_names(alike).items()}


def _shared(words: Iterable[str]) -> str:
    found = sorted({word for word in words if word})
    return found[0] if len(found) == 1 else f"{len(found)} data sets" if found else ""
