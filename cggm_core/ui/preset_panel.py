"""Presets of whole runs on the form: what one would change, shown before it is applied.

A widget's starting value belongs to its key (Streamlit complains where a value is set from both sides), so applying a
preset starts the form anew under new keys: with the preset's values, and with what it has no word on as it stood.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from cggm_core import catalog
from cggm_core.cards import Param, RunPresetCard, Value
from cggm_core.config import AUTO, TRAINING_PARAMS, Training, preset_values
from cggm_core.errors import ConfigError
from cggm_core.ui.forms import vars_of
from cggm_core.ui.safe import md

_START, _DATA, _NONE = "new.origin", "new.data.origin", ""
Choice = tuple[str, str]


@dataclass(frozen=True)
class Start:
    """What the form starts from.

    Attributes:
        preset: applied last; "" for none.
        number: how many were applied; every widget that starts from this has it in its key.
        training: starting values by name.
        model: chosen at first where it fits the data; "" is the task's own.
        model_params: its starting values.
        methods: chosen at first; none is the usual choice.
        advised: method and its preset chosen at first where no preset of a run was applied; a preset of "" is the
            method's first.
    """

    preset: str = ""
    number: int = 0
    training: Mapping[str, Value] = field(default_factory=lambda: vars_of(Training()))
    model: str = ""
    model_params: Mapping[str, Value] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    advised: Choice = ("", "")

    def key(self, name: str) -> str:
        """A widget's key, told apart from that of earlier starts."""
        return f"{name}~{self.number}" if self.number else name


@dataclass(frozen=True)
class Form:
    """What the form holds now.

    Attributes:
        training: settings by name.
        task: of the data; "" while a file is not read.
        model: its name.
        model_params: its knobs.
        methods: knobs by method and its preset.
    """

    training: Mapping[str, Any]
    task: str
    model: str
    model_params: Mapping[str, Any]
    methods: Mapping[Choice, Mapping[str, Any]]


@dataclass(frozen=True)
class DataStart:
    """What the form's data start from.

    Attributes:
        name: of a card, or "" for the usual one.
        params: starting values of its knobs.
        path: of a user's own file; "" for none.
        number: how often the data were filled in; every widget that starts from this has it in its key.
    """

    name: str = ""
    params: Mapping[str, Value] = field(default_factory=dict)
    path: str = ""
    number: int = 0

    def key(self, name: str) -> str:
        """A widget's key, told apart from that of earlier starts."""
        return f"{name}~{self.number}" if self.number else name


def data_start() -> DataStart:
    """What the form's data start from."""
    found: DataStart = st.session_state.get(_DATA, DataStart())
    return found


def start_from(config: Mapping[str, Any], advised: Choice) -> None:
    """Fill the form with data, model and training of a run, and with the method that is worth trying.

    Args:
        config: of the run, as recorded; what this version does not know is left at its default.
        advised: that method and its preset.
    """
    given, known = str(config.get("dataset", "")), catalog.all_cards("dataset")
    card = known.get(given)
    sound = _known(card.params, config.get("dataset_params")) if card else {}
    st.session_state[_DATA] = DataStart(given if card else "", sound, "" if card else given, data_start().number + 1)
    model = str(config.get("model", ""))
    model_card = catalog.all_cards("model").get(model)
    st.session_state[_START] = Start(
        number=start().number + 1,
        training=_sound(_known(TRAINING_PARAMS, config.get("training"))),
        model=model if model_card else "",
        model_params=_known(model_card.params, config.get("model_params")) if model_card else {},
        advised=advised,
    )


def start() -> Start:
    """What the form starts from on this page."""
    found: Start = st.session_state.get(_START, Start())
    return found


def fits(card: RunPresetCard, task: str) -> bool:
    """Whether the preset's model has a head for the task."""
    return bool(card.model) and task in catalog.card("model", card.model).tasks


