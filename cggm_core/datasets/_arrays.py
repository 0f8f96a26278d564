"""From raw arrays to a data bundle: standardised on the train split, in memory, fingerprinted.

Every data set, embedded or brought by a user, passes through `make_bundle`, so that all of them are scaled,
split and identified in one way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cggm_core.errors import DataError
from cggm_core.protocols.data import SPLITS, DataBundle, Kind, ModalitySpec, Split, TaskSpec
from cggm_core.protocols.regression import label_options

_CHUNK_VALUES = 4_000_000
Array = NDArray[Any]


def make_bundle(
    name: str,
    task: TaskSpec,
    *,
    inputs: Mapping[str, Array],
    kinds: Mapping[str, Kind],
    target: Array,
    split: Array,
) -> DataBundle:
    """A bundle from raw arrays.

    Sequences of different true length come padded with rows of zeros at the front, at the end or both, as the
    field's files have them. Such rows of raw values are found here (`real_steps`), left out of mean and spread, and
    stay exactly 0; the modality's specification then says `padded`, and models skip them. Sequences of one feature
    are taken as they are, because a single 0 is a value as good as any.

    Args:
        name: as shown and as used in error messages.
        task: what is predicted.
        inputs: modality -> `[n, *shape]`, any real number format, finite; shape as `kinds` says.
        kinds: modality -> vector `[d]`, sequence `[T, d]` or image `[channels, height, width]`.
        target: classification `[n]`, regression `[n, outputs]`, segmentation `[n, h, w]`.
        split: `[n]`, 0 train, 1 validation, 2 test.

    Returns:
        Inputs in float32 with zero mean and unit spread on train; a sample's id is its row. Regression labels
        stay in their unit; what scales them goes into the task's options.

    Raises:
        DataError: for fewer than two modalities, an empty train or validation split, or a value that leaves
            float32 when scaled by the spread of train.
    """
    rows = {part: np.flatnonzero(split == code) for code, part in enumerate(SPLITS)}
    number = torch.float32 if task.name == "regression" else torch.int64
    labels = torch.from_numpy(np.ascontiguousarray(target)).to(number)
    scaled: dict[str, torch.Tensor] = {}
    real = {m: steps for m, raw in inputs.items() if (steps := real_steps(raw, kinds[m], rows["train"])) is not None}
    if len(rows["train"]):
        for modality, raw in inputs.items():
            ready = standardise(raw, rows["train"], kinds[modality], real.get(modality))
            if not np.isfinite(ready).all():
                raise DataError(
                    f"{name}: modality {modality!r} holds a value too far from its train values to be scaled "
                    "by their spread; expected values of one magnitude in every split"
                )
            scaled[modality] = torch.from_numpy(ready)
    splits = {}
    for part, index in rows.items():
        ids = torch.from_numpy(index.astype(np.int64))
        splits[part] = Split({m: values[ids] for m, values in scaled.items()}, labels[ids], ids)
    specs = {m: ModalitySpec(kinds[m], tuple(raw.shape[1:]), m in real) for m, raw in inputs.items()}
    digest = fingerprint(task, inputs, kinds, target, split)
    if task.name == "regression" and len(rows["train"]):
        task = replace(task, options={**label_options(labels[rows["train"]]), **task.options})
    return DataBundle(name, task, specs, splits, digest)


def real_steps(values: Array, kind: Kind, train: Array) -> NDArray[np.bool_] | None:
    """Which steps of sequences are no padding; None where nothing is padded.

    Padding is an unbroken run of all-zero rows that begins at the front or reaches the end; a zero row between two
    others is a step like them. A sample of zeros alone has no real step: it lacks the modality.

    Args:
        values: `[n, *shape]`, raw.
        kind: others than sequences are never padded, nor are sequences of one feature.
        train: `[k]` rows of the train split.

    Returns:
        `[n, T]`, or None also where no step of the train split is real.
    """
    if kind != "sequence" or values.shape[2] < 2:
        return None
    filled = np.empty(values.shape[:2], bool)
    for rows in _chunks(len(values), values[0].size if len(values) else 1):
        filled[rows] = (values[rows] != 0).any(2)
    begun = np.logical_or.accumulate(filled, axis=1)
    real: NDArray[np.bool_] = begun & np.logical_or.accumulate(filled[:, ::-1], axis=1)[:, ::-1]
    return None if real.all() or not real[train].any() else real


def standardise(values: Array, train: Array, kind: Kind, real: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """`(x - mean) / spread`, both taken over the train rows.

    Args:
        values: `[n, *shape]`, finite.
        train: `[k]` rows of the train split, k >= 1.
        kind: vectors and sequences are scaled feature by feature (over samples and time), images channel by
            channel (over samples and pixels).
        real: `[n, T]` steps that are no padding, or None where all are real. Padding is left out of mean and
            spread and becomes exactly 0; a real step never does: its first number is then the smallest there is.

    Returns:
        `[n, *shape]` float32, contiguous; a feature that is constant on train is 0 in every split, since its
        spread says nothing about how to scale what differs.
    """
    axes = {"vector": (0,), "sequence": (0, 1), "image": (0, 2, 3)}[kind]
    if real is None:
        mean, spread, constant = _moments(values, train, axes)
    else:
        steps = values[train][real[train]]
        mean, spread, constant = _moments(steps, np.arange(len(steps)), (0,))
    factor = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, spread))
    made = np.empty(values.shape, np.float32)
    with np.errstate(over="ignore"):
        for rows in _chunks(len(values), values[0].size):
            made[rows] = (values[rows].astype(np.float64) - mean) * factor
    if real is not None:
        made[~real] = 0.0
        made[real & ~made.any(2), 0] = np.finfo(np.float32).tiny
    return made


def _moments(values: Array, train: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Mean, spread and constancy over `axes` of the train rows, each of broadcast shape `[1, ...]`.

    In float64 and by chunks: a stack of images would not fit twice, and float32 sums lose a small spread
    around a large mean. Constancy is read from the extremes, which rounding cannot blur.
    """
    count = 0
    total = low = high = np.zeros(())
    for rows in _chunks(len(train), values[0].size):
        block = values[train[rows]].astype(np.float64)
        first = count == 0
        total = total + block.sum(axes, keepdims=True)
        low = block.min(axes, keepdims=True) if first else np.minimum(low, block.min(axes, keepdims=True))
        high = block.max(axes, keepdims=True) if first else np.maximum(high, block.max(axes, keepdims=True))
        count += int(np.prod([block.shape[axis] for axis in axes]))
    mean = total / count
    squares = np.zeros_like(mean)
    for rows in _chunks(len(train), values[0].size):
        squares += np.square(values[train[rows]].astype(np.float64) - mean).sum(axes, keepdims=True)
    spread = np.sqrt(squares / count)
    return mean, spread, (low == high) | (spread == 0)


