"""All methods to choose from: where they act, what they need and cost, and that ticks arrive on the form."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from streamlit.testing.v1 import AppTest

from cggm_core import catalog
from cggm_core.cards import Lever
from cggm_core.protocols.step import CAPABILITIES
from cggm_core.ui import method_shelf
from tests.pages.conftest import Open


def opened(open_page: Open, dataset: str = "") -> AppTest:
    at = open_page("new_run")
    if dataset:
        at.selectbox(key="new.dataset").set_value(dataset).run()
    at.button("new.methods.browse").click().run()
    assert not at.exception
    return at


def test_every_method_stands_on_the_shelf_with_words_for_all_it_says() -> None:
    choices = method_shelf.choices()
    assert {name for name, _ in choices} == set(catalog.all_cards("method"))
    assert len(set(choices)) == len(choices)
    assert set(method_shelf.NEEDS) == set(CAPABILITIES)
    assert set(method_shelf.LEVERS) == set(get_args(Lever))


def held_open() -> None:
    """The shelf without the form: a test runs whole scripts, and the form's button opens it for one of them."""
    import streamlit as st

    from cggm_core.ui import method_shelf

    if "mine" not in st.session_state:
        st.session_state["mine"] = [("cggm", "paper")]
        method_shelf.browse("mine", None)
    else:
        method_shelf.shelf("mine", None)


def test_ticks_outlive_a_search_and_are_taken_over() -> None:
    at = AppTest.from_function(held_open, default_timeout=60).run()
    assert at.checkbox("shelf.cggm.paper").value
    at.checkbox("shelf.ogm_ge.").check().run()
    at.text_input("shelf.search").set_value("teacher").run()
    assert [box.label for box in at.checkbox] == ["**UMT**"]
    at.checkbox("shelf.umt.").check().run()
    at.button("shelf.take").click().run()
    assert not at.exception
    assert at.session_state["mine"] == [("cggm", "paper"), ("ogm_ge", ""), ("umt", "")]
    at.text_input("shelf.search").set_value("").run()
    at.checkbox("shelf.cggm.paper").uncheck().run()
    at.button("shelf.take").click().run()
    assert at.session_state["mine"] == [("ogm_ge", ""), ("umt", "")]


def test_what_does_not_suit_the_data_cannot_be_ticked_and_says_why(root: Path, open_page: Open) -> None:
    at = opened(open_page, "phantom")
    closed = [box for box in at.checkbox if box.key and box.key.startswith("shelf.") and box.disabled]
    unsound = [card for card in catalog.all_cards("method").values() if "segmentation" not in card.tasks]
    assert len(closed) >= len(unsound) > 0
    assert any("Not here" in caption.value for caption in at.caption)


def test_the_form_says_how_long_it_will_take(root: Path, open_page: Open) -> None:
    at = open_page("new_run")
    assert any("not known yet" in caption.value for caption in at.caption)
