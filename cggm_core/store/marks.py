"""What the user says about a run: name, tags, notes, pinned, archived; written by the app alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cggm_core.config import NAME_LENGTH, clean_text
from cggm_core.errors import RunNotFoundError, StoreError
from cggm_core.store.files import atomic_write, locked
from cggm_core.store.layout import MARKS, read_json_file

NOTES_LENGTH, TAG_LENGTH, MOST_TAGS = 20_000, 60, 100


@dataclass(frozen=True)
class Marks:
    """The user's marks on one run, cleaned of control and direction characters."""

    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    pinned: bool = False
    archived: bool = False


def read_marks(folder: Path, config: Mapping[str, Any]) -> Marks:
    """Marks of a run; what nobody changed comes from the configuration, a broken file counts as none."""
    try:
        given = read_json_file(folder / MARKS)
    except (OSError, ValueError):
        given = None
    return _cleaned({**config, **given} if isinstance(given, dict) else config)


def update_marks(
    folder: Path | str, *, name: str | None = None, tags: Sequence[str] | None = None,
    notes: str | None = None, pinned: bool | None = None, archived: bool | None = None,
) -> Marks:  # fmt: skip
    """Change the marks given and leave the others; two sessions at once lose nothing.

    Raises:
        RunNotFoundError: if the folder is gone.
        StoreError: if it cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunNotFoundError(f"there is no run folder {folder}; it may have been moved to the trash")
    changes = {"name": name, "tags": tags, "notes": notes, "pinned": pinned, "archived": archived}
    try:
        with locked(folder / f".{MARKS}.lock"):
            try:
                config = read_json_file(folder / "config.json")
            except (OSError, ValueError):
                config = None
            before = read_marks(folder, config if isinstance(config, dict) else {})
            given = {key: value for key, value in changes.items() if value is not None}
            marks = _cleaned(asdict(replace(before, **given)))  # type: ignore[arg-type]
            atomic_write(folder / MARKS, json.dumps(asdict(marks), indent=2))
    except OSError as error:
        raise StoreError(f"the marks of run {folder.name} cannot be written: {error.strerror or error}") from error
    return marks


def _cleaned(given: Mapping[str, Any]) -> Marks:
    tags = given.get("tags", ())
    tags = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list | tuple) else []
    cleaned = (clean_text(tag, TAG_LENGTH) for tag in tags[:MOST_TAGS])
    return Marks(
        name=_text(given.get("name"), NAME_LENGTH),
        tags=tuple(dict.fromkeys(tag for tag in cleaned if tag)),
        notes=_text(given.get("notes"), NOTES_LENGTH, lines=True),
        pinned=given.get("pinned") is True,
        archived=given.get("archived") is True,
    )


def _text(value: object, limit: int, *, lines: bool = False) -> str:
    return clean_text(value, limit, lines=lines) if isinstance(value, str) else ""
