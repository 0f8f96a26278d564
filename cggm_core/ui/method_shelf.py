"""All methods to choose from, by where they act: what each does, needs and costs, and whether it suits the data."""

from __future__ import annotations

import streamlit as st

from cggm_core import catalog
from cggm_core.cards import DatasetCard, MethodCard, Preset
from cggm_core.ui import forms
from cggm_core.ui.safe import md

Choice = tuple[str, str]
_CHOSEN = "shelf.chosen"
CARD_WIDTH = 380  # pixels at least
_REFERENCES = "References: what every method is held against"
# In the order of a step: what a method changes first stands first.
LEVERS = {
    "none": _REFERENCES,
    "data": _REFERENCES,
    "features": "Features: what encoders hand to the fusion",
    "fusion": "Fusion: how the parts become one prediction",
    "loss": "Loss: what training asks for",
    "gradient": "Gradient: what each encoder is told",
    "update": "Update: how weights are moved",
    "schedule": "Schedule: who learns when, and how fast",
}
NEEDS = {
    "unimodal_scores": "scores of the unimodal classifiers", "head_gradients": "last-layer gradients",
    "encoder_gradients": "the encoders' gradients", "subset_forward": "predictions from some modalities alone",
    "learning_rates": "a learning rate a modality", "own_modules": "learnable parts of its own",
    "own_prediction": "a prediction of its own", "second_pass": "a second pass over each batch",
    "pretraining": "training before the first step", "inputs": "the inputs", "training_data": "the training split",
    "missing_rates": "validation under missing data", "trials": "short trial trainings",
}  # fmt: skip


def choices() -> list[Choice]:
    """Every method with each of its own presets, grouped by where it acts."""
    cards: list[MethodCard] = sorted(catalog.all_cards("method").values(), key=lambda card: _rank(card.lever))
    return [(card.name, preset.name) for card in cards for preset in card.presets or (Preset("", ""),)]


def browse(key: str, data: DatasetCard | None) -> None:
    """Open the shelf.

    Args:
        key: of the widget that holds the choice; it is set when the choice is taken over.
        data: chosen on the form; None while only the worker knows what a file holds.
    """
    # Kept apart from the ticks: a search takes ticks off the page, and Streamlit forgets what is not drawn.
    st.session_state[_CHOSEN] = list(st.session_state.get(key, []))
    shelf(key, data)


@st.dialog("Methods", width="large")
def shelf(key: str, data: DatasetCard | None) -> None:
    """The shelf as it stands open; a click on it draws it alone anew."""
    chosen: list[Choice] = st.session_state[_CHOSEN]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        wanted = st.text_input("Search", key="shelf.search", icon=":material/search:", width="stretch",
                               placeholder="gradient, teacher, missing, CVPR …")  # fmt: skip
        label = f"Take {len(chosen)} method{'s' * (len(chosen) != 1)}"
        if st.button(label, type="primary", disabled=not chosen, key="shelf.take", on_click=_take, args=(key,)):
            st.rerun()
    groups: dict[str, list[Choice]] = {}
    for choice in choices():
        if _fits(choice, wanted or ""):
            lever = catalog.card("method", choice[0]).lever
            groups.setdefault(LEVERS.get(lever, lever), []).append(choice)
    for title, members in groups.items():
        st.header(title, anchor=False)
        with st.grid(2, min_column_width=CARD_WIDTH, gap="small"):
            for choice in members:
                with st.container(border=True, height="stretch", gap="xxsmall"):
                    _entry(choice, data, choice in chosen)
    if not groups:
        st.info("No method fits these words.", icon=":material/filter_alt_off:")


def needs(card: MethodCard) -> str:
    """What the method reads or changes, in words."""
    return ", ".join(NEEDS.get(name, name.replace("_", " ")) for name in card.requires)


def _entry(choice: Choice, data: DatasetCard | None, chosen: bool) -> None:
    card, preset = catalog.card("method", choice[0]), choice[1]
    misfit = forms.misfit(data, None, card)
    title = card.title + (f" · {preset}" if preset else "")
    st.checkbox(f"**{md(title)}**", chosen, key=f"shelf.{card.name}.{preset}", disabled=bool(misfit),
                on_change=_turn, args=(choice,))  # fmt: skip
    text = card.preset(preset).text if preset else ""
    what = [
        card.summary if not preset or preset == card.presets[0].name else "",
        f"{text[:1].upper()}{text[1:]}." if text else "",
        f"{card.paper[:1].upper()}{card.paper[1:]}." if card.paper else "",
    ]
    st.markdown(md(" ".join(filter(None, what)), 600))
    told = [
        f"Costs: {'nothing more' if card.cost == '1' else card.cost}." if card.cost else "",
        f"Needs: {needs(card)}." if card.requires else "",
        f"Not here: {misfit}." if misfit else "",
    ]
    st.caption(md(" ".join(filter(None, told)), 600))


def _fits(choice: Choice, wanted: str) -> bool:
    card: MethodCard = catalog.card("method", choice[0])
    text = " ".join((card.name, card.title, card.summary, card.paper, card.cost, LEVERS.get(card.lever, ""),
                     needs(card), choice[1])).casefold()  # fmt: skip
    return all(word in text for word in wanted.casefold().split())


def _rank(lever: str) -> int:
    return list(LEVERS).index(lever) if lever in LEVERS else len(LEVERS)


def _turn(choice: Choice) -> None:
    held: list[Choice] = st.session_state[_CHOSEN]
    st.session_state[_CHOSEN] = [c for c in held if c != choice] if choice in held else [*held, choice]


def _take(key: str) -> None:
    st.session_state[key] = list(st.session_state[_CHOSEN])
