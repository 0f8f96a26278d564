"""Choosing configurations of one data set, with the choice in the address.

Runs are chosen by what they have in common: first the data set, for scores on two of them do not compare, then the
configurations (runs that differ in the seed alone). An address with `?runs=` narrows everything to those runs;
`?data=` and `?configurations=` say the rest in a few letters, however many runs there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cggm_core.analysis import comparison
from cggm_core.analysis.scores import configurations, data_sets
from cggm_core.store import RunInfo
from cggm_core.ui import session
from cggm_core.ui.pickers import MANY, run_label, suggested
from cggm_core.ui.safe import md, plain

DATA, CONFIGURATIONS, BASELINE = "data", "configurations", "baseline"
INLINE = 8  # more configurations than this are chosen behind a button: their names would fill the page
MOST = 100
NAMED = 3  # chosen runs that are named
T = TypeVar("T")


@dataclass(frozen=True)
class Picked:
    """What is compared.

    Attributes:
        by_name: runs by configuration, the baseline first.
        baseline: its name.
        data: label of the data set.
        repeats: runs of these configurations left out, because a newer one of the same seed counts.
    """

    by_name: Mapping[str, tuple[RunInfo, ...]]
    baseline: str
    data: str
    repeats: int = 0


def pick_configurations(key: str) -> Picked | None:
    """The choice of data set, configurations and baseline; None where there is nothing to choose from.

    Args:
        key: beginning of the widgets' keys, unique on its page.
    """
    everything = {info.id: info for info in session.catalogue().runs()}
    scope, asked = _scope(key, everything)
    sets = data_sets(scope, samples_apart=not asked)
    if not sets:
        return None
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    word = usual = _usual(sets, scope)
    if len(sets) > 1:
        with row:
            word = bound(
                DATA, f"{key}.data", list(sets), usual,
                lambda k: st.selectbox(
                    "Data set", list(sets), key=k, width=320,
                    format_func=lambda w: f"{plain(sets[w][0], 80)} · {len(sets[w][1])} runs",
                    help="Scores on two data sets do not compare, so one is shown at a time.",
                ),
            )  # fmt: skip
    by_name = configurations(sets[word][1])
    words = {short(comparison.group_of(runs[0])): name for name, runs in by_name.items()}
    chosen = _configurations(f"{key}.configurations.{word}", words, by_name, row)
    named = {name: by_name[name] for name in by_name if name in chosen}
    if not named:
        return Picked({}, "", sets[word][0])
    with row:
        pinned = bound(
            BASELINE, f"{key}.baseline.{word}", list(named), next(iter(named)),
            lambda k: st.selectbox("Baseline", list(named), key=k, format_func=plain, width=260),
            meaning=lambda text: _named(text, named),
        )  # fmt: skip
    groups = {comparison.group_of(runs[0]) for runs in named.values()}
    there = sum(comparison.group_of(info) in groups for info in sets[word][1])
    return Picked({pinned: named[pinned], **named}, pinned, sets[word][0], there - sum(map(len, named.values())))


def bound(
    name: str, key: str, options: Sequence[T], default: T, widget: Callable[[str], T | None], *,
    meaning: Callable[[str], T | None] | None = None, text: Callable[[T], str] = str,
    fits: Callable[[T], bool] | None = None,
) -> T:  # fmt: skip
    """A widget whose value stands in the address under `name`: a reload or a shared link shows the same.

    Args:
        name: in the address.
        key: of the widget.
        options: what may be chosen.
        default: where the address says nothing, or nothing that is there.
        widget: draws the widget with that key and returns its value.
        meaning: option that a text of the address means, None for none; equality with `text` of an option otherwise.
        text: of an option in the address.
        fits: whether a value kept by the session is still there to be chosen; being an option otherwise.
    """
    said, written = st.query_params.get(name, ""), f"{key}.address"
    asked = None
    if said and st.session_state.get(written) != said:
        by_text = {text(option): option for option in options}
        asked = meaning(said) if meaning else by_text.get(said)
    if asked is not None:
        st.session_state[key] = asked
    elif key not in st.session_state or not (fits or options.__contains__)(st.session_state[key]):
        st.session_state[key] = default
    value = widget(key)
    value = default if value is None else value
    if st.query_params.get(name) != text(value):
        st.query_params[name] = text(value)
    st.session_state[written] = text(value)
    return value


def _scope(key: str, everything: Mapping[str, RunInfo]) -> tuple[list[RunInfo], bool]:
    """The runs of the address, or all that are sound and not put away; and whether it is those of the address."""
    sound = [info for info in everything.values() if not info.damaged]
    asked = list(
        dict.fromkeys(part.strip().upper() for part in st.query_params.get(MANY, "").split(",") if part.strip())
    )
    if not asked:
        return [info for info in sound if not info.archived], False
    found = [everything[run_id] for run_id in asked if run_id in everything]
    missing = [run_id for run_id in asked if run_id not in everything]
    if missing:
        others = "all runs are shown" if not found else "the other runs are shown"
        st.warning(f"Not found here: {md(', '.join(missing[:3]), 120)}; {others}.", icon=":material/search_off:")
    if not found:
        return [info for info in sound if not info.archived], False
    damaged = sum(bool(info.damaged) for info in found)
    if damaged:
        st.warning(f"{damaged} of these runs cannot be read and are left out.", icon=":material/broken_image:")
    with st.container(horizontal=True, vertical_alignment="center"):
        named = "; ".join(run_label(info) for info in found[:NAMED])
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        st.caption(f"{len(found)} chosen {'run' if len(found) == 1 else 'runs'}: {md(named, 300)}{more}.",
                   width="content")  # fmt: skip
        if st.button("Take all runs", key=f"{key}.everything", type="tertiary", icon=":material/select_all:"):
            for name in (MANY, DATA, CONFIGURATIONS):
                st.query_params.pop(name, None)
            st.rerun()
    return [info for info in found if not info.damaged], True


def _usual(sets: Mapping[str, tuple[str, Sequence[RunInfo]]], scope: Sequence[RunInfo]) -> str:
    """The data set shown first: that of the newest own runs of which there is more than one, else of the samples."""
    for word, (_, runs) in sets.items():
        if not runs[0].sample and sum(info.state == "finished" for info in runs) > 1:
            return word
    first = next(iter(suggested(scope)), scope[0].id)
    return next(word for word, (_, runs) in sets.items() if any(info.id == first for info in runs))


def _configurations(key: str, words: Mapping[str, str], by_name: Mapping[str, Sequence[RunInfo]],
                    row: DeltaGenerator) -> list[str]:  # fmt: skip
    """Names chosen, the first hundred to begin with; a few stand under the row, many behind a button in it."""
    usual = list(words)[:MOST]

    def shown(word: str) -> str:
        n = len(by_name[words[word]])
        return f"{plain(words[word], 60)} · {n} {'run' if n == 1 else 'runs'}"

    said, written = st.query_params.get(CONFIGURATIONS, ""), f"{key}.address"
    if key not in st.session_state or (said and st.session_state.get(written) not in (None, said)):
        asked = [word for word in said.split(",") if word in words]
        st.session_state[key] = asked or usual
    st.session_state[key] = [word for word in st.session_state[key] if word in words]
    many = len(words) > INLINE
    label = f"{len(st.session_state[key])} of {len(words)} configurations"
    place = row.popover(label, icon=":material/checklist:") if many else st.container()
    with place:
        chosen = st.multiselect("Configurations", list(words), key=key, format_func=shown, max_selections=MOST,
                                placeholder="Choose configurations",
                                help="Runs that differ in the seed alone are one configuration.")  # fmt: skip
    joined = "" if chosen == usual else ",".join(chosen)
    if joined:
        st.query_params[CONFIGURATIONS] = joined
    else:
        st.query_params.pop(CONFIGURATIONS, None)
    st.session_state[written] = joined
    return [words[word] for word in chosen]


def short(text: str) -> str:
    """Six letters that stand for a text of users where it must not be: in addresses and in names of widgets."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:6]


def _named(text: str, by_name: Mapping[str, Sequence[RunInfo]]) -> str | None:
    """The configuration that an address means: by its name, or by the id of one of its runs."""
    if text in by_name:
        return text
    wanted = text.strip().upper()
    return next((name for name, runs in by_name.items() if any(info.id == wanted for info in runs)), None)
