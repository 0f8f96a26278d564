"""The catalog: finds plug-ins by their files, reads their cards without importing, loads one by name.

Why the syntax tree: a file under `methods/` subclasses torch modules, so importing it to learn its title would
load torch into the app. A card is a literal, and a literal can be read.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from cggm_core import cards
from cggm_core.errors import CardError, UnknownNameError

_CORE = Path(__file__).parent
FOLDERS: dict[str, tuple[Path, type[cards.Card]]] = {
    "method": (_CORE / "methods", cards.MethodCard),
    "dataset": (_CORE / "datasets", cards.DatasetCard),
    "format": (_CORE / "datasets" / "formats", cards.FormatCard),
    "model": (_CORE / "models", cards.ModelCard),
    "diagnostic": (_CORE / "diagnostics", cards.DiagnosticCard),
    "preset": (_CORE / "presets", cards.RunPresetCard),
    "page": (_CORE.parent / "pages", cards.PageCard),
}
_CONSTRUCTORS: dict[str, Any] = {
    "Param": cards.Param,
    "Preset": cards.Preset,
    **{kind.__name__: kind for _, kind in FOLDERS.values()},
}
T = TypeVar("T")


def _literal(node: ast.expr, path: Path) -> Any:
    """Value of a literal or of a card constructor called with literals; nothing else is evaluated."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Tuple():
            return tuple(_literal(e, path) for e in node.elts)
        case ast.List():
            return [_literal(e, path) for e in node.elts]
        case ast.Dict() if all(k is not None for k in node.keys):
            return {
                _literal(cast(ast.expr, k), path): _literal(v, path)
                for k, v in zip(node.keys, node.values, strict=True)
            }
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            both = _literal(left, path), _literal(right, path)
            if all(isinstance(side, str) for side in both):
                return both[0] + both[1]
        case ast.Call(func=ast.Name(id=name)) if name in _CONSTRUCTORS:
            positional = [_literal(a, path) for a in node.args]
            named = {k.arg: _literal(k.value, path) for k in node.keywords if k.arg}
            return _CONSTRUCTORS[name](*positional, **named)
    raise CardError(f"{path.name}:{node.lineno}: a card holds literals only, found {ast.unparse(node)[:80]!r}")


def read_card(path: Path) -> cards.Card:
    """The card of one plug-in file, without running it.

    Raises:
        CardError: if there is no `CARD = ...`, or it is not a literal.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        raise CardError(f"{path.name}:{error.lineno}: not valid Python: {error.msg}") from error
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "CARD":
            card = _literal(cast(Any, node).value, path)
            if isinstance(card, cards.Card):
                return card
    raise CardError(f"{path.name}: no 'CARD = ...Card(...)' found; every file of this folder declares one")


@cache
def _read(folder: Path, stamp: tuple[tuple[str, int], ...]) -> dict[str, cards.Card]:
    found: dict[str, cards.Card] = {}
    for name, _ in stamp:
        card = read_card(folder / name)
        if card.name != Path(name).stem:
            raise CardError(f"{name}: the card is named {card.name!r}; name and file must be the same word")
        found[card.name] = card
    return found


def all_cards(kind: str) -> dict[str, Any]:
    """Every card of a kind by name, in alphabetical order; re-read when a file changes.

    Args:
        kind: method, dataset, format, model, diagnostic or page.
    """
    folder = FOLDERS[kind][0]
    files = sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))
    return dict(_read(folder, tuple((p.name, p.stat().st_mtime_ns) for p in files)))


def card(kind: str, name: str) -> Any:
    """One card.

    Raises:
        UnknownNameError: listing the names there are.
    """
    known = all_cards(kind)
    if name not in known:
        raise UnknownNameError(kind, name, tuple(known))
    return known[name]


def module(kind: str, name: str) -> ModuleType:
    """Import one plug-in's module (this is what may load torch).

    Raises:
        UnknownNameError: listing the names there are.
    """
    card(kind, name)
    package = FOLDERS[kind][0].relative_to(_CORE.parent)
    return importlib.import_module(".".join((*package.parts, name)))


def load(kind: str, name: str, base: type[T]) -> type[T]:
    """The one class in a plug-in's module that is a `base`.

    Raises:
        UnknownNameError: if no such plug-in exists.
        CardError: if the module defines none, or more than one.
    """
    loaded = module(kind, name)
    found = [
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == loaded.__name__
    ]
    if len(found) != 1:
        raise CardError(f"{kind} {name!r} must define exactly one {base.__name__}, found {len(found)}")
    return found[0]
