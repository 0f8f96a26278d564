"""What a data file predicts: its task, and labels checked against it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.config import clean_text
from cggm_core.errors import DataError
from cggm_core.protocols.data import ModalitySpec, TaskSpec

TASKS = ("classification", "regression", "segmentation")
_MOST_OUTPUTS = 65_536
_LARGEST_WEIGHT = 1e6
_REGION_NAME = re.compile(r"[a-z0-9_]{1,32}")
FLOAT32_MAX = float(np.finfo(np.float32).max)


def make_task(shown: str, meta: Mapping[str, Any], y: NDArray[Any], modalities: Mapping[str, ModalitySpec]) -> TaskSpec:
    """The task that `meta` names, after `y` has been checked for it.

    Args:
        shown: the file's name in messages.
        meta: with `task`; `classes` and `class_names` where there are classes, `unit` where a label has one; of masks
            `regions` (name -> labels that make it) and `class_weights` (one number a class, of the cross-entropy).
        y: as read.
        modalities: specification by modality, which masks are held against.

    Raises:
        DataError: naming what was found in `y` or `meta` and what was expected.
    """
    for key in ("regions", "class_weights"):
        if key in meta and meta["task"] != "segmentation":
            raise DataError(f"{shown}: meta has {key}, which only segmentation uses, but task {meta['task']}; drop one")
    match meta["task"]:
        case "classification":
            _check_rank(shown, y, (1,), "[samples]")
            classes = _classes(shown, meta, y)
            return TaskSpec("classification", classes, _class_names(shown, meta, classes))
        case "regression":
            _check_rank(shown, y, (1, 2), "[samples] or [samples, outputs]")
            _check_numbers(shown, y)
            outputs = 1 if y.ndim == 1 else y.shape[1]
            if not 1 <= outputs <= _MOST_OUTPUTS:
                raise DataError(f"{shown}: y has {outputs} outputs a sample, expected 1 to {_MOST_OUTPUTS}")
            unit = meta.get("unit", "")
            return TaskSpec("regression", outputs, unit=clean_text(unit, 40) if isinstance(unit, str) else "")
        case _:
            _check_rank(shown, y, (3,), "[samples, height, width]")
            _check_masks(shown, y, modalities)
            classes = _classes(shown, meta, y)
            options = {"class_weights": _class_weights(shown, meta, classes), "regions": _regions(shown, meta, classes)}
            given = {key: value for key, value in options.items() if value}
            return TaskSpec("segmentation", classes, _class_names(shown, meta, classes), options=given)


def _check_rank(shown: str, y: NDArray[Any], ranks: tuple[int, ...], expected: str) -> None:
    if y.ndim not in ranks:
        raise DataError(f"{shown}: y has shape {list(y.shape)}, expected {expected}")


def _classes(shown: str, meta: Mapping[str, Any], y: NDArray[Any]) -> int:
    """How many classes; labels are checked to lie below.

    A class that no training sample has is allowed: a subset of a data set keeps its labels.
    """
    if y.dtype.kind not in "iu":
        broken = int(np.isnan(y).sum()) if y.dtype.kind == "f" else 0
        raise DataError(
            f"{shown}: y is {y.dtype}{f' with {broken} NaN' if broken else ''}, expected whole-number labels "
            f"(int64, say) for {meta['task']}"
        )
    names = _named(meta)
    stated = len(names) if isinstance(names, list) and names else int(y.max(initial=1)) + 1
    if not isinstance(meta.get("classes", []), list):
        stated = meta["classes"]
    if isinstance(stated, bool) or not isinstance(stated, int) or not 2 <= stated <= _MOST_OUTPUTS:
        raise DataError(
            f"{shown}: found {stated!r:.60} classes in meta, expected a whole number from 2 to {_MOST_OUTPUTS}"
        )
    outside = (y < 0) | (y >= stated)
    if outside.any():
        where = np.argwhere(outside)[0]
        raise DataError(
            f"{shown}: y holds label {y[tuple(where)]} at index {where.tolist()} "
            f"({int(outside.sum())} of {y.size} outside), expected 0 to {stated - 1} for {stated} classes"
        )
    return stated


def _named(meta: Mapping[str, Any]) -> Any:
    """Class names as stated: under `class_names`, or under `classes` in place of their number."""
    classes = meta.get("classes")
    return meta.get("class_names", classes if isinstance(classes, list) else [])


def _class_names(shown: str, meta: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    names = _named(meta)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{shown}: class_names in meta is {names!r:.60}, expected a list of texts")
    if names and len(names) != classes:
        raise DataError(f"{shown}: meta has {len(names)} class_names, expected {classes}, one a class")
    return tuple(clean_text(name, 80) for name in names)


def _class_weights(shown: str, meta: Mapping[str, Any], classes: int) -> tuple[float, ...]:
    """Weights of the cross-entropy, one a class; none given is no weight at all."""
    if "class_weights" not in meta:
        return ()
    given = meta["class_weights"]
    numbers = isinstance(given, list) and all(_is_number(v) and 0 < v <= _LARGEST_WEIGHT for v in given)
    if not numbers or len(given) != classes:
        raise DataError(
            f"{shown}: class_weights in meta is {given!r:.80}, expected a list of {classes} numbers above 0, up to "
            f"{_LARGEST_WEIGHT:g}, one a class"
        )
    return tuple(map(float, given))


def _regions(shown: str, meta: Mapping[str, Any], classes: int) -> dict[str, tuple[int, ...]]:
    """Unions of labels whose Dice is told by name, in the order of the file."""
    given = meta.get("regions", {})
    if not isinstance(given, dict) or ("regions" in meta and not given):
        raise DataError(f"{shown}: regions in meta is {given!r:.80}, expected an object: a name, and a list of labels")
    for name, labels in given.items():
        if not _REGION_NAME.fullmatch(name) or name == "mean":
            raise DataError(
                f"{shown}: region {name[:40]!r} in meta cannot be a metric's name (dice_...); expected 1 to 32 small "
                "letters, digits and underscores, not 'mean'"
            )
        whole = isinstance(labels, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in labels)
        if not whole or not labels or len(set(labels)) < len(labels) or not set(labels) <= set(range(1, classes)):
            raise DataError(
                f"{shown}: region {name!r} in meta is {labels!r:.60}, expected a list of labels from 1 to "
                f"{classes - 1}, each once (0 is the background)"
            )
    return {name: tuple(labels) for name, labels in given.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_numbers(shown: str, y: NDArray[Any]) -> None:
    if y.dtype.kind not in "iuf":
        raise DataError(f"{shown}: y is {y.dtype}, expected numbers (float32, say) for regression")
    check_finite(shown, "y", y)


def _check_masks(shown: str, y: NDArray[Any], modalities: Mapping[str, ModalitySpec]) -> None:
    for modality, spec in modalities.items():
        if spec.kind != "image" or spec.shape[1:] != y.shape[1:]:
            raise DataError(
                f"{shown}: y has masks of {y.shape[1]}x{y.shape[2]}, but modality {modality!r} is "
                f"{spec.kind} {list(spec.shape)}; expected images of the masks' size for segmentation"
            )


def check_finite(shown: str, name: str, values: NDArray[Any]) -> None:
    """Refuse NaN, infinity and what float32 cannot hold.

    Raises:
        DataError: with their count and the first index.
    """
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values) if values.itemsize < 8 else ~(np.abs(values) <= FLOAT32_MAX)
    if bad.any():
        where = np.argwhere(bad)[0]
        raise DataError(
            f"{shown}: array {name!r} holds {int(bad.sum())} values that are NaN, infinite or beyond "
            f"float32, the first ({values[tuple(where)]}) at index {where.tolist()}; expected finite "
            "numbers, fill or drop what is missing"
        )
