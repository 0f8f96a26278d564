"""Slices of volumes, kept once on disk and read from there: a set that no memory holds can still be trained on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from cggm_core.datasets._cache import cached, key_of
from cggm_core.errors import DataError
from cggm_core.protocols.data import SPLITS, DataBundle, ModalitySpec, Split, TaskSpec

FORMAT = 1  # of the folder in the cache; what an older version kept is made again
Array = NDArray[Any]


@dataclass(frozen=True)
class Block:
    """Slices of one patient.

    Attributes:
        patient: place in the list of patients.
        images: contrast -> `[k, h, w]`, finite.
        labels: `[k, h, w]`, 0 to 255.
    """

    patient: int
    images: Mapping[str, Array]
    labels: Array


@dataclass(frozen=True)
class Plan:
    """What will come, known before any image is read.

    Attributes:
        contrasts: in order.
        patients: names.
        slices: how many in all.
        size: height and width.
        dtype: number format in which images are kept.
    """

    contrasts: tuple[str, ...]
    patients: tuple[str, ...]
    slices: int
    size: tuple[int, int]
    dtype: str


@dataclass(frozen=True)
class SliceSet:
    """Slices in the cache.

    Attributes:
        images: contrast -> `[n, h, w]`, memory-mapped.
        labels: `[n, h, w]` uint8, memory-mapped.
        patient: `[n]`, place in `patients`.
        moments: `[n, contrasts, 2]`, sum and sum of squares over the pixels of each slice.
        patients: names.
        classes: highest label plus one.
        digest: of the content.
    """

    images: Mapping[str, Array]
    labels: Array
    patient: Array
    moments: Array
    patients: tuple[str, ...]
    classes: int
    digest: str


class MappedImages:
    """Standardised on the way out: `[n, 1, h, w]` float32, of which only the samples asked for are in memory."""

    def __init__(self, raw: Array, rows: Array, mean: float, factor: float) -> None:
        self._raw, self._rows, self._mean, self._factor = raw, rows, np.float32(mean), np.float32(factor)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        taken = self._raw[self._rows[index.numpy()]].astype(np.float32)
        return torch.from_numpy((taken - self._mean) * self._factor)[:, None]


class MappedLabels:
    """`[n, h, w]` int64, of which only the samples asked for are in memory."""

    def __init__(self, raw: Array, rows: Array) -> None:
        self._raw, self._rows = raw, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self._raw[self._rows[index.numpy()]].astype(np.int64))


def prepared(
    shown: str, files: Sequence[Path], options: Any, plan: Callable[[], Plan], blocks: Callable[[], Iterable[Block]]
) -> SliceSet:
    """The slices, from the cache if these files were prepared in this way before.

    Args:
        shown: the data's name in messages.
        files: that decide the content, each named once.
        options: that decide it too, JSON types.
        plan: looks the files over.
        blocks: reads them, one patient in memory at a time.

    Raises:
        DataError: as `plan` and `blocks` do, or if the cache cannot be written.
    """
    try:
        key = key_of(files, [FORMAT, options])
    except OSError as error:
        raise DataError(f"{shown}: {error.filename!r} cannot be read ({error.strerror})") from error
    for _ in range(2):
        folder = cached(shown, "slices", key, lambda place: _write(place, *_read(shown, plan, blocks)))
        try:
            return _opened(folder)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            # A disk that filled up or lost power left it so; the user's files are whole, so it is made again.
            shutil.rmtree(folder, ignore_errors=True)
    raise DataError(f"{shown}: the prepared slices in {str(folder)!r} are damaged, twice; look at that disk")


def _read(
    shown: str, plan: Callable[[], Plan], blocks: Callable[[], Iterable[Block]]
) -> tuple[Plan, Iterator[Block]]:  # fmt: skip
    """Plan and blocks, whose errors of reading are the user's files' and not the cache's."""

    def unreadable(error: OSError) -> DataError:
        return DataError(
            f"{shown}: {error.filename or 'a file'} cannot be read ({error.strerror or error}); look at it"
        )

    def one_by_one() -> Iterator[Block]:
        try:
            yield from blocks()
        except OSError as error:
            raise unreadable(error) from error

    try:
        return plan(), one_by_one()
    except OSError as error:
        raise unreadable(error) from error


