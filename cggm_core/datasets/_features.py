"""Features that networks made of images and texts, one file a split or one a modality: UPMC-Food101 and its like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from cggm_core.datasets._archive import Archive
from cggm_core.datasets._arrays import make_bundle, stratified_split
from cggm_core.datasets._safe_pickle import load_pickle
from cggm_core.datasets._targets import check_finite
from cggm_core.errors import ConfigError, DataError
from cggm_core.names import check_modality
from cggm_core.protocols.data import DataBundle, Kind, TaskSpec

LABELS = ("labels", "label", "y")
_PARTS = {"train": ("train",), "val": ("val", "valid", "dev"), "test": ("test",)}
_PICKLES = (".pkl", ".pickle", ".p")
_COPIES = 3  # what is read, what is scaled, what is shared out to the splits
_MOST_CLASSES = 65_536
Array = NDArray[Any]


def read_features(folder: Path, split_seed: int) -> DataBundle:
    """The data of a folder of feature files.

    Args:
        folder: with `train`, `test` and perhaps `val`.
        split_seed: of the tenth of train that validates where there is no `val`, stratified by class.

    Raises:
        DataError: naming the file, what was found and what was expected.
    """
    shown = folder.name
    parts = {part: found for part, names in _PARTS.items() if (found := _part(folder, names))}
    for needed in ("train", "test"):
        if needed not in parts:
            raise DataError(
                f"{shown}: found no {needed} split, expected {needed}.npz, {needed}.pkl, or {needed}_image.npy, "
                f"{needed}_text.npy and {needed}_labels.npy"
            )
    modalities = tuple(name for name in parts["train"] if name not in LABELS)
    _check_arrays(shown, parts, modalities)
    size = sum(values.size for held in parts.values() for values in held.values()) * 4 * _COPIES
    if size > (free := psutil.virtual_memory().available):
        raise DataError(
            f"{shown}: needs {size / 1e9:.1f} GB in memory, but {free / 1e9:.1f} GB are free; take one vector a sample "
            "(the first token, say) in place of all tokens"
        )
    labels, names = _labels(shown, {part: held[_label_of(shown, part, held)] for part, held in parts.items()})
    inputs = {m: np.concatenate([np.asarray(held[m], np.float32) for held in parts.values()]) for m in modalities}
    for m, values in inputs.items():
        check_finite(shown, m, values)
    split = np.concatenate([np.full(len(labels[part]), list(_PARTS).index(part), np.int8) for part in parts])
    target = np.concatenate(list(labels.values()))
    if "val" not in parts:
        drawn = stratified_split(labels["train"], np.random.default_rng([split_seed, 0]), (0.9, 0.1))
        split[: len(drawn)] = drawn
    classes = max(2, int(target.max(initial=0)) + 1)
    kinds: dict[str, Kind] = {m: "vector" if values.ndim == 2 else "sequence" for m, values in inputs.items()}
    task = TaskSpec("classification", max(classes, len(names)), names)
    return make_bundle(shown, task, inputs=inputs, kinds=kinds, target=target, split=split)


def _part(folder: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """Arrays of a split by name, empty where there is none."""
    for name in names:
        shown = f"{folder.name}: {name}"
        if (path := folder / f"{name}.npz").is_file():
            with Archive(path, f"{shown}.npz") as archive:
                return {key: archive.read(key) for key in archive.headers}
        for ending in _PICKLES:
            if (path := folder / f"{name}{ending}").is_file():
                return _of_pickle(f"{shown}{ending}", load_pickle(path, f"{shown}{ending}"))
        single = {path.stem.removeprefix(f"{name}_"): path for path in sorted(folder.glob(f"{name}_*.npy"))}
        single |= {path.stem: path for path in sorted((folder / name).glob("*.npy"))}
        if single:
            return {key: _of_npy(folder.name, path) for key, path in single.items()}
    return {}


def _of_pickle(shown: str, held: Any) -> dict[str, Array]:
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        raise DataError(f"{shown}: found a {type(held).__name__}, expected a dictionary with image, text and labels")
    made = {}
    for name, values in held.items():
        plain = isinstance(values, (list, tuple)) and all(isinstance(v, (str, int)) for v in values)
        if name in LABELS and plain:
            values = np.asarray(values)
        if not isinstance(values, np.ndarray):
            if name in LABELS:
                raise DataError(f"{shown}: {name!r} is a {type(values).__name__}, expected an array of labels")
            continue  # names of files, say
        made[name] = values
    return made


def _of_npy(shown: str, path: Path) -> Array:
    try:
        made: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        why = (str(error).splitlines() or [""])[0][:120]
        raise DataError(
            f"{shown}: {path.name} is damaged, or holds Python objects, which are never loaded ({why}); expected what "
            "numpy.save writes of numbers or text"
        ) from error
    return made


def _check_arrays(shown: str, parts: Mapping[str, Mapping[str, Array]], modalities: tuple[str, ...]) -> None:
    if len(modalities) < 2:
        found = ", ".join(parts["train"]) or "nothing"
        raise DataError(f"{shown}: train holds {found}, expected two modalities at least (image and text) and labels")
    for m in modalities:
        try:
            check_modality(m)
        except ConfigError as error:
            raise DataError(f"{shown}: {error}") from error
    shapes = {m: parts["train"][m].shape[1:] for m in modalities}
    for part, held in parts.items():
        count = len(held[label]) if held[label := _label_of(shown, part, held)].ndim else 0
        for m in modalities:
            if m not in held:
                raise DataError(f"{shown}: {part} has no {m!r} (found {', '.join(held)}), train has")
            values = held[m]
            if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or 0 in values.shape[1:]:
                raise DataError(
                    f"{shown}: {m!r} of {part} is {values.dtype} of shape {list(values.shape)}, expected numbers "
                    "[samples, features] or [samples, tokens, features]"
                )
            if values.shape[1:] != shapes[m]:
                raise DataError(
                    f"{shown}: {m!r} has samples of {list(values.shape[1:])} in {part}, but {list(shapes[m])} in train"
                    "; expected one shape"
                )
            if len(values) != count:
                raise DataError(f"{shown}: {part} has {len(values)} samples of {m!r}, but {count} labels")


def _label_of(shown: str, part: str, held: Mapping[str, Array]) -> str:
    found = [name for name in LABELS if name in held]
    if len(found) != 1:
        raise DataError(
            f"{shown}: {part} has {' and '.join(found) or 'no labels'} (found {', '.join(held)}), expected one array "
            f"named {' or '.join(LABELS)}"
        )
    return found[0]


def _labels(shown: str, given: Mapping[str, Array]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Labels from 0 by split, and class names in alphabetical order where labels are text."""
    made: dict[str, Array] = {}
    texts = all(values.dtype.kind in "US" for values in given.values())
    names = np.unique(given["train"]) if texts else np.empty(0)
    for part, values in given.items():
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1 or not (texts or values.dtype.kind in "iu"):
            raise DataError(
                f"{shown}: labels of {part} are {values.dtype} of shape {list(values.shape)}, expected [samples], "
                "whole numbers from 0 or class names, alike in every split"
            )
        if texts:
            if len(unknown := np.setdiff1d(values, names)):
                raise DataError(f"{shown}: {part} has label {_word(unknown[0])!r:.60}, which train has not")
            values = np.searchsorted(names, values)
        if len(values) and not 0 <= values.min() <= values.max() < _MOST_CLASSES:
            worst = values.min() if values.min() < 0 else values.max()
            raise DataError(f"{shown}: labels of {part} hold {worst}, expected 0 to {_MOST_CLASSES - 1}")
        made[part] = np.asarray(values, np.int64)
    highest = int(made["train"].max(initial=-1))
    for part, values in made.items():
        if len(values) and values.max() > highest:
            raise DataError(f"{shown}: {part} has label {values.max()}, but the highest of train is {highest}")
    return made, tuple(_word(name) for name in names)


def _word(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
