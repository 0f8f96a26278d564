"""BraTS cases: finding their files, believing their headers, reading one volume at a time."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from cggm_core.datasets._slices import Block, Plan
from cggm_core.errors import DataError

CONTRASTS = ("flair", "t1", "t1ce", "t2")
_ENDINGS = {
    "flair": ("_flair", "-t2f"), "t1": ("_t1", "-t1n"), "t1ce": ("_t1ce", "-t1c"), "t2": ("_t2", "-t2w"),
    "seg": ("_seg", "-seg"),
}  # fmt: skip
_FILES = (".nii.gz", ".nii")
_DEFLATE_LIMIT = 1033  # deflate cannot shrink further, so a larger promise is a lie
_LONGEST_AXIS = 1024  # twice what a scanner makes
_WORK = 29  # bytes a voxel that scaling takes at its height, beside the volume as stored
_LABELS = (0, 1, 2, 3, 4)
Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """Files of one patient: contrast or `seg` -> path."""

    name: str
    files: Mapping[str, Path]


def find_cases(folder: Path) -> list[Case]:
    """Cases below a folder, by name.

    Raises:
        DataError: for none, for a contrast that is missing, or two files of one.
    """
    found: dict[tuple[str, str], dict[str, Path]] = {}
    entered: set[str] = set()  # cases are often links to another disk, and a link may lead back
    for above, below, names in os.walk(folder, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if (real := os.path.realpath(above)) in entered:
            below.clear()
            continue
        entered.add(real)
        for name in sorted(names):
            if (parts := _parts(name)) is None:
                continue
            case = found.setdefault((above, parts[0]), {})
            if parts[1] in case:
                raise DataError(f"{folder.name}: {case[parts[1]].name} and {name} are both {parts[1]}; keep one")
            case[parts[1]] = Path(above) / name
    for (_, name), files in found.items():
        for wanted, endings in _ENDINGS.items():
            if wanted not in files:
                looked = " or ".join(f"{name}{ending}.nii.gz" for ending in endings)
                there = ", ".join(path.name for path in files.values())
                raise DataError(f"{folder.name}: case {name} has no {wanted} (found {there}); expected {looked}")
    if not found:
        raise DataError(
            f"{folder.name}: found no BraTS volume, expected <case>/<case>_flair.nii.gz and _t1, _t1ce, _t2, _seg, or "
            "the names of 2023, -t2f, -t1n, -t1c, -t2w, -seg"
        )
    names = [name for _, name in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{folder.name}: case {twice} is there twice; a patient in two splits would be known already")
    return [Case(name, files) for (_, name), files in sorted(found.items(), key=lambda item: item[0][1])]


def _parts(name: str) -> tuple[str, str] | None:
    """Case and contrast of a file's name, None for others."""
    lower = name.lower()
    ending = next((e for e in _FILES if lower.endswith(e)), None)
    if ending is None or name.startswith("."):
        return None
    stem = name[: -len(ending)]
    for contrast, endings in _ENDINGS.items():
        for mark in endings:
            if stem.lower().endswith(mark) and len(stem) > len(mark):
                return stem[: -len(mark)], contrast
    return None


