"""The example programs as text: what the page shows is what the tests run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "examples"
WATCH = "watch"


@dataclass(frozen=True)
class Example:
    """One program.

    Attributes:
        name: of its module under `cggm_core.examples`.
        summary: the first sentence of its docstring.
        source: the whole text.
        watching: line numbers, from 1, of the statements that have to do with the watch.
    """

    name: str
    summary: str
    source: str
    watching: tuple[int, ...]

    def lines(self) -> str:
        """The statements that have to do with the watch, each at the margin."""
        rows = self.source.splitlines()
        margin = 0
        kept = []
        for place, number in enumerate(self.watching):
            row = rows[number - 1]
            # A statement of several lines keeps its own shape under its first one.
            if place == 0 or number != self.watching[place - 1] + 1 or _indent(row) <= margin:
                margin = _indent(row)
            kept.append(row[margin:])
        return "\n".join(kept)


def examples() -> dict[str, Example]:
    """Every example by name, the plain loop first."""
    files = [path for path in FOLDER.glob("*.py") if not path.name.startswith("_")]
    read = [_read(path) for path in sorted(files, key=lambda path: (path.stem != "plain_loop", path.stem))]
    return {example.name: example for example in read}


def watching(source: str) -> tuple[int, ...]:
    """Line numbers, from 1, of the simple statements that name something with "watch" in it."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and not hasattr(node, "body") and _mentions(node):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return tuple(sorted(found))


def without(source: str, lines: Sequence[int]) -> str:
    """The text less those lines."""
    dropped = set(lines)
    kept = [row for number, row in enumerate(source.splitlines(), 1) if number not in dropped]
    return "\n".join(kept) + "\n"


def _read(path: Path) -> Example:
    source = path.read_text(encoding="utf-8")
    told = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
    return Example(path.stem, " ".join(told.split()), source, watching(source))


def _mentions(statement: ast.stmt) -> bool:
    return any(
        WATCH in str(value).lower()
        for node in ast.walk(statement)
        for key, value in ast.iter_fields(node)
        if key in ("id", "attr", "name")
    )


def _indent(row: str) -> int:
    return len(row) - len(row.lstrip())
