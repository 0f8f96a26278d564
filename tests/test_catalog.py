"""Cards out of the syntax tree: literals only, nothing run."""

from pathlib import Path

import pytest

from cggm_core import catalog
from cggm_core.cards import Card, MethodCard, Param, Preset
from cggm_core.errors import CardError, ConfigError, UnknownNameError


def written(folder: Path, text: str, name: str = "thing.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_card_is_read_without_running_its_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "raise SystemExit\nCARD = MethodCard(name='thing', title='T', summary='a ' + 'b', "
        "params=(Param('alpha', 0.5, -1.0, 1.0),), neutral={'alpha': 0.0})",
    )
    card = catalog.read_card(path)
    assert isinstance(card, MethodCard)
    assert (card.summary, card.param("alpha").low, card.neutral) == ("a b", -1.0, {"alpha": 0.0})


@pytest.mark.parametrize(
    "text",
    [
        "CARD = MethodCard(name=open('/etc/passwd').read(), title='', summary='')",
        "CARD = __import__('os').system('true')",
        "CARD = MethodCard(name='a' * 10**9, title='', summary='')",
        "CARD = 'thing'",
        "card = 3",
        "def broken(:",
    ],
)
def test_anything_but_a_literal_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CardError):
        catalog.read_card(written(tmp_path, text))


def test_name_and_file_must_agree(tmp_path: Path, monkeypatch) -> None:
    written(tmp_path, "CARD = MethodCard(name='other', title='', summary='')")
    monkeypatch.setitem(catalog.FOLDERS, "method", (tmp_path, MethodCard))
    with pytest.raises(CardError, match="must be the same word"):
        catalog.all_cards("method")


def test_a_new_file_appears_and_a_private_one_does_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(catalog.FOLDERS, "method", (tmp_path, MethodCard))
    assert catalog.all_cards("method") == {}
    written(tmp_path, "CARD = MethodCard(name='thing', title='', summary='')")
    written(tmp_path, "nothing = 1", "_helper.py")
    assert list(catalog.all_cards("method")) == ["thing"]
    with pytest.raises(UnknownNameError, match="no method named 'x'; there are: thing"):
        catalog.card("method", "x")


def test_a_card_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(CardError, match="declares a knob twice"):
        Card("c", "", "", (Param("a", 1), Param("a", 2)))
    with pytest.raises(ConfigError, match="a must be from 0 to 1, not 2"):
        Card("c", "", "", (Param("a", 2, 0, 1),))
    with pytest.raises(ConfigError, match="has no setting 'b'"):
        Card("c", "", "", (Param("a", 1),), (Preset("p", "", {"b": 1}),))


@pytest.mark.parametrize(
    ("param", "value", "checked"),
    [
        (Param("a", 1), 2.0, 2),
        (Param("a", 1.0), 2, 2.0),
        (Param("a", "x", choices=("x", "y")), "y", "y"),
        (Param("a", False), True, True),
    ],
)
def test_a_value_takes_the_knobs_type(param: Param, value: object, checked: object) -> None:
    found = param.check(value)
    assert found == checked
    assert type(found) is type(checked)
