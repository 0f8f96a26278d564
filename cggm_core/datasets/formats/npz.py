"""The lab's own exchange format."""

from __future__ import annotations

from pathlib import Path

from cggm_core.cards import FormatCard, Param
from cggm_core.datasets._npz import load_npz
from cggm_core.datasets._paths import PathBuilder
from cggm_core.protocols.data import DataBundle

CARD = FormatCard(
    name="npz",
    title="Exchange format (.npz)",
    summary="Any modalities, any task, one file, loaded without pickle.",
    layout="x_<modality> one array a modality, first axis the sample; y; split (0 train, 1 validation, 2 test); "
           "meta, a text with JSON (task, and where they apply classes, class_names, regions, class_weights, kinds, "
           "unit, name); aux_<anything> is left alone",
    task="any",
    params=(
        Param("split", "", text="name of another split the file brings: `official` takes aux_split_official "
              "in place of split; empty takes split"),
    ),
    source="written by you: numpy.savez, or cggm_core's write_npz",
)  # fmt: skip


class ExchangeFile(PathBuilder):
    """See `load_npz`."""

    def __init__(self, path: Path, *, split: str = "") -> None:
        super().__init__(path)
        self.split = split

    def build(self) -> DataBundle:
        """The file's data."""
        return load_npz(self.path, self.split)