def _opened(folder: Path) -> SliceSet:
    """What `_write` left; any of the errors of reading where it is damaged."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    held = {m: np.load(folder / f"image{i}.npy", mmap_mode="r") for i, m in enumerate(index["contrasts"])}
    labels, patient, moments = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _TABLES)
    shapes = {labels.shape, *(raw.shape for raw in held.values())}
    if len(shapes) > 1 or not len(labels) == len(patient) == len(moments) or moments.shape[1:] != (len(held), 2):
        raise ValueError("tables do not fit together")
    names, classes = tuple(map(str, index["patients"])), int(index["classes"])
    return SliceSet(held, labels, np.array(patient), np.array(moments), names, classes, str(index["digest"]))


def slice_bundle(name: str, task: TaskSpec, held: SliceSet, codes: Array) -> DataBundle:
    """A bundle of memory-mapped slices.

    Args:
        name: as shown.
        task: segmentation.
        held: the slices.
        codes: `[patients]`, split of each: 0 train, 1 validation, 2 test.

    Returns:
        Images of one channel, of zero mean and unit spread over the train slices' pixels.

    Raises:
        DataError: for an empty train or validation split.
    """
    split = codes[held.patient]
    rows = {part: np.flatnonzero(split == code) for code, part in enumerate(SPLITS)}
    height, width = held.labels.shape[1:]
    scale = _scale(held.moments[rows["train"]], height * width)
    splits = {
        part: Split(
            {m: MappedImages(raw, index, *scale[i]) for i, (m, raw) in enumerate(held.images.items())},
            MappedLabels(held.labels, index),
            torch.from_numpy(index),
        )
        for part, index in rows.items()
    }
    options = json.dumps(dict(task.options), sort_keys=True)
    made = hashlib.sha256(f"{held.digest}|{task.outputs}|{options}|".encode() + split.astype(np.int8).tobytes())
    specs = {m: ModalitySpec("image", (1, height, width)) for m in held.images}
    return DataBundle(name, task, specs, splits, made.hexdigest()[:16])


def patients_split(count: int, seed: int, shares: tuple[float, float] = (0.1, 0.1)) -> NDArray[np.int8]:
    """Split codes of patients, at least one in validation, and one in test where there are three.

    Args:
        count: patients, 2 or more for train and validation.
        seed: decides who goes where.
        shares: of validation and test.
    """
    order = np.random.default_rng([seed, 0]).permutation(count)
    val, test = (max(1, round(share * count)) for share in shares)
    test = test if count > 2 else 0
    codes = np.zeros(count, np.int8)
    codes[order[:val]], codes[order[val : val + test]] = 1, 2
    return codes


_TABLES = ("labels", "patient", "moments")


def _scale(moments: Array, pixels: int) -> list[tuple[float, float]]:
    """Mean, and one over the spread, by contrast; 0 for what is constant."""
    total = max(1, len(moments)) * pixels
    mean = moments[:, :, 0].sum(0) / total
    spread = np.sqrt(np.maximum(moments[:, :, 1].sum(0) / total - mean**2, 0.0))
    return [(float(m), 1.0 / s if s > 1e-7 * (1 + abs(m)) else 0.0) for m, s in zip(mean, spread.tolist(), strict=True)]


def _write(folder: Path, plan: Plan, blocks: Iterable[Block]) -> None:
    """Every block as it comes, appended; plain writes, since mapped pages would count as memory until flushed."""
    made = hashlib.sha256(json.dumps([plan.contrasts, plan.slices, plan.size, plan.dtype]).encode())
    patient: list[int] = []
    moments: list[Array] = []
    highest = 0
    paths = [folder / f"image{i}.npy" for i in range(len(plan.contrasts))]
    for path in paths:
        _begin(path, (plan.slices, *plan.size), plan.dtype)
    _begin(folder / "labels.npy", (plan.slices, *plan.size), "|u1")
    for block in blocks:
        count = len(block.labels)
        patient += [block.patient] * count
        highest = max(highest, int(block.labels.max()))
        sums = np.zeros((count, len(paths), 2))
        for i, (path, m) in enumerate(zip(paths, plan.contrasts, strict=True)):
            kept = np.ascontiguousarray(block.images[m], plan.dtype)
            wide = kept.astype(np.float64)
            sums[:, i] = np.stack([wide.sum((1, 2)), np.square(wide).sum((1, 2))], 1)
            made.update(_append(path, kept))
        made.update(_append(folder / "labels.npy", np.ascontiguousarray(block.labels, np.uint8)))
        moments.append(sums)
    np.save(folder / "patient.npy", np.array(patient, np.int64))
    np.save(folder / "moments.npy", np.concatenate(moments))
    index = {"contrasts": plan.contrasts, "patients": plan.patients, "classes": highest + 1, "digest": made.hexdigest()}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _begin(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def _append(path: Path, values: Array) -> Any:
    """Write, and give back what was written as something that can be hashed."""
    content = values.reshape(-1).view(np.uint8).data
    with path.open("ab") as file:
        file.write(content)
    return content
