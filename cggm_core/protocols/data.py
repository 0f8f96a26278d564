"""Data as the trainer sees it: named modalities, three splits, tensors in memory.

Why in memory: the sets of this field fit, and indexing one tensor is the fastest loader there is. A set that does
not fit brings its own `ArraySource` (memory-mapped) with the same two methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from cggm_core.cards import TaskName
from cggm_core.errors import DataError
from cggm_core.names import check_modality

Kind = Literal["vector", "sequence", "image"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ModalitySpec:
    """One input channel.

    Attributes:
        kind: vector `[d]`, sequence `[T, d]` or image `[channels, height, width]`.
        shape: of one sample, in the order above.
        padded: of a sequence, whether samples are of different true length. Then a step whose numbers are all
            exactly 0 is padding, and no other step is so; `datasets._arrays.make_bundle` sees to both. A model
            must give the same prediction wherever the padding lies, and however much there is.
    """

    kind: Kind
    shape: tuple[int, ...]
    padded: bool = False


@dataclass(frozen=True)
class TaskSpec:
    """What is predicted.

    Attributes:
        name: classification, regression or segmentation.
        outputs: classes, or regression outputs, or classes a pixel.
        class_names: one a class, for tables; may be empty.
        unit: of the label, for axes; "" where it has none.
        options: what a task needs beyond (class weights, say).
    """

    name: TaskName
    outputs: int
    class_names: tuple[str, ...] = ()
    unit: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


class ArraySource(Protocol):
    """Something indexed by sample: a tensor, or a memory-mapped array behind the same two methods."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Split:
    """One split: inputs by modality (float32, standardised on train), target, ids of the samples in the file.

    Attributes:
        inputs: modality -> `[n, *shape]` float32.
        target: classification `[n]` int64; regression `[n, outputs]` float32; segmentation `[n, h, w]` int64.
        ids: `[n]` int64, stable over runs.
    """

    inputs: Mapping[str, ArraySource]
    target: ArraySource
    ids: Tensor

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class DataBundle:
    """A data set ready for training.

    Attributes:
        name: as shown.
        task: what is predicted.
        modalities: specification by name, in a fixed order; at least two.
        splits: train, val and test; test may be empty.
        fingerprint: digest of the content, so that two runs can be known to have seen the same data.

    Raises:
        DataError: for fewer than two modalities or an empty train or validation split.
    """

    name: str
    task: TaskSpec
    modalities: Mapping[str, ModalitySpec]
    splits: Mapping[str, Split]
    fingerprint: str

    def __post_init__(self) -> None:
        for name in self.modalities:
            check_modality(name)
        if len(self.modalities) < 2:
            raise DataError(
                f"{self.name}: a multimodal run needs at least two modalities, found {len(self.modalities)} "
                f"({', '.join(self.modalities) or 'none'})"
            )
        for split in ("train", "val"):
            if split not in self.splits or len(self.splits[split]) == 0:
                raise DataError(f"{self.name}: the {split} split is empty; training needs samples in train and val")


@dataclass(frozen=True)
class Batch:
    """Samples of one step, on the training device."""

    inputs: Mapping[str, Tensor]
    target: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.target)


def take(split: Split, index: Tensor, device: torch.device) -> Batch:
    """Batch of the samples at `index` (`[n]` int64, on the host), moved to `device`."""
    moved = {name: source[index].to(device, non_blocking=True) for name, source in split.inputs.items()}
    return Batch(moved, split.target[index].to(device, non_blocking=True), split.ids[index])


class DatasetBuilder(ABC):
    """What a data set plug-in defines: built from its card's knobs as keywords, it makes the data."""

    @abstractmethod
    def build(self) -> DataBundle:
        """The data, deterministic in the knobs; draws nothing from global random state.

        Raises:
            DataError: naming the file or array, what was found and what was expected.
        """
