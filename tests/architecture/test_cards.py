"""A card read out of the syntax tree equals the card that importing the file makes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest

from cggm_core import cards, catalog
from cggm_core.catalog import FOLDERS, all_cards, module, read_card
from cggm_core.config import default_model

EVERY = [(kind, name) for kind in FOLDERS for name in all_cards(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_card_read_equals_the_card_imported(kind: str, name: str) -> None:
    assert all_cards(kind)[name] == _made(kind, name)


def test_there_are_methods_data_sets_and_models() -> None:
    assert {"joint", "cggm"} <= set(all_cards("method"))
    assert {"digits_views", "synthetic"} <= set(all_cards("dataset"))
    assert "late_fusion" in all_cards("model")


def test_each_task_has_one_model_where_none_is_named() -> None:
    models = all_cards("model")
    for task in get_args(cards.TaskName):
        assert [name for name, card in models.items() if task in card.default_for] == [default_model(task)]
    assert all(set(card.default_for) <= set(card.tasks) for card in models.values())


def test_a_card_that_is_changed_after_it_was_written_down_is_seen(tmp_path: Path) -> None:
    sly = tmp_path / "sly.py"
    sly.write_text(
        "from cggm_core.cards import MethodCard\n"
        'CARD = MethodCard(name="sly", title="Sly", summary="One thing.")\n'
        'CARD = MethodCard(name="sly", title="Sly", summary="Another.")\n'
    )
    space: dict[str, Any] = {}
    exec(compile(sly.read_text(), str(sly), "exec"), space)
    assert read_card(sly) != space["CARD"]


def _made(kind: str, name: str) -> object:
    if kind != "page":
        return module(kind, name).CARD
    # Importing a page draws it; what Python makes of its card's own statement is what is compared.
    tree = ast.parse((FOLDERS[kind][0] / f"{name}.py").read_text(encoding="utf-8"))
    mine = [
        node for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CARD"
    ]  # fmt: skip
    space = {key: value for key, value in vars(cards).items() if not key.startswith("_")}
    exec(compile(ast.Module(mine, []), name, "exec"), space)
    return space["CARD"]


def test_every_folder_of_the_catalog_is_read() -> None:
    for kind, (folder, base) in catalog.FOLDERS.items():
        if folder.is_dir():
            assert all(isinstance(card, base) for card in all_cards(kind).values())
