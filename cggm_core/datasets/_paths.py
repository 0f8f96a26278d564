"""What lies at a path a user names, told from names alone; the format's own reader looks inside."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from cggm_core import catalog
from cggm_core.cards import Value
from cggm_core.errors import DataError
from cggm_core.protocols.data import DataBundle, DatasetBuilder

PICKLES = (".pkl", ".pickle", ".p")
_LOOKED_AT = 20_000
_LOOKED_FOR = (
    "a .npz file, a pickle (.pkl, .pickle, .p), or a folder with NIfTI volumes (.nii, .nii.gz), with slices "
    "(<patient>/*.npz), or with features (train_image.npy, train.npz or train.pkl beside the same for test)"
)


class PathBuilder(DatasetBuilder):
    """A format's reader: made with the path and the knobs of its card.

    Args:
        path: of the file or folder; it is only read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path


def open_path(path: Path, knobs: Mapping[str, Value]) -> DataBundle:
    """The data at a path.

    Args:
        path: of a file or folder.
        knobs: of the card of the format that lies there.

    Raises:
        DataError: if nothing known lies there, or it is not as its format has it.
        ConfigError: for a knob that the format does not have.
    """
    name = format_of(path)
    values = catalog.card("format", name).resolve(dict(knobs))
    given = {"path": path, **values}
    return catalog.load("format", name, PathBuilder)(**given).build()


def format_of(path: Path) -> str:
    """Name of the format that lies at a path.

    Raises:
        DataError: saying what was found and what was looked for.
    """
    if path.is_dir():
        found = format_of_names(names := _names_below(path))
        what = (
            f"a folder with {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "an empty folder"
        )
    else:
        found = format_of_file(path.name)
        what = f"a file {path.suffix or 'without an ending'}" if path.is_file() else "nothing"
        found = found if path.is_file() else ""
    if not found:
        raise DataError(f"{path.name}: found {what} at {str(path.parent)!r}, expected {_LOOKED_FOR}")
    return found


def format_of_file(name: str) -> str:
    """Format of a file by its name, "" if none."""
    ending = os.path.splitext(name.lower())[1]
    return "npz" if ending == ".npz" else "pickled" if ending in PICKLES else ""


def format_of_names(names: Iterable[str]) -> str:
    """Format of a folder by the names below it (`/` between folders), "" if none."""
    seen = [name.lower() for name in names]
    if any(name.endswith((".nii", ".nii.gz")) for name in seen):
        return "brats"
    whole = {"train.npz", *(f"train{ending}" for ending in PICKLES)}
    if any(name in whole or (name.startswith(("train_", "train/")) and name.endswith(".npy")) for name in seen):
        return "features"
    return "slices" if any("/" in name and name.endswith(".npz") for name in seen) else ""


def _names_below(folder: Path) -> list[str]:
    """Names of the first files in it and in its folders, six levels deep, in alphabetical order of folders."""

    def walk(place: Path, above: str, levels: int) -> Iterable[str]:
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder.name}: cannot be listed ({error.strerror or error})") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                yield above + entry.name
            elif levels and entry.is_dir():
                yield from walk(Path(entry.path), f"{above}{entry.name}/", levels - 1)

    return list(islice(walk(folder, "", 5), _LOOKED_AT))
