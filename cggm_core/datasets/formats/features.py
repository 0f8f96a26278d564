"""Folders of feature files, as UPMC-Food101 is used: image and text vectors with class labels."""

from __future__ import annotations

from pathlib import Path

from cggm_core.cards import FormatCard, Param
from cggm_core.datasets._features import read_features
from cggm_core.datasets._paths import PathBuilder
from cggm_core.protocols.data import DataBundle

CARD = FormatCard(
    name="features",
    title="Food-101 features (folder)",
    summary="Image and text features of a classification set such as UPMC-Food101, one file a split or one an array.",
    params=(
        Param("split_seed", 0, 0, 2_147_483_647, "of the tenth of train that validates where there is no val"),
    ),
    layout="train.npz, test.npz and perhaps val.npz (or .pkl), each with image, text and labels; or train_image.npy, "
           "train_text.npy, train_labels.npy (or train/image.npy and so on) and the same for test and val. Features "
           "[n, d] or [n, tokens, d], the paper's 768 wide (ViT on ImageNet, bert-base-uncased); labels whole numbers "
           "from 0, or class names",
    task="classification, 101 classes for UPMC-Food101",
    source="UPMC-Food101 (Wang et al., ICMEW 2015) hands out pictures and pages, train and test; features are yours to "
           "make, none is shipped here",
)  # fmt: skip


class FeatureFolder(PathBuilder):
    """See `read_features`."""

    def __init__(self, path: Path, *, split_seed: int = 0) -> None:
        super().__init__(path)
        self.split_seed = split_seed

    def build(self) -> DataBundle:
        """The folder's data."""
        return read_features(self.path, self.split_seed)