def _chunks(count: int, size: int) -> Iterator[slice]:
    step = max(1, _CHUNK_VALUES // max(1, size))
    for start in range(0, count, step):
        yield slice(start, start + step)


def fingerprint(
    task: TaskSpec, inputs: Mapping[str, Array], kinds: Mapping[str, Kind], target: Array, split: Array
) -> str:
    """16 hexadecimal digits over the raw content: task and its options, arrays, their names, kinds and formats.

    Raw and not standardised values: the last bit of a mean may differ between processors, the data do not.
    """
    options = json.dumps(dict(task.options), sort_keys=True) if task.options else ""
    made = hashlib.sha256(f"{task.name}|{task.outputs}{options}".encode())
    named = [*((f"x_{m}|{kinds[m]}", raw) for m, raw in inputs.items()), ("y", target), ("split", split)]
    for name, array in named:
        made.update(f"|{name}|{array.dtype.str}|{array.shape}|".encode())
        made.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return made.hexdigest()[:16]


def stratified_split(
    labels: Array, generator: np.random.Generator, shares: Sequence[float] = (0.6, 0.2, 0.2)
) -> NDArray[np.int8]:
    """Split codes (0 train, 1 validation, 2 test) that keep every class's share.

    Args:
        labels: `[n]` classes.
        generator: decides who goes where.
        shares: of train, validation and test; sum 1.

    Returns:
        `[n]` int8.
    """
    split = np.zeros(len(labels), np.int8)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        cuts = np.round(np.cumsum(shares[:-1]) * len(rows)).astype(int)
        for code, part in enumerate(np.split(rows, cuts)):
            split[part] = code
    return split


def quantile_bins(values: Array, bins: int = 10) -> NDArray[np.int64]:
    """Rank of each value in `bins` equal shares, by which a regression set is stratified.

    Args:
        values: `[n]` labels; ties fall in the order of rows.
        bins: how many shares.

    Returns:
        `[n]` from 0 (lowest share) to `bins - 1`.
    """
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * bins // max(1, len(values))
