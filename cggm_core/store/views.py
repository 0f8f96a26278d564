"""Named views of a list of runs, kept beside the runs so that every browser sees them; written by the app alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cggm_core.config import clean_text
from cggm_core.errors import StoreError
from cggm_core.store.files import atomic_write, locked
from cggm_core.store.layout import read_json_file

VIEWS = ".views.json"
NAME_LENGTH, MOST_VIEWS, MOST_VALUES, VALUE_LENGTH = 80, 200, 100, 500
Query = dict[str, list[str]]


def read_views(root: Path | str) -> dict[str, Query]:
    """Parameters of an address by the name of the view, in alphabetical order; a broken file counts as none."""
    try:
        given = read_json_file(Path(root) / VIEWS)
    except (OSError, ValueError):
        return {}
    if not isinstance(given, dict):
        return {}
    found = {clean_text(name, NAME_LENGTH): _query(query) for name, query in given.items() if isinstance(query, dict)}
    return {name: found[name] for name in sorted(found, key=str.casefold)[:MOST_VIEWS] if name}


def keep_view(root: Path | str, name: str, query: Mapping[str, Sequence[str]] | None) -> None:
    """Keep a view under a name, in place of one of that name; None forgets it.

    Raises:
        StoreError: if the name is empty, there are too many, or the folder cannot be written.
    """
    root, name = Path(root), clean_text(name, NAME_LENGTH)
    if not name:
        raise StoreError("a view needs a name of letters, digits or signs; type one")
    try:
        with locked(root / f"{VIEWS}.lock"):
            views = read_views(root)
            if query is None:
                views.pop(name, None)
            elif name not in views and len(views) >= MOST_VIEWS:
                raise StoreError(f"there are {MOST_VIEWS} views already, the most that are kept; forget one first")
            else:
                views[name] = _query(query)
            atomic_write(root / VIEWS, json.dumps(views, indent=2))
    except OSError as error:
        raise StoreError(f"the views in {root} cannot be written: {error.strerror or error}") from error


def _query(given: Mapping[str, object]) -> Query:
    """Only what an address can hold: short texts by short names."""
    made: Query = {}
    for name, values in given.items():
        if isinstance(values, list | tuple) and len(name) <= NAME_LENGTH:
            texts = [value for value in values if isinstance(value, str) and len(value) <= VALUE_LENGTH]
            made[name] = texts[:MOST_VALUES]
    return made