def changes(card: RunPresetCard, form: Form) -> list[tuple[str, str, str]]:
    """Setting, value now and value of the preset, for all that differ.

    Of the model where it fits the task (of a file, whose task is not known yet, it is named as soon as it is), and of
    every chosen method.
    """
    found = [(name, form.training.get(name), value) for name, value in card.training.items()]
    if fits(card, form.task):
        knobs = catalog.card("model", card.model).resolve({})
        now = form.model_params if form.model == card.model else knobs
        found.append(("model", form.model, card.model))
        found += [(f"model.{name}", now.get(name), value) for name, value in card.model_params.items()]
    for (name, own), held in form.methods.items():
        method = catalog.card("method", name)
        for knob, value in method.resolve(preset_values(method, card.name)).items():
            label = f"method.{knob}" + (f" ({name} {own})".replace(" )", ")") if len(form.methods) > 1 else "")
            found.append((label, held.get(knob), value))
    return [(name, shown(now), shown(value)) for name, now, value in found if now != value]


def shown(value: object) -> str:
    """A value as text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def panel(form: Form) -> None:
    """Choose a preset, see what it would change, apply it."""
    cards: dict[str, RunPresetCard] = catalog.all_cards("preset")
    applied = start().preset
    with st.container(border=True):
        name = st.selectbox(
            "Start from a preset of the paper", [_NONE, *cards], key="new.preset",
            format_func=lambda n: f"{n} · {cards[n].title}" if n else "None: the lab's own defaults",
            help="The settings of the paper's four experiments (Table 7), for any data and any method. Whatever is "
            "changed afterwards wins.",
        )  # fmt: skip
        if name == _NONE:
            if applied:
                st.caption(f"The form was filled from {md(applied)}.")
            elif start().advised[0]:
                st.caption("Filled from the run that was diagnosed, with a method to try next. Nothing has started.")
            if applied or start().advised[0]:
                st.button("Back to the defaults", icon=":material/undo:", on_click=_back, key="new.preset.back")
            return
        card = cards[name]
        st.caption(md(f"{card.summary} {card.paper}. {card.unsaid}", 900))
        if form.task and card.model and not fits(card, form.task):
            st.caption(f"Its model, {md(card.model)}, has no head for {md(form.task)}: the model stays as it is.")
        if rows := changes(card, form):
            count = f"{len(rows)} setting{'s' * (len(rows) > 1)}"
            st.markdown(f"**{count}** would change:" if name != applied else f"**{count}** left the preset since:")
            table = {head: [row[i] for row in rows] for i, head in enumerate(("Setting", "Now", "Preset"))}
            st.dataframe(table, hide_index=True, width="stretch", height="content")
        if not rows and name == applied:
            st.success("The form holds this preset.", icon=":material/check_circle:")
        else:
            st.button(
                f"Apply {name}" if name != applied else f"Apply {name} again", icon=":material/input:",
                on_click=_apply, args=(card, form), key="new.preset.apply",
            )  # fmt: skip


def _apply(card: RunPresetCard, form: Form) -> None:
    """Start the form anew from the preset, and from what it leaves open."""
    taken = fits(card, form.task)
    model = card.model if taken else form.model
    own = form.model_params if form.model == model else {}
    st.session_state[_START] = Start(
        preset=card.name,
        number=start().number + 1,
        training={**_sound(form.training), **card.training},
        model="" if model == AUTO else model,
        model_params={**own, **(card.model_params if taken else {})},
        methods=tuple(dict.fromkeys(name for name, _ in form.methods)),
    )


def _known(params: Sequence[Param], held: object) -> dict[str, Value]:
    """Of recorded values those that a form can show: another program or version may have recorded anything."""
    found: dict[str, Value] = {}
    for param in params if isinstance(held, Mapping) else ():
        with contextlib.suppress(ConfigError, KeyError):
            found[param.name] = param.check(held[param.name])  # type: ignore[index]
    return found


def _sound(training: Mapping[str, Any]) -> dict[str, Value]:
    """Settings as the form holds them; an emptied number is its default again."""
    defaults = vars_of(Training())
    held = {name: training.get(name) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in held.items()}


def _back() -> None:
    st.session_state[_START] = Start(number=start().number + 1)
