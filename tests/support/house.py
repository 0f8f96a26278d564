"""The house as a table, and what of a source tree breaks it; pure, so that planted faults are checked too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "cggm_core"
# room: (floor, wing). Within a floor nobody imports a neighbour, but for ORDERED.
ROOMS: dict[str, tuple[int, str]] = {
    **dict.fromkeys(("errors", "names", "cards", "catalog", "config", "presets"), (0, "both")),
    "store": (1, "both"),
    "protocols": (2, "train"),
    "measures": (2, "train"),
    "analysis": (2, "look"),
    "embedding": (2, "look"),
    "methods": (3, "train"),
    "diagnostics": (3, "train"),
    "datasets": (3, "train"),
    "models": (3, "train"),
    "figures": (3, "look"),
    "engine": (4, "train"),
    "launch": (4, "look"),
    "cli": (5, "command"),
    "_commands": (5, "command"),
    "__main__": (5, "command"),
    "integrations": (5, "train"),
    "ui": (5, "look"),
    "examples": (6, "train"),
    "app": (6, "look"),
    "pages": (6, "look"),
}
# Rooms of one floor that may import those before them: floor 0 as the design has it; a step applies the one
# definition of a gradient that there is; the command line is one room in three places.
ORDERED = (
    ("errors", "names", "cards", "presets", "catalog", "config"),
    ("measures", "protocols"),
    ("_commands", "cli", "__main__"),
)
PLUGINS = ("methods", "diagnostics", "datasets", "models")
TRAIN_LIBRARIES = {"torch"}
STREAMLIT_ROOMS = {"ui", "pages", "app"}
SQL_ROOMS = {"store"}


@dataclass(frozen=True)
class Import:
    """One import of one file.

    Attributes:
        path: file, relative to the project.
        room: the file's room.
        target: dotted module imported, as far as it is known.
        line: where.
        deferred: whether it happens inside a function only.
        typing: whether it is for type checkers only.
    """

    path: Path
    room: str
    target: str
    line: int
    deferred: bool
    typing: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.target}"


def source_files(project: Path) -> list[Path]:
    """Every Python file of the house, relative to the project."""
    found = [*(project / PACKAGE).rglob("*.py"), *(project / "pages").glob("*.py"), project / "app.py"]
    return sorted(p.relative_to(project) for p in found if p.is_file() and "__pycache__" not in p.parts)


def room_of(path: Path) -> str:
    """Room of a file; "" for the package's own `__init__`."""
    parts = path.with_suffix("").parts
    if parts[0] != PACKAGE:
        return parts[0]
    return "" if parts[1] == "__init__" else parts[1]


def imports(project: Path) -> list[Import]:
    """Every import of every file."""
    return [found for path in source_files(project) for found in _of_file(project, path)]


def broken_floors(project: Path) -> list[str]:
    """Imports that go up, sideways or into the other wing, and rooms that no floor has."""
    broken = []
    for found in imports(project):
        if found.room and found.room not in ROOMS:
            broken.append(f"{found.path}: room {found.room!r} stands on no floor")
            continue
        target = _target_room(project, found.target)
        if not target or target == found.room:
            continue
        if target not in ROOMS:
            broken.append(f"{found}: room {target!r} stands on no floor")
        elif not found.room:
            if not found.typing:
                broken.append(f"{found}: the package itself imports nothing before it is asked for a name")
        elif why := _why_forbidden(found, target):
            broken.append(f"{found}: {why}")
    return broken


def broken_plugins(project: Path) -> list[str]:
    """Plug-ins that import a plug-in; helpers with a leading underscore are none."""
    broken = []
    for found in imports(project):
        if found.room in PLUGINS:
            parts = found.target.split(".")
            if parts[0] == PACKAGE and len(parts) > 2 and parts[1] in PLUGINS and not parts[2].startswith("_"):
                broken.append(f"{found}: plug-ins import no plug-in; the engine asks the catalog")
    return broken


def broken_libraries(project: Path) -> list[str]:
    """Streamlit outside ui and pages, torch outside the train wing, SQL outside the store, pages of pages."""
    broken = []
    for found in imports(project):
        library = found.target.split(".")[0]
        train = found.room in ROOMS and ROOMS[found.room][1] == "train"
        if library == "streamlit" and found.room not in STREAMLIT_ROOMS:
            broken.append(f"{found}: only ui, pages and app.py know Streamlit")
        if library in TRAIN_LIBRARIES and not train and not (found.typing and found.room == "_commands"):
            broken.append(f"{found}: only the train wing knows torch")
        if library == "sqlite3" and found.room not in SQL_ROOMS:
            broken.append(f"{found}: only the store speaks SQL")
        if library == "pages":
            broken.append(f"{found}: pages are found by their cards, never imported")
    return broken


def too_long(project: Path, files: list[Path], limit: int) -> list[str]:
    """Files of more lines than that."""
    counted = ((path, (project / path).read_text(encoding="utf-8").count("\n")) for path in files)
    return [f"{path}: {lines} lines, at most {limit}" for path, lines in counted if lines > limit]


def _why_forbidden(found: Import, target: str) -> str:
    (floor, wing), (other, others) = ROOMS[found.room], ROOMS[target]
    if wing == "command" and others == "train" and not (found.deferred or found.typing):
        return "the command line imports the train wing inside a command only"
    if {wing, others} == {"train", "look"}:
        return "the wings meet in the run folder only"
    if other > floor:
        return f"floor {floor} imports floor {other}"
    if other == floor and not any(
        found.room in row and target in row and row.index(target) < row.index(found.room) for row in ORDERED
    ):
        return "rooms of one floor do not import each other"
    if wing == "both" and others != "both":
        return "what both wings use imports neither"
    return ""


def _target_room(project: Path, target: str) -> str | None:
    """Room that an imported module belongs to; "" for the package itself, None if not of the house."""
    parts = target.split(".")
    if parts[0] in ("app", "pages"):
        return parts[0]
    if parts[0] != PACKAGE:
        return None
    if len(parts) == 1:
        return ""
    inside = project / PACKAGE / parts[1]
    # A public name taken from the package hides which floor it comes from, so it has no room.
    return parts[1] if inside.is_dir() or inside.with_suffix(".py").is_file() else f"{PACKAGE}.{parts[1]}"


def _of_file(project: Path, path: Path) -> Iterator[Import]:
    tree = ast.parse((project / path).read_text(encoding="utf-8"), filename=str(path))
    yield from _walk(tree, path, deferred=False, typing=False)


def _walk(node: ast.AST, path: Path, *, deferred: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            for target in _targets(child, path):
                yield Import(path, room_of(path), target, child.lineno, deferred, typing)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _walk(ast.Module(child.body, []), path, deferred=deferred, typing=True)
            yield from _walk(ast.Module(child.orelse, []), path, deferred=deferred, typing=typing)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, path, deferred=deferred or inside, typing=typing)


def _targets(node: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parents = path.with_suffix("").parts[: -node.level]
        base = ".".join([*parents, *filter(None, [base])])
    # `from package import part` may name a module, so the part belongs to the target.
    return [f"{base}.{alias.name}" for alias in node.names]