class Volumes:
    """The slices that are kept of each case.

    Kept are axial slices (the last axis) with at least one pixel of tumour, at most `per_patient` of them, evenly
    spaced from the first to the last; a case without tumour has none. Intensities have no unit: each volume is
    scaled to zero mean and unit spread over its brain (what is not 0), and what is not brain becomes 0.

    Args:
        shown: the folder's name in messages.
        cases: from `find_cases`.
        per_patient: slices; 0 keeps all with tumour.
        crop: side of the centred square that is kept; 0 keeps the whole slice.
    """

    def __init__(self, shown: str, cases: list[Case], *, per_patient: int, crop: int) -> None:
        self._shown, self._cases, self._most, self._crop = shown, cases, per_patient, crop
        self._chosen: dict[int, Array] = {}

    def plan(self) -> Plan:
        """Look every case over: shapes from the headers, slices from the masks.

        Raises:
            DataError: for a volume that is damaged or of another shape, or a label that BraTS does not have.
        """
        size: tuple[int, int] = (0, 0)
        for place, case in enumerate(self._told("looking over")):
            shapes = {name: self._open(case, name)[1] for name in case.files}
            if len(set(shapes.values())) > 1:
                found = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
                raise DataError(f"{self._shown}: volumes of case {case.name} differ in shape ({found}), expected one")
            labels = self._cropped(self._labels(case))
            if place and labels.shape[:2] != size:
                raise DataError(
                    f"{self._shown}: slices of case {case.name} are {labels.shape[0]}x{labels.shape[1]}, those of "
                    f"{self._cases[0].name} {size[0]}x{size[1]}; expected one size (dataset.crop can make it so)"
                )
            size = (labels.shape[0], labels.shape[1])
            self._chosen[place] = _spread(np.flatnonzero(labels.any((0, 1))), self._most)
        slices = sum(map(len, self._chosen.values()))
        if not slices:
            raise DataError(
                f"{self._shown}: no slice of any case shows a tumour, expected masks with labels 1, 2 and 4"
            )
        return Plan(CONTRASTS, tuple(case.name for case in self._cases), slices, size, "<f2")

    def blocks(self) -> Iterator[Block]:
        """Every case in turn, after `plan`; one contrast of one case is in memory at a time, beside what is kept."""
        for place, case in enumerate(self._told("cutting")):
            chosen = self._chosen[place]
            if len(chosen):
                images = {m: self._slices(_scaled(self._read(case, m)), chosen) for m in CONTRASTS}
                yield Block(place, images, self._slices(self._labels(case), chosen))

    def _told(self, what: str) -> Iterable[Case]:
        """The cases, with a bar on a terminal: a thousand patients take half an hour, once."""
        from tqdm import tqdm

        cases: Iterable[Case] = tqdm(self._cases, desc=f"{self._shown}: {what}", unit="case", leave=False, disable=None)
        return cases

    def _slices(self, volume: Array, chosen: Array) -> Array:
        return np.moveaxis(self._cropped(volume)[:, :, chosen], 2, 0)

    def _cropped(self, volume: Array) -> Array:
        if not self._crop:
            return volume
        side = self._crop
        if min(volume.shape[:2]) < side:
            found = f"{volume.shape[0]}x{volume.shape[1]}"
            raise DataError(f"{self._shown}: crop is {side}, but slices are {found}; take a smaller one, or 0 for all")
        top, left = ((n - side) // 2 for n in volume.shape[:2])
        return volume[top : top + side, left : left + side]

    def _labels(self, case: Case) -> Array:
        """`[h, w, depth]` uint8, 4 (enhancing, as BraTS has it up to 2021) made 3."""
        raw = self._read(case, "seg")
        outside = ~np.isin(raw, _LABELS)
        if outside.any() or ((raw == 3).any() and (raw == 4).any()):
            first = raw[outside][0] if outside.any() else 3
            raise DataError(
                f"{self._shown}: {case.files['seg'].name} holds label {first:g}"
                f"{'' if outside.any() else ' beside 4'}, expected 0, 1, 2 and 4 (or 3 for enhancing)"
            )
        return np.where(raw == 4, 3, raw).astype(np.uint8)

    def _read(self, case: Case, name: str) -> Array:
        """A volume in float32, finite."""
        image, _ = self._open(case, name)
        path = case.files[name]
        try:
            values = np.asanyarray(image.dataobj, dtype=np.float32)
        except _DAMAGE as error:
            raise _damaged(self._shown, path, error) from error
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise DataError(f"{self._shown}: {path.name} holds {bad} values that are NaN or infinite; write it again")
        return values

    def _open(self, case: Case, name: str) -> tuple[Any, tuple[int, ...]]:
        """A volume's handle and shape, its header held against the size of its file; nothing is read yet."""
        import nibabel

        path = case.files[name]
        try:
            image: Any = nibabel.load(path)
            shape, dtype = tuple(map(int, image.shape)), np.dtype(image.get_data_dtype())
            size = path.stat().st_size
        except (*_DAMAGE, nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
            raise _damaged(self._shown, path, error) from error
        if len(shape) != 3 or min(shape, default=0) < 1 or dtype.kind not in "biuf":
            raise DataError(
                f"{self._shown}: {path.name} is {dtype} of shape {list(shape)}, expected numbers [height, width, depth]"
            )
        promised = math.prod(shape) * dtype.itemsize
        if promised > size * (_DEFLATE_LIMIT if path.name.lower().endswith(".gz") else 1):
            raise DataError(
                f"{self._shown}: {path.name} promises {promised} bytes of volume, but the file has {size}; expected a "
                "whole file, copy it again"
            )
        if max(shape) > _LONGEST_AXIS:
            raise DataError(
                f"{self._shown}: {path.name} has shape {list(shape)}, expected at most {_LONGEST_AXIS} voxels along an "
                "axis; resample it"
            )
        # A file of zeros is a thousandth of its volume, so nothing is unpacked before there is room for it.
        if (needed := promised + _WORK * math.prod(shape)) > (free := psutil.virtual_memory().available):
            raise DataError(
                f"{self._shown}: {path.name} has shape {list(shape)}, which takes {needed / 1e9:.1f} GB to read, but "
                f"{free / 1e9:.1f} GB of memory are free; close other programs, or resample it"
            )
        return image, shape


_DAMAGE = (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, OverflowError, MemoryError)


def _damaged(shown: str, path: Path, error: BaseException) -> DataError:
    why = (str(error).splitlines() or [type(error).__name__])[0].replace(str(path.parent), "")[:120]
    return DataError(f"{shown}: {path.name} is truncated or no NIfTI volume ({why}); copy it again")


def _scaled(volume: Array) -> Array:
    """Zero mean and unit spread over the brain, 0 around it."""
    brain = volume != 0
    if not brain.any():
        return volume
    inside = volume[brain].astype(np.float64)
    spread = inside.std()
    made = np.zeros_like(volume)
    made[brain] = (inside - inside.mean()) / (spread if spread > 0 else 1.0)
    return made.clip(-60_000, 60_000)


def _spread(found: Array, most: int) -> Array:
    """At most `most` of the places found, evenly spaced, ends included."""
    if not most or len(found) <= most:
        return found
    return found[np.round(np.linspace(0, len(found) - 1, most)).astype(int)]
