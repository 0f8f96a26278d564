"""What a method costs beside joint training: weights and memory it adds, and the time of its step (paper, Table 8).

Unimodal classifiers run in every run, joint training included, because they are what is watched. They are counted as
a method's own cost where its card says that it needs them, and as the cost of watching where it does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from cggm_core import catalog
from cggm_core.analysis.scores import Members
from cggm_core.cards import MethodCard
from cggm_core.names import MetricKey
from cggm_core.store.protocols import RunInfo

_CLASSIFIERS = frozenset({"unimodal_scores", "head_gradients"})  # what only the classifiers can give
STEP = MetricKey("median_step_seconds")
PARTS = ("method", "classifier", "measuring")


@dataclass(frozen=True)
class Cost:
    """What the runs of one configuration cost; each number is the median over the runs that recorded it, else NaN.

    Attributes:
        runs: how many recorded what a step costs.
        unrecorded: how many did not: they have no epoch behind them, or were made before it was recorded.
        parameters: numbers that are weights of the model.
        added_parameters: of the method: its own parts, and the classifiers where it needs them.
        bytes: weights, buffers, gradients and optimiser state of the model.
        added_bytes: the same of what the method adds. No activations.
        peak_bytes: most memory there was: of a GPU's tensors, or of the whole process.
        step_seconds: wall time of a step as run.
        processor: whether work_seconds is processor time.
        work_seconds: what a step took with everything that is watched, and with its share of what the method does
            between epochs (teachers, trials, prototypes): processor time on the CPU, else wall time.
        needed_seconds: the same without what is only watched: no series, and no classifiers unless the method needs
            them. NaN where parts of a step cannot be told apart (GPU, own loops).
        shares: part of work_seconds that goes into each of `PARTS`; empty where needed_seconds is NaN.
        work_ratio: work_seconds over that of the baseline, 1 for itself; NaN between processor and wall time.
        needed_ratio: needed_seconds over that of the baseline.
    """

    runs: int
    unrecorded: int
    parameters: float
    added_parameters: float
    bytes: float
    added_bytes: float
    peak_bytes: float
    step_seconds: float
    processor: bool
    work_seconds: float
    needed_seconds: float
    shares: Mapping[str, float]
    work_ratio: float = math.nan
    needed_ratio: float = math.nan


def cost_table(by_name: Members) -> dict[str, Cost]:
    """Costs of configurations against the first.

    Args:
        by_name: runs by configuration, the baseline first; runs of one device and an equally busy machine, or the
            times say nothing.
    """
    own = {name: _cost(runs) for name, runs in by_name.items()}
    first = next(iter(own.values()), None)
    return {
        name: replace(
            cost,
            work_ratio=_over(cost.work_seconds, first.work_seconds) if cost.processor == first.processor else math.nan,
            needed_ratio=_over(cost.needed_seconds, first.needed_seconds),
        )
        for name, cost in own.items() if first
    }  # fmt: skip


def _cost(runs: Sequence[RunInfo]) -> Cost:
    recorded = [_Run(info) for info in runs if STEP in info.summary]
    shares = {part: _median([run.share(part) for run in recorded]) for part in PARTS}
    return Cost(
        runs=len(recorded),
        unrecorded=len(runs) - len(recorded),
        parameters=_median([run("model_parameters") for run in recorded]),
        added_parameters=_median([run.added("parameters") for run in recorded]),
        bytes=_median([run("model_bytes") for run in recorded]),
        added_bytes=_median([run.added("bytes") for run in recorded]),
        peak_bytes=_median([run("peak_memory_bytes") for run in recorded]),
        step_seconds=_median([run("median_step_seconds") for run in recorded]),
        processor=any(run.processor for run in recorded),
        work_seconds=_median([run.work() for run in recorded]),
        needed_seconds=_median([run.needed() for run in recorded]),
        shares={part: share for part, share in shares.items() if math.isfinite(share)},
    )


class _Run:
    """Newest costs of one run by name; NaN for what it did not record."""

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        method = info.config.get("method")
        card: MethodCard | None = catalog.all_cards("method").get(method) if isinstance(method, str) else None
        self._classifiers = bool(_CLASSIFIERS & set(card.requires)) if card else None  # whether it needs them

    def __call__(self, metric: str) -> float:
        found = self._info.summary.get(MetricKey(metric))
        return found.last if found else math.nan

    def added(self, what: str) -> float:
        """What the method adds: `parameters` or `bytes`; NaN for a method that no card describes."""
        if self._classifiers is None:
            return math.nan
        return self(f"method_{what}") + (self(f"classifier_{what}") if self._classifiers else 0)

    @property
    def processor(self) -> bool:
        return math.isfinite(self("median_processor_seconds"))

    def work(self) -> float:
        return self("median_processor_seconds" if self.processor else "median_step_seconds") + self._epochs()

    def share(self, part: str) -> float:
        return _over(self(f"median_{part}_seconds") + (self._epochs() if part == "method" else 0), self.work())

    def needed(self) -> float:
        if self._classifiers is None:
            return math.nan
        watched = self("median_measuring_seconds")
        return self.work() - watched - (0 if self._classifiers else self("median_classifier_seconds"))

    def _epochs(self) -> float:
        """A step's share of what the method does between epochs; 0 where that is not known (own loops)."""
        found = self("method_epoch_seconds")
        return found if math.isfinite(found) else 0.0


def _median(values: Sequence[float]) -> float:
    """Median of the finite ones; NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return median(finite) if finite else math.nan


def _over(value: float, by: float) -> float:
    return value / by if by > 0 else math.nan
