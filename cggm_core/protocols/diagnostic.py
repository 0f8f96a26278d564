"""What a diagnostic is: something that only looks.

Contract, held by a law over every diagnostic: parameters, buffers, gradients and random state are the same to the
bit afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cggm_core.cards import Value
from cggm_core.names import MetricKey
from cggm_core.protocols.step import Step


@dataclass(frozen=True)
class Picture:
    """One array worth keeping.

    Attributes:
        kind: classifier, unimodal or fused.
        modality: "" for the fused one.
        array: detached, on the training device.
        data: anything said with it.
    """

    kind: str
    modality: str
    array: Tensor
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What a diagnostic saw: numbers for the series, arrays for the snapshot table."""

    readings: Mapping[MetricKey, Tensor | float] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()


class Diagnostic(ABC):
    """Constructed with its card's knobs as keywords."""

    def __init__(self, **knobs: Value) -> None:
        self.knobs = dict(knobs)

    @abstractmethod
    def observe(self, step: Step) -> Observation:
        """Look at a step after its loss is there and before its graph is gone."""
