"""Speech features in two layouts, MulT's and MMSA's, made one: three modalities, a target, lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.datasets._arrays import make_bundle
from cggm_core.datasets._targets import check_finite
from cggm_core.errors import DataError
from cggm_core.protocols.data import DataBundle, TaskSpec

MODALITIES = ("text", "audio", "vision")
EMOTIONS = ("neutral", "happy", "sad", "angry")
POLARITIES = ("negative", "neutral", "positive")
_PARTS = (("train",), ("valid", "val", "dev"), ("test",))
_STRONGEST = 3.0
Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """One split of a file.

    Attributes:
        name: as the file has it.
        inputs: modality -> `[n, time, features]`; what the file's lengths say is padding is 0.
        target: `[n]`.
        kept: `[n]` bool, samples that have the target asked for.
    """

    name: str
    inputs: Mapping[str, Array]
    target: Array
    kept: Array


@dataclass(frozen=True)
class Speech:
    """A whole file in one form.

    Attributes:
        inputs: modality -> `[n, time, features]` float32, finite, padding 0.
        target: `[n]`, float for sentiment, int64 for classes.
        split: `[n]`, 0 train, 1 validation, 2 test.
        task: what is predicted.
    """

    inputs: Mapping[str, Array]
    target: Array
    split: Array
    task: TaskSpec


def speech_bundle(shown: str, held: Any, target: str) -> DataBundle:
    """The data of a pickle's content; see `read_speech`."""
    found = read_speech(shown, held, target)
    labels = found.target[:, None] if found.task.name == "regression" else found.target
    return make_bundle(
        Path(shown).stem,
        found.task,
        inputs=found.inputs,
        kinds=dict.fromkeys(MODALITIES, "sequence"),
        target=labels,
        split=found.split,
    )


