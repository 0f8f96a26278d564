"""The exchange format: one `.npz` file with a user's own modalities, labels, split and description.

`x_<modality>` one array a modality, first axis the sample; `y` labels; `split` 0 train, 1 validation, 2 test;
`meta` a text array with JSON (`task`, and where they apply `classes`, `class_names`, `regions`, `class_weights`,
`kinds`, `modalities`, `unit`, `name`); anything named `aux_*` is left alone. Values are raw; they are standardised on
train here.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cggm_core.cards import TaskName
from cggm_core.config import clean_text
from cggm_core.datasets._archive import Archive, Header
from cggm_core.datasets._arrays import make_bundle
from cggm_core.datasets._targets import TASKS, check_finite, make_task
from cggm_core.errors import ConfigError, DataError
from cggm_core.names import check_modality
from cggm_core.protocols.data import DataBundle, Kind, ModalitySpec

_REQUIRED = ("y", "split", "meta")
_RANKS: dict[Kind, tuple[int, ...]] = {"vector": (1,), "sequence": (2,), "image": (2, 3)}
_CHANNELS = (1, 3, 4)
_FORMAT = "x_<modality>, y, split, meta and aux_<anything>"


def load_npz(path: str | os.PathLike[str], split: str = "") -> DataBundle:
    """The data of one file in the exchange format; no pickle is ever loaded.

    Args:
        path: of the `.npz` file.
        split: name of another split in the file: `aux_split_<name>` is read in place of `split`; "" reads `split`.

    Returns:
        The modalities in the order `meta` declares them, else in file order. uint8 samples of two or three
        axes are images, two axes of other numbers a sequence `[T, d]`, one axis a vector, three an image;
        `meta["kinds"]` may say otherwise. Images come channels first.

    Raises:
        DataError: one sentence naming the file, the array, what was found and what was expected.
    """
    return _load(Path(path), Path(path).name, f"aux_split_{split}" if split else "split")


def write_npz(
    path: str | os.PathLike[str],
    inputs: Mapping[str, ArrayLike],
    y: ArrayLike,
    split: ArrayLike,
    *,
    task: TaskName,
    classes: int | None = None,
    class_names: Sequence[str] = (),
    kinds: Mapping[str, Kind] | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    class_weights: Sequence[float] = (),
    unit: str = "",
    name: str = "",
) -> Path:
    """Write a file that `load_npz` reads; an invalid one is never left behind.

    Args:
        path: of the file; replaced if it is there.
        inputs: modality -> `[n, *sample]`, raw values.
        y: labels as the task has them.
        split: `[n]`, 0 train, 1 validation, 2 test.
        task: what is predicted.
        classes: how many; left out for regression, or to take the highest label plus one.
        class_names: one a class, or none.
        kinds: modality -> kind, where the default reading of an array is wrong.
        regions: of masks: name -> labels that make it, each told as a Dice of its own.
        class_weights: of masks: one number above 0 a class, for the cross-entropy.
        unit: of a regression label.
        name: of the data set, as shown; the file's name if empty.

    Returns:
        The path.

    Raises:
        DataError: as `load_npz`.
    """
    target = Path(path)
    meta: dict[str, Any] = {"task": task, "modalities": list(inputs), "kinds": dict(kinds or {})}
    optional = {
        "classes": classes, "class_names": list(class_names), "unit": unit, "name": name,
        "regions": {region: list(labels) for region, labels in (regions or {}).items()},
        "class_weights": list(class_weights),
    }  # fmt: skip
    meta |= {key: value for key, value in optional.items() if value}
    arrays = {f"x_{m}": np.asarray(values) for m, values in inputs.items()}
    arrays |= {"y": np.asarray(y), "split": np.asarray(split), "meta": np.array(json.dumps(meta))}
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **cast(Any, arrays))
        _load(part, target.name)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _load(path: Path, shown: str, splitting: str = "split") -> DataBundle:
    with Archive(path, shown) as archive:
        names = _modality_names(shown, archive.headers)
        _check_counts(shown, archive.headers, names)
        meta = _meta(shown, archive)
        names = _declared(shown, meta, names)
        kinds = _kinds(shown, meta, {m: archive.headers[f"x_{m}"] for m in names})
        split = _split(shown, _other_split(shown, archive, splitting))
        y = archive.read("y")
        inputs: dict[str, NDArray[Any]] = {}
        for modality in names:
            raw = archive.read(f"x_{modality}")
            check_finite(shown, f"x_{modality}", raw)
            inputs[modality] = _channels_first(raw) if kinds[modality] == "image" else raw
    specs = {m: ModalitySpec(kinds[m], tuple(raw.shape[1:])) for m, raw in inputs.items()}
    task = make_task(shown, meta, y, specs)
    if task.name == "regression":
        y = y.reshape(len(y), task.outputs).astype(np.float32)
    named = meta.get("name")
    title = clean_text(named, 200) if isinstance(named, str) else ""
    target = y if task.name == "regression" else y.astype(np.int64)
    return make_bundle(title or Path(shown).stem, task, inputs=inputs, kinds=kinds, target=target, split=split)


def _modality_names(shown: str, headers: Mapping[str, Header]) -> tuple[str, ...]:
    """Names behind `x_`, in file order, after every array's name was checked."""
    for required in _REQUIRED:
        if required not in headers:
            there = ", ".join(headers)[:200] or "no arrays"
            raise DataError(f"{shown}: array {required!r} is missing (found {there}); expected {_FORMAT}")
    unknown = [n for n in headers if n not in _REQUIRED and not n.startswith(("x_", "aux_"))]
    if unknown:
        raise DataError(f"{shown}: found array {unknown[0][:80]!r}, expected {_FORMAT}; rename it x_... or aux_...")
    names = tuple(n.removeprefix("x_") for n in headers if n.startswith("x_"))
    seen: dict[str, str] = {}
    for name in names:
        try:
            check_modality(name)
        except ConfigError as error:
            raise DataError(f"{shown}: array {('x_' + name)[:80]!r}: {error}") from error
        folded = unicodedata.normalize("NFKC", name).casefold()
        if (other := seen.setdefault(folded, name)) != name:
            raise DataError(
                f"{shown}: modalities {other!r} and {name!r} differ in letter case or spelling only, "
                "expected names that files and people can tell apart"
            )
    if len(names) < 2:
        found = f"one modality ({names[0]!r})" if names else "no x_ array"
        raise DataError(f"{shown}: found {found}, expected at least two arrays named x_<modality>")
    return names


