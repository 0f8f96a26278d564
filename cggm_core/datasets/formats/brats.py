"""Folders of BraTS volumes (NIfTI), cut into slices once."""

from __future__ import annotations

from pathlib import Path

from cggm_core.cards import FormatCard, Param
from cggm_core.datasets._paths import PathBuilder
from cggm_core.datasets._slices import patients_split, prepared, slice_bundle
from cggm_core.datasets._volumes import Volumes, find_cases
from cggm_core.errors import DataError
from cggm_core.protocols.data import DataBundle, TaskSpec
from cggm_core.protocols.segmentation import BRATS_CLASSES, BRATS_REGIONS, BRATS_WEIGHTS

CARD = FormatCard(
    name="brats",
    title="BraTS volumes (folder of NIfTI)",
    summary="Four contrasts and a mask a patient, cut into slices that show tumour; kept once in the cache and read "
            "from there.",
    params=(
        Param("per_patient", 16, 0, 1000, "slices of each patient, evenly spaced among those with tumour; 0 takes all"),
        Param("crop", 0, 0, 4096, "side of the centred square of a slice that is kept; 0 keeps all of it"),
        Param("split_seed", 0, 0, 2_147_483_647, "of who goes to train, validation and test (80/10/10 of patients)"),
    ),
    layout="<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz (to BraTS 2021) or <case>/<case>-{t2f,t1n,t1c,t2w,seg}.nii.gz "
           "(from 2023), .nii as well, in folders of any depth; labels 0, 1, 2 and 4 (or 3), 4 becomes 3",
    task="segmentation: whole tumour 1, 2, 3; core 1, 3; enhancing 3",
    source="the BraTS challenges (Baid et al., arXiv 2107.02314), training part, which has masks; none is shipped here",
)  # fmt: skip


class BratsFolder(PathBuilder):
    """See `Volumes` for which slices are kept and how they are scaled."""

    def __init__(self, path: Path, *, per_patient: int = 16, crop: int = 0, split_seed: int = 0) -> None:
        super().__init__(path)
        self.per_patient, self.crop, self.split_seed = per_patient, crop, split_seed

    def build(self) -> DataBundle:
        """Memory-mapped slices, split by patient."""
        shown, cases = self.path.name, find_cases(self.path)
        if len(cases) < 2:
            raise DataError(
                f"{shown}: found one case ({cases[0].name}), expected two at least: one trains, one validates"
            )
        volumes = Volumes(shown, cases, per_patient=self.per_patient, crop=self.crop)
        held = prepared(
            shown,
            [path for case in cases for path in case.files.values()],
            {"per_patient": self.per_patient, "crop": self.crop},
            volumes.plan,
            volumes.blocks,
        )
        options = {"class_weights": BRATS_WEIGHTS, "regions": dict(BRATS_REGIONS)}
        task = TaskSpec("segmentation", 4, BRATS_CLASSES, options=options)
        return slice_bundle(shown, task, held, patients_split(len(cases), self.split_seed))