def read_speech(shown: str, held: Any, target: str) -> Speech:
    """Samples of all splits, in the file's order, train first.

    Values of audio and vision that are NaN or infinite become 0, as the loaders of MulT and MMSA make them (audio
    features are logarithms, and silence has none); in text and labels they are refused. IEMOCAP: `emotion` is one
    class of four, and utterances marked with none or several are left out; a single emotion is present or absent,
    and all utterances stay.

    Args:
        shown: the file's name in messages.
        held: as read.
        target: a choice of the format's knob.

    Raises:
        DataError: naming what was found and what was expected.
    """
    if not isinstance(held, dict):
        raise DataError(f"{shown}: found a {type(held).__name__}, expected a dictionary with train, valid and test")
    parts = [_part(shown, held, names, target) for names in _PARTS]
    for part in parts[1:]:
        for m in MODALITIES:
            one, other = parts[0].inputs[m].shape[1:], part.inputs[m].shape[1:]
            if one != other:
                raise DataError(
                    f"{shown}: {m} has [time, features] {list(one)} in train, but {list(other)} in {part.name}; "
                    "expected one shape in every split"
                )
    inputs = {m: np.concatenate([part.inputs[m][part.kept] for part in parts]) for m in MODALITIES}
    for m in MODALITIES:
        if m == "text":
            check_finite(shown, m, inputs[m])
        else:
            np.nan_to_num(inputs[m], copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    labels = np.concatenate([part.target[part.kept] for part in parts])
    split = np.repeat(np.arange(3, dtype=np.int8), [int(part.kept.sum()) for part in parts])
    return Speech(inputs, labels, split, _task(target, labels))


def _part(shown: str, held: Mapping[Any, Any], names: tuple[str, ...], target: str) -> Part:
    name = next((n for n in names if n in held), None)
    if name is None or not isinstance(held[name], dict):
        found = ", ".join(map(str, held))[:120] or "nothing"
        raise DataError(f"{shown}: split {names[0]!r} is missing (found {found}); expected train, valid and test")
    part = held[name]
    inputs = {m: _features(shown, name, part, m) for m in MODALITIES}
    labels, kept = _labels(shown, name, part, target)
    counts = {**{m: len(values) for m, values in inputs.items()}, "labels": len(labels)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} {n}" for key, n in counts.items())
        raise DataError(f"{shown}: numbers of samples differ in {name} ({listed}), expected one for all")
    for m, values in inputs.items():
        if (lengths := _lengths(shown, name, part, m, values)) is not None:
            values[np.arange(values.shape[1]) >= lengths[:, None]] = 0.0
    return Part(name, inputs, labels, kept)


def _features(shown: str, name: str, part: Mapping[Any, Any], modality: str) -> Array:
    """`[n, time, features]`, a copy in float32 or as it is."""
    where = f"{shown}: {name}[{modality!r}]"
    if modality not in part:
        found = ", ".join(map(str, part))[:120] or "nothing"
        raise DataError(f"{where} is missing (found {found}); expected {', '.join(MODALITIES)}")
    values = part[modality]
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        kind = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
        raise DataError(f"{where} is {kind}, expected an array of numbers [samples, time, features]")
    if values.ndim == 2:
        values = values[:, None]  # one vector an utterance: one step of time
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise DataError(f"{where} has shape {list(values.shape)}, expected [samples, time, features]")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _lengths(shown: str, name: str, part: Mapping[Any, Any], modality: str, values: Array) -> Array | None:
    """Frames that are no padding, `[n]`, or None where the file does not say.

    Of text MMSA keeps no number but BERT's mask, the second row of `text_bert`.
    """
    key, given = f"{modality}_lengths", part.get(f"{modality}_lengths")
    bert = part.get("text_bert")
    mine = given is None and modality == "text"
    if mine and isinstance(bert, np.ndarray) and bert.ndim == 3 and bert.shape[1:] == (3, values.shape[1]):
        key, given = "text_bert", bert[:, 1].sum(axis=1)
    if given is None:
        return None
    try:
        found = np.asarray(given, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise DataError(f"{shown}: {name}[{key!r}] is not a list of numbers, expected one length a sample") from error
    outside = np.flatnonzero(~((found >= 0) & (found <= values.shape[1]) & (found == np.round(found))))
    if len(found) != len(values) or len(outside):
        what = f"{found[outside[0]]:g} at index {outside[0]}" if len(outside) else f"{len(found)} numbers"
        raise DataError(
            f"{shown}: {name}[{key!r}] holds {what}, expected {len(values)} whole numbers from 0 to "
            f"{values.shape[1]}, the frames of {modality}"
        )
    return found.astype(np.int64)


def _labels(shown: str, name: str, part: Mapping[Any, Any], target: str) -> tuple[Array, Array]:
    """Labels `[n]`, and which samples have one."""
    key = "classification_labels" if target == "polarity" else "regression_labels"
    key = "labels" if key == "regression_labels" and key not in part else key
    if key not in part:
        raise DataError(f"{shown}: {name}[{key!r}] is missing, expected the labels that target={target} is made of")
    labels = part[key]
    if isinstance(labels, (list, tuple)) and all(isinstance(v, (int, float)) for v in labels):
        labels = np.asarray(labels, np.float64)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "biuf":
        raise DataError(f"{shown}: {name}[{key!r}] is no array of numbers, expected one label a sample")
    where = f"{shown}: {name}[{key!r}]"
    check_finite(shown, f"{name}[{key}]", labels)
    paired = labels.shape[1:] == (len(EMOTIONS), 2)
    if target in ("emotion", *EMOTIONS) or (target == "auto" and paired):
        if not paired:
            raise DataError(f"{where} has shape {list(labels.shape)}, expected [samples, 4, 2] for target={target}")
        return _emotion(where, labels, target)
    if labels.ndim < 1 or labels.size != len(labels):
        raise DataError(
            f"{where} has shape {list(labels.shape)}, expected [samples, 1, 1] (sentiment) or [samples, 4, 2] "
            "(emotions)"
        )
    flat = labels.reshape(-1).astype(np.float64)
    if target == "polarity":
        flat = flat + 1 if len(flat) and flat.min() < 0 else flat
        outside, expected = ~np.isin(flat, (0, 1, 2)), "0, 1 and 2 (or -1, 0 and 1)"
    else:
        outside, expected = np.abs(flat) > _STRONGEST + 1e-6, "sentiment from -3 to 3"
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise DataError(f"{where} holds {flat[first]:g} at index {first}, expected {expected}")
    if target == "polarity":
        flat = flat.astype(np.int64)
    return flat, np.ones(len(flat), bool)


def _emotion(where: str, labels: Array, target: str) -> tuple[Array, Array]:
    """Class of each sample from pairs (absent, present) a emotion, and whether it has exactly one."""
    outside = ~np.isin(labels, (0, 1)).all((1, 2)) | (labels.sum(2) != 1).any(1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"{where} holds {labels[first].tolist()} at index {first}, expected a pair of 1 and 0 an emotion"
        )
    present = labels[:, :, 1].astype(np.int64)
    if target in EMOTIONS:
        return present[:, EMOTIONS.index(target)], np.ones(len(present), bool)
    return present.argmax(1), present.sum(1) == 1


def _task(target: str, labels: Array) -> TaskSpec:
    if target in EMOTIONS:
        return TaskSpec("classification", 2, (f"not {target}", target))
    if target == "polarity":
        return TaskSpec("classification", 3, POLARITIES)
    if target == "emotion" or (target == "auto" and labels.dtype.kind in "iu"):
        return TaskSpec("classification", 4, EMOTIONS)
    return TaskSpec("regression", 1)