def _check_counts(shown: str, headers: Mapping[str, Header], names: tuple[str, ...]) -> None:
    counts = {name: (headers[name].shape or (None,))[0] for name in ("y", "split", *(f"x_{m}" for m in names))}
    if len(set(counts.values())) > 1 or None in counts.values():
        found = ", ".join(f"{name} {'no axis' if n is None else n}" for name, n in counts.items())
        raise DataError(f"{shown}: numbers of samples differ ({found}), expected one first axis in all of them")


def _meta(shown: str, archive: Archive) -> dict[str, Any]:
    header = archive.headers["meta"]
    if header.dtype.kind != "U" or header.shape != ():
        raise DataError(
            f"{shown}: meta is {header.dtype} of shape {list(header.shape)}, expected one text with JSON: "
            "numpy.array(json.dumps({...}))"
        )
    try:
        meta = json.loads(str(archive.read("meta")))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown}: meta is not valid JSON ({error!s:.120})") from error
    if not isinstance(meta, dict) or meta.get("task") not in TASKS:
        found = f"task {meta.get('task')!r:.60}" if isinstance(meta, dict) else type(meta).__name__
        raise DataError(f"{shown}: found {found} in meta, expected an object with task: {', '.join(TASKS)}")
    return meta


def _declared(shown: str, meta: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Modalities in declared order; undeclared ones follow."""
    declared = meta.get("modalities", [])
    if not isinstance(declared, (list, dict)) or not all(isinstance(name, str) for name in declared):
        raise DataError(
            f"{shown}: modalities in meta is {declared!r:.60}, expected a list of names or an object by name"
        )
    for name in declared:
        if name not in names:
            raise DataError(
                f"{shown}: meta declares modality {name[:64]!r}, but there is no array "
                f"{('x_' + name)[:80]!r} (found {', '.join(names)})"
            )
    return tuple(dict.fromkeys([*declared, *names]))


def _kinds(shown: str, meta: Mapping[str, Any], headers: Mapping[str, Header]) -> dict[str, Kind]:
    stated = meta.get("kinds", {})
    if not isinstance(stated, dict) or not set(stated) <= set(headers):
        raise DataError(
            f"{shown}: kinds in meta is {stated!r:.80}, expected an object by modality ({', '.join(headers)})"
        )
    return {m: _kind(shown, f"x_{m}", header, stated.get(m)) for m, header in headers.items()}


def _kind(shown: str, name: str, header: Header, stated: object) -> Kind:
    """Kind of a modality from its number format and axes, or as stated if the axes allow it."""
    shape, dtype = header.shape[1:], header.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise DataError(f"{shown}: array {name!r} is {dtype}, expected integers or floats of at most 64 bits")
    if not 1 <= len(shape) <= 3 or 0 in shape:
        raise DataError(
            f"{shown}: array {name!r} has samples of shape {list(shape)}, expected [d], [T, d], [H, W] or an "
            "image with channels, no axis empty"
        )
    if stated is not None and stated not in get_args(Kind):
        raise DataError(f"{shown}: kind of {name!r} is {stated!r:.60} in meta, expected vector, sequence or image")
    if stated is not None and len(shape) not in _RANKS[cast(Kind, stated)]:
        raise DataError(
            f"{shown}: meta calls {name!r} a {stated}, but its samples have shape {list(shape)}; expected "
            f"{' or '.join(str(rank) for rank in _RANKS[cast(Kind, stated)])} axes"
        )
    by_rank: dict[int, Kind] = {1: "vector", 2: "image" if dtype == np.uint8 else "sequence", 3: "image"}
    return cast(Kind, stated or by_rank[len(shape)])


def _channels_first(raw: NDArray[Any]) -> NDArray[Any]:
    """`[n, channels, height, width]`; where both ends could be channels, the shorter end is."""
    if raw.ndim == 3:
        return raw[:, None]
    first, last = raw.shape[1], raw.shape[3]
    if last in _CHANNELS and (first not in _CHANNELS or last <= first):
        return np.moveaxis(raw, 3, 1)
    return raw


def _other_split(shown: str, archive: Archive, name: str) -> NDArray[Any]:
    if name in archive.headers:
        split = archive.read(name)
        if len(split) == archive.headers["y"].shape[0]:
            return split
        raise DataError(f"{shown}: {name} has {len(split)} entries, y has {archive.headers['y'].shape[0]}")
    others = sorted(n.removeprefix("aux_split_") for n in archive.headers if n.startswith("aux_split_"))
    raise DataError(f"{shown}: there is no {name}; other splits in the file: {', '.join(others) or 'none'}")


def _split(shown: str, split: NDArray[Any]) -> NDArray[Any]:
    expected = "expected 0 (train), 1 (validation) and 2 (test)"
    if split.dtype.kind not in "iu" or split.ndim != 1:
        raise DataError(f"{shown}: split is {split.dtype} of shape {list(split.shape)}, {expected}, one a sample")
    outside = np.flatnonzero((split < 0) | (split > 2))
    if len(outside):
        first = int(outside[0])
        raise DataError(f"{shown}: split holds {split[first]} at index {first}, {expected}")
    for code, part in ((0, "train"), (1, "validation")):
        if not (split == code).any():
            raise DataError(f"{shown}: split holds no {code}, so the {part} split is empty; {expected}")
    return split
