"""Scores of a split with more and more of every input missing; draws nothing from the run's random state."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from cggm_core.measures.missing import RATES, parts_of, without
from cggm_core.protocols.data import ArraySource, Split

_SEED = 1111


class _Thinned:
    """An input of which each sample lacks its parts at one rate; the same parts whenever it is asked."""

    def __init__(self, source: ArraySource, rate: float, drawn: Tensor) -> None:
        self._source, self._rate, self._drawn = source, rate, drawn

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Tensor) -> Tensor:
        return without(self._source[index], torch.full((len(index),), self._rate), self._drawn[index])


def missing_curve(score: Callable[[Split], float], split: Split) -> list[float]:
    """Score at each of `measures.missing.RATES`, every modality thinned at the rate, independently.

    Which parts are missing hangs on the sample's place in the split and on the modality's name alone: every run and
    every method meets the same holes, and those of a higher rate contain those of a lower.

    Args:
        score: of a split.
        split: in memory or mapped; it is not changed.
    """
    drawn = {}
    for name, source in split.inputs.items():
        generator = torch.Generator().manual_seed(_SEED + zlib.crc32(name.encode()))
        shape = source[torch.arange(1)].shape[1:]
        drawn[name] = torch.rand((len(split), *parts_of(shape)), generator=generator)
    found = []
    for rate in RATES:
        inputs = {name: _Thinned(source, rate, drawn[name]) for name, source in split.inputs.items()}
        found.append(score(Split(inputs, split.target, split.ids)))
    return found
