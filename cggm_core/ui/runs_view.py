"""Which runs a list shows, and in which order; as plain values that an address can carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cggm_core.store import RunInfo
from cggm_core.ui.runs_facts import Facts, group_of

# Words of a search with a meaning of their own.
LIKE = "like:"
SHORTEST_ID = 6
# What runs can be put together by, as the page and its address call it.
CONFIGURATION, DATASET, METHOD, TAG = "Configuration", "Data set", "Method", "Tag"
GROUPS = (CONFIGURATION, DATASET, METHOD, TAG)
NEWEST, HIGHEST, LOWEST = "Newest", "Highest score", "Lowest score"

_Key = Callable[[Facts], Any]
# What comes first, as the page and its address call it: the value, and whether the greatest comes first.
SORTS: Mapping[str, tuple[_Key, bool]] = {
    NEWEST: (lambda f: f.id, True),
    "Oldest": (lambda f: f.id, False),
    "Last changed": (lambda f: f.info.updated_at, True),
    HIGHEST: (lambda f: f.score, True),
    LOWEST: (lambda f: f.score, False),
    "Least progress": (lambda f: f.progress, False),
    "Name": (lambda f: f.name.casefold(), False),
    "State": (lambda f: f.state, False),
    "Data set": (lambda f: f.dataset or None, False),
    "Method": (lambda f: f.way or None, False),
    "Seed": (lambda f: f.seed, False),
}


@dataclass(frozen=True)
class Filter:
    """Which runs are wanted; an empty field wants all.

    Attributes:
        q: every word of it occurs in name, id, tags, notes, data set, method or preset; `like:ID` wants the runs whose
            configuration differs from that run's in the seed alone.
        state, dataset, method, preset, tag: one of these.
        low, high: ends of the newest fused validation score, both included; a run without one is then left out.
        archived: whether archived runs are listed as well.
    """

    q: str = ""
    state: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    preset: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    archived: bool = False

    @property
    def empty(self) -> bool:
        """Whether it wants every run that is not archived."""
        return self == Filter(archived=self.archived)

    def query(self) -> dict[str, list[str]]:
        """The filter as the parameters of an address; what wants all is left out."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: [_written(v) for v in (value if isinstance(value, tuple) else (value,))]
                for name, value in given.items() if value not in ("", (), None) and value is not False}  # fmt: skip

    @classmethod
    def of(cls, query: Mapping[str, Sequence[str]]) -> Filter:
        """Inverse of `query`; parameters of other names and ends that are no finite number count as not given."""
        made: dict[str, Any] = {}
        for name in ("state", "dataset", "method", "preset", "tag"):
            made[name] = tuple(query.get(name, ()))
        for name in ("low", "high"):
            made[name] = _number(next(iter(query.get(name, ())), ""))
        q, archived = next(iter(query.get("q", ())), ""), next(iter(query.get("archived", ())), "")
        return cls(**made, q=q, archived=archived == "true")

    def taken(self, facts: Iterable[Facts]) -> list[Facts]:
        """The runs that are wanted, in the order given."""
        every = list(facts)
        words = self.q.casefold().split()
        alike = [_alike(w.removeprefix(LIKE), every) for w in words if w.startswith(LIKE)]
        terms = [w for w in words if not w.startswith(LIKE)]
        return [f for f in every if self._takes(f, terms) and all(f.id in ids for ids in alike)]

    def _takes(self, f: Facts, terms: Sequence[str]) -> bool:
        if f.info.archived and not self.archived:
            return False
        for wanted, has in ((self.state, f.state), (self.dataset, f.dataset), (self.method, f.method),
                            (self.preset, f.preset)):  # fmt: skip
            if wanted and has not in wanted:
                return False
        if self.tag and not set(self.tag) & set(f.tags):
            return False
        if self.low is not None and (f.score is None or f.score < self.low):
            return False
        if self.high is not None and (f.score is None or f.score > self.high):
            return False
        return all(term in f.text for term in terms)


def ordered(facts: Iterable[Facts], sort: str = NEWEST) -> list[Facts]:
    """Pinned runs first, then by the order named (one of `SORTS`, else the newest first).

    Runs that have no such value come last whichever way it is sorted; of equal ones the newer is first.
    """
    key, falling = SORTS.get(sort, SORTS[NEWEST])
    newest = sorted(facts, key=lambda f: f.id, reverse=True)
    has = [f for f in newest if key(f) is not None]
    lacks = [f for f in newest if key(f) is None]
    return sorted([*sorted(has, key=key, reverse=falling), *lacks], key=lambda f: not f.info.pinned)


def choices(facts: Iterable[Facts], states: Iterable[str]) -> dict[str, list[str]]:
    """What the filters can be set to: values that occur, in alphabetical order; states in the order given."""
    found: dict[str, set[str]] = {name: set() for name in ("state", "dataset", "method", "preset", "tag")}
    for f in facts:
        found["state"].add(f.state)
        found["dataset"].add(f.dataset)
        found["method"].add(f.method)
        found["preset"].add(f.preset)
        found["tag"].update(f.tags)
    made = {name: sorted(values - {""}, key=str.casefold) for name, values in found.items()}
    return {**made, "state": [state for state in states if state in found["state"]]}


def kept_order(held: Sequence[str], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """The order a person is looking at, without what is gone; and what has come since.

    Args:
        held: ids as drawn before.
        wanted: ids as they would be drawn now.
    """
    there, known = set(wanted), set(held)
    return [run_id for run_id in held if run_id in there], [run_id for run_id in wanted if run_id not in known]


def _alike(beginning: str, facts: Sequence[Facts]) -> frozenset[str]:
    wanted = beginning.upper()
    found = [f for f in facts if len(wanted) >= SHORTEST_ID and f.id.startswith(wanted)]
    if len(found) != 1:
        return frozenset()
    first: RunInfo = found[0].info
    group = group_of(first)
    # Only runs of the same data and method can be of one configuration, and asking those two costs nothing.
    near = [f for f in facts if (f.method, f.dataset) == (found[0].method, found[0].dataset)]
    return frozenset(f.id for f in near if group_of(f.info) == group)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
