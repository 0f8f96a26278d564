"""The library: every card and every number can be read, and what it shows of programs is what the tests run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cggm_core import catalog
from cggm_core.cards import Param
from cggm_core.names import METRICS
from cggm_core.ui import shelves, snippets
from tests.pages.conftest import Open

SHELVES = {"Methods": "method", "Models": "model", "Diagnostics": "diagnostic", "Presets": "preset"}


def test_it_opens_on_the_three_lines(root: Path, open_page: Open) -> None:
    at = open_page("library")
    assert not at.exception
    assert at.code[0].value == snippets.examples()["plain_loop"].lines()


def test_every_program_is_shown_whole(root: Path, open_page: Open) -> None:
    at = open_page("library")
    for name, example in snippets.examples().items():
        at = at.selectbox(key="program").set_value(name).run()
        assert not at.exception
        assert [code.value for code in at.code][1:] == [example.lines(), example.source.rstrip("\n")]


@pytest.mark.parametrize("shelf", [*SHELVES, "Data"])
def test_every_card_can_be_read(shelf: str, root: Path, open_page: Open) -> None:
    at = open_page("library", shelf=shelf)
    for kind in ("dataset", "format") if shelf == "Data" else (SHELVES[shelf],):
        for name, card in catalog.all_cards(kind).items():
            at = at.selectbox(key=f"card_{kind}").set_value(name).run()
            assert not at.exception, (name, at.exception)
            assert card.title in [title.value.replace("\\", "") for title in at.header]


def test_a_link_names_a_card(root: Path, open_page: Open) -> None:
    at = open_page("library", shelf="Methods", card_method="ogm_ge")
    assert at.selectbox(key="card_method").value == "ogm_ge"


def test_every_number_is_explained(root: Path, open_page: Open) -> None:
    at = open_page("library", shelf="Numbers")
    assert not at.exception
    assert len(shelves.numbers()) == len(METRICS)
    assert set(shelves.numbers("gradient norm raw")["Name"]) == {"gradient_norm_raw"}
    assert shelves.numbers("nothing of the kind").empty
    assert "Computed from" in shelves.numbers().columns


@pytest.mark.parametrize(
    ("param", "words"),
    [
        (Param("a", 1.0, 0.0, 2.0), "from 0 to 2"),
        (Param("a", 1.0, 0.0, 2.0, low_open=True), "above 0 to 2"),
        (Param("a", 1, 1), "from 1"),
        (Param("a", True), "true, false"),
        (Param("a", "x", choices=("x", "y")), "x, y"),
        (Param("a", "x"), "any"),
    ],
)
def test_ranges_in_words(param: Param, words: str) -> None:
    assert shelves.ranged(param) == words
