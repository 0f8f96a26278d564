"""Folders of slices that somebody cut already, one `.npz` each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cggm_core.cards import FormatCard, Param
from cggm_core.datasets._paths import PathBuilder
from cggm_core.datasets._slice_files import BRATS, SliceFiles, find_slices
from cggm_core.datasets._slices import SliceSet, patients_split, prepared, slice_bundle
from cggm_core.errors import DataError
from cggm_core.protocols.data import DataBundle, TaskSpec
from cggm_core.protocols.segmentation import BRATS_CLASSES, BRATS_REGIONS, BRATS_WEIGHTS

CARD = FormatCard(
    name="slices",
    title="Slices (folder of .npz)",
    summary="One file a slice with any contrasts and a mask; kept once in the cache and read from there.",
    params=(
        Param("split_seed", 0, 0, 2_147_483_647, "of who goes to train, validation and test (80/10/10 of patients), "
              "where no folders say it"),
    ),
    layout="<patient>/<slice>.npz, or {train,val,test}/<patient>/<slice>.npz; in each one array [h, w] a contrast, "
           "and a mask [h, w] of whole numbers named seg, mask, label or y; contrasts named flair, t1, t1ce and t2 "
           "with labels 0, 1, 2, 4 (or 3) are BraTS",
    task="segmentation; BraTS regions for BraTS labels, else one class a label",
    source="written by you: numpy.savez(path, flair=..., t1=..., seg=...)",
)  # fmt: skip


class SliceFolder(PathBuilder):
    """All slices of a folder."""

    def __init__(self, path: Path, *, split_seed: int = 0) -> None:
        super().__init__(path)
        self.split_seed = split_seed

    def build(self) -> DataBundle:
        """Memory-mapped slices, split by patient."""
        shown = self.path.name
        patients, said = find_slices(self.path)
        if len(patients) < 2:
            raise DataError(f"{shown}: found {len(patients)} patient, expected two at least: one trains, one validates")
        reader = SliceFiles(shown, patients)
        files = [path for paths in patients.values() for path in paths]
        held = prepared(shown, files, "slices", reader.plan, reader.blocks)
        drawn = patients_split(len(patients), self.split_seed)
        codes = np.array([said[name] for name in held.patients], np.int8) if said else drawn
        return slice_bundle(shown, _task(shown, held), held, codes)


def _task(shown: str, held: SliceSet) -> TaskSpec:
    """BraTS where contrasts and labels are its own, else one class a label."""
    highest = held.classes - 1
    if highest < 1:
        raise DataError(f"{shown}: every mask is 0, expected labels from 1 where there is something to find")
    if set(held.images) == BRATS and highest == 3:
        options = {"class_weights": BRATS_WEIGHTS, "regions": dict(BRATS_REGIONS)}
        return TaskSpec("segmentation", 4, BRATS_CLASSES, options=options)
    return TaskSpec("segmentation", highest + 1)
