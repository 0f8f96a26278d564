"""Kept gradients as one table: unit vectors with their step, kind and modality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cggm_core.store import Snapshot

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KINDS = ("classifier", "unimodal", "fused")
MOST_POINTS = 2000


@dataclass(frozen=True)
class Gradients:
    """Vectors of some batches, in the order of their steps.

    Attributes:
        step: optimiser step of the batch, `[n]`.
        start: first step of the snapshot the batch belongs to, `[n]`.
        kind: one of `KINDS`, `[n]`.
        modality: "" for the fused gradient, `[n]`.
        vectors: `[n, d]`, float32, of length 1 (a map of raw gradients would show their norms, which differ by
            modality, and little else).
        original: numbers of a gradient before it was sketched; d where none was.
    """

    step: IntArray
    start: IntArray
    kind: NDArray[np.str_]
    modality: NDArray[np.str_]
    vectors: NDArray[np.float32]
    original: int

    def __len__(self) -> int:
        return len(self.step)

    def part(self, rows: NDArray[np.bool_] | IntArray) -> Gradients:
        """Some rows."""
        return Gradients(self.step[rows], self.start[rows], self.kind[rows], self.modality[rows],
                         self.vectors[rows], self.original)  # fmt: skip

    def starts(self) -> IntArray:
        """First steps of all snapshots, ascending."""
        return np.unique(self.start)

    def chosen(
        self, *, kinds: Collection[str] = KINDS, modalities: Collection[str] | None = None,
        first: int | None = None, last: int | None = None,
    ) -> Gradients:  # fmt: skip
        """Rows of these kinds and modalities whose snapshot begins from `first` to `last`, both included.

        The fused gradient belongs to no modality and is taken by its kind alone.
        """
        rows = np.isin(self.kind, list(kinds))
        if modalities is not None:
            rows &= np.isin(self.modality, [*modalities, ""])
        if first is not None:
            rows &= self.start >= first
        if last is not None:
            rows &= self.start <= last
        return self.part(rows)

    def thinned(self, most: int = MOST_POINTS) -> Gradients:
        """At most so many rows: whole batches, evenly spaced, so that no vector loses its partner."""
        if len(self) <= most:
            return self
        steps = np.unique(self.step)
        kept = max(1, int(most * len(steps) / len(self)))
        places = np.unique(np.linspace(0, len(steps) - 1, kept).round().astype(np.int64))
        return self.part(np.isin(self.step, steps[places]))

    def paired_steps(self) -> tuple[IntArray, IntArray]:
        """Steps of the batches of one modality that have both kinds, and first steps of their snapshots, `[n]` each."""
        cheap, true = (self.kind == kind for kind in ("classifier", "unimodal"))
        steps, at, _ = np.intersect1d(self.step[cheap], self.step[true], return_indices=True)
        return steps, self.start[cheap][at]

    def pairs(self, modality: str) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
        """Classifier and unimodal gradients of one modality, row by row of the same batch.

        Returns:
            Both as `[n, d]` float64, the batches' steps `[n]` and their snapshots' first steps `[n]`.
        """
        own = self.modality == modality
        cheap, true = (self.part(own & (self.kind == kind)) for kind in ("classifier", "unimodal"))
        steps, at, other = np.intersect1d(cheap.step, true.step, return_indices=True)
        return cheap.vectors[at].astype(np.float64), true.vectors[other].astype(np.float64), steps, cheap.start[at]


def collect(shots: Sequence[Snapshot]) -> Gradients:
    """One table of stored snapshots.

    Left out: vectors that are zero or not finite, for they have no direction, and those of another length than most
    (a run whose head was changed). A batch kept twice counts once.
    """
    shots = [shot for shot in shots if shot.kind in KINDS]
    lengths = Counter(shot.array.size for shot in shots)
    length = lengths.most_common(1)[0][0] if lengths else 0
    rows: dict[tuple[int, str, str], tuple[int, NDArray[np.float32]]] = {}
    original = length
    for shot in shots:
        vector = np.asarray(shot.array, np.float64).ravel()
        norm = float(np.linalg.norm(vector)) if vector.size == length else 0.0
        if np.isfinite(norm) and norm > 0:
            rows[shot.step, shot.kind, shot.modality] = (shot.batch, (vector / norm).astype(np.float32))
            original = int(shot.data.get("size", length))
    keys = sorted(rows, key=lambda key: (key[0], KINDS.index(key[1])))
    return Gradients(
        np.array([step for step, _, _ in keys], np.int64),
        np.array([key[0] - rows[key][0] for key in keys], np.int64),
        np.array([kind for _, kind, _ in keys], np.str_),
        np.array([modality for _, _, modality in keys], np.str_),
        np.stack([rows[key][1] for key in keys]) if keys else np.empty((0, length), np.float32),
        original,
    )
