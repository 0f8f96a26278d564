"""Slices that somebody cut already: one `.npz` a slice, in one folder a patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.datasets._archive import Archive
from cggm_core.datasets._slices import Block, Plan
from cggm_core.datasets._targets import check_finite
from cggm_core.errors import ConfigError, DataError
from cggm_core.names import check_modality

MASKS = ("seg", "mask", "label", "y")
SPLIT_FOLDERS: Mapping[str, int] = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
BRATS = {"flair", "t1", "t1ce", "t2"}
_MOST_CLASSES = 256
Array = NDArray[Any]


def find_slices(folder: Path) -> tuple[dict[str, list[Path]], dict[str, int]]:
    """Files by patient, in order; and the split of each patient where folders say it.

    Raises:
        DataError: for a file outside a patient's folder, a patient in two splits, or split folders for some only.
    """
    patients: dict[str, list[Path]] = {}
    splits: dict[str, int] = {}
    for path in sorted(folder.rglob("*.npz")):
        *above, patient, _ = ("", *path.relative_to(folder).parts)
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        said = next((SPLIT_FOLDERS[part.lower()] for part in above if part.lower() in SPLIT_FOLDERS), None)
        if not patient or patient.lower() in SPLIT_FOLDERS:
            raise DataError(
                f"{folder.name}: {path.name} lies in no patient's folder, expected <patient>/<slice>.npz, or "
                "train/<patient>/<slice>.npz beside val and test"
            )
        held = patients.setdefault(patient, [])
        if held and splits.get(patient) != said:
            raise DataError(f"{folder.name}: patient {patient[:60]!r} is in two splits; expected each in one")
        held.append(path)
        if said is not None:
            splits[patient] = said
    if splits and len(splits) < len(patients):
        outside = next(name for name in patients if name not in splits)
        raise DataError(
            f"{folder.name}: patient {outside[:60]!r} is in none of train, val and test, others are; expected all or "
            "none"
        )
    return patients, splits


class SliceFiles:
    """The slices of a folder, read one file at a time.

    Args:
        shown: the folder's name in messages.
        patients: files by patient.
    """

    def __init__(self, shown: str, patients: Mapping[str, list[Path]]) -> None:
        self._shown, self._patients = shown, patients
        self._contrasts: tuple[str, ...] = ()
        self._mask = ""

    def plan(self) -> Plan:
        """Hold every file's headers against the first's; no image is read.

        Raises:
            DataError: for a file without mask, without two contrasts, or unlike the first.
        """
        first, size = "", (0, 0)
        for path in (path for files in self._patients.values() for path in files):
            shown = f"{path.parent.name}/{path.name}"
            with Archive(path, shown) as archive:
                mask = next((name for name in MASKS if name in archive.headers), "")
                contrasts = tuple(name for name in archive.headers if name != mask)
                shapes = {name: header.shape for name, header in archive.headers.items()}
                kinds = {name: header.dtype.kind for name, header in archive.headers.items()}
            if not first:
                self._check_names(shown, mask, contrasts)
                first, self._contrasts, self._mask = shown, contrasts, mask
            if mask != self._mask or set(contrasts) != set(self._contrasts):
                raise DataError(
                    f"{self._shown}: {shown} holds {', '.join(shapes) or 'nothing'}, but {first} "
                    f"{', '.join((*self._contrasts, self._mask))}; expected the same arrays in every slice"
                )
            shape = shapes[mask]
            if len(set(shapes.values())) > 1 or len(shape) != 2 or min(shape) < 1:
                found = ", ".join(f"{name} {list(one)}" for name, one in shapes.items())
                raise DataError(f"{self._shown}: arrays of {shown} differ in shape ({found}), expected [h, w] for all")
            size = size if size != (0, 0) else (shape[0], shape[1])
            if shape != size:
                raise DataError(f"{self._shown}: {shown} is {list(shape)}, but {first} {list(size)}; expected one size")
            if kinds[mask] not in "biu" or any(kinds[name] not in "biuf" for name in contrasts):
                raise DataError(f"{self._shown}: {shown} holds {kinds}, expected numbers, and whole ones in {mask}")
        count = sum(map(len, self._patients.values()))
        return Plan(self._contrasts, tuple(self._patients), count, size, "<f4")

    def blocks(self) -> Iterator[Block]:
        """Every slice in turn, after `plan`.

        Raises:
            DataError: for a label outside 0 to 255, or a value that is not finite.
        """
        for place, files in enumerate(self._patients.values()):
            for path in files:
                shown = f"{path.parent.name}/{path.name}"
                with Archive(path, shown) as archive:
                    read = {name: archive.read(name) for name in (*self._contrasts, self._mask)}
                labels = read.pop(self._mask)
                if labels.min() < 0 or labels.max() >= _MOST_CLASSES:
                    worst = labels.min() if labels.min() < 0 else labels.max()
                    raise DataError(f"{self._shown}: {shown} holds label {worst}, expected 0 to {_MOST_CLASSES - 1}")
                if set(read) == BRATS and set(np.unique(labels)) <= {0, 1, 2, 4}:
                    labels = np.where(labels == 4, 3, labels)
                for name, values in read.items():
                    check_finite(f"{self._shown}: {shown}", name, values)
                yield Block(place, {name: values[None] for name, values in read.items()}, labels[None])

    def _check_names(self, shown: str, mask: str, contrasts: tuple[str, ...]) -> None:
        if not mask or len(contrasts) < 2:
            raise DataError(
                f"{self._shown}: {shown} holds {', '.join((*contrasts, mask)).strip(', ') or 'nothing'}, expected two "
                f"contrasts at least, one array each, and a mask named {', '.join(MASKS)}"
            )
        for name in contrasts:
            try:
                check_modality(name)
            except ConfigError as error:
                raise DataError(f"{self._shown}: {shown}: {error}") from error
