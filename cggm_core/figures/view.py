"""One run as figures see it: its curves, the axis they stand on, and the events worth a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cggm_core import names
from cggm_core.analysis.series import Axis, Curve, FloatArray, axis_values
from cggm_core.figures.spec import Mark
from cggm_core.names import MetricKey
from cggm_core.store.protocols import Event

AXIS_LABELS: dict[Axis, str] = {"step": "Step", "epoch": "Epoch", "seconds": "Time since start [s]"}
WARNINGS = ("warning", "died", "failed", "error")
# The ends of a run are not marked, the axis shows where it begins and stops; nor is how far teachers have come.
UNMARKED = ("start", "started", "finished", "stopped", "end", "beside")
_MAX_MARKS = 60


@dataclass(frozen=True)
class RunView:
    """What is drawn of one run.

    Attributes:
        curves: by series.
        modalities: in the run's order, which decides their colours.
        axis: what the x axis counts.
        steps_per_epoch: steps a pass takes, 0 while unknown.
        half_life: of the smoothing, in steps; 0 draws the raw values alone.
        events: everything that happened.
        chance: score of guessing; None where the task has none.
        score: what a score is, with its unit; "" while unknown.
    """

    curves: Mapping[MetricKey, Curve]
    modalities: tuple[str, ...]
    axis: Axis = "step"
    steps_per_epoch: float = 0.0
    half_life: float = 0.0
    events: tuple[Event, ...] = ()
    chance: float | None = None
    score: str = ""
    marks: tuple[Mark, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", event_marks(self.events, self))

    def x(self, curve: Curve) -> FloatArray:
        """Where a curve's points stand."""
        return axis_values(self.axis, curve.step, curve.epoch, curve.seconds, self.steps_per_epoch)


def modalities_of(keys: Iterable[MetricKey]) -> tuple[str, ...]:
    """Modalities in the order in which series first name them; pairs name none."""
    found = dict.fromkeys(key.modality for key in keys if key.modality)
    return tuple(m for m in found if names.PAIR_SEPARATOR not in m)


def event_marks(events: Sequence[Event], view: RunView) -> tuple[Mark, ...]:
    """The newest events that are worth a line, placed on the view's axis."""
    shown = [event for event in events if event.kind not in UNMARKED][-_MAX_MARKS:]
    if not shown:
        return ()
    step = np.array([event.step for event in shown], np.int64)
    seconds = np.array([event.seconds for event in shown])
    # Without the length of a pass the epoch of an event is not known; the nearest row of a curve says it.
    epoch = np.zeros_like(step)
    longest = max(view.curves.values(), key=lambda c: len(c.step), default=None)
    if longest is not None and len(longest.step):
        place = np.clip(np.searchsorted(longest.step, step), 0, len(longest.step) - 1)
        epoch = longest.epoch[place]
    x = axis_values(view.axis, step, epoch, seconds, view.steps_per_epoch)
    return tuple(
        Mark(float(place), event.kind, event.text or event.kind, event.kind in WARNINGS)
        for place, event in zip(x, shown, strict=True)
    )
