"""A run as figures need it: what was read so far, bounded, brought up to date by what is new.

Reading costs by what is new; nothing is read while the run's files have not changed. Held are at most
2 x KEPT points a series: extremes survive thinning, and smoothing runs over every row before any is thinned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cggm_core.analysis.series import Axis, Curve, FloatArray, IntArray, Smoother
from cggm_core.figures.dynamics import DRAWN
from cggm_core.figures.spec import label
from cggm_core.figures.view import RunView, modalities_of
from cggm_core.names import MetricKey
from cggm_core.store.downsample import kept_indices
from cggm_core.store.protocols import Event, RunInfo, RunReader, Series

KEPT = 2000
_SAMPLE = 4096
_RATE_SECONDS = 15.0
# Per-epoch values are few and belong to no step's neighbourhood: they are shown as they are.
_UNSMOOTHED = ("val_", "test_")


def half_life_of(key: MetricKey, half_life: float) -> float:
    """The half-life a series is smoothed with, where others take `half_life`."""
    return 0.0 if key.metric.startswith(_UNSMOOTHED) else half_life


@dataclass
class Held:
    """One series as held: thinned rows, an evenly spaced sample, and the smoother's place.

    Attributes:
        stride: steps between two values of the sample; a power of two that grows with the run.
    """

    smoother: Smoother
    step: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    epoch: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    seconds: FloatArray = field(default_factory=lambda: np.empty(0))
    value: FloatArray = field(default_factory=lambda: np.empty(0))
    smooth: FloatArray = field(default_factory=lambda: np.empty(0))
    sample_step: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    sample: FloatArray = field(default_factory=lambda: np.empty(0))
    stride: int = 1
    total: int = 0

    def extend(self, new: Series) -> None:
        """Add rows that all come after the ones held."""
        smooth = self.smoother.extend(new.step, new.value)
        self.total += len(new.step)
        self.step = np.concatenate([self.step, new.step])
        self.epoch = np.concatenate([self.epoch, new.epoch])
        self.seconds = np.concatenate([self.seconds, new.seconds])
        self.value = np.concatenate([self.value, new.value])
        self.smooth = np.concatenate([self.smooth, smooth])
        if len(self.step) > 2 * KEPT:
            kept = kept_indices(self.step, self.value, KEPT)
            for name in ("step", "epoch", "seconds", "value", "smooth"):
                setattr(self, name, getattr(self, name)[kept])
        self._take_sample(new)

    def _take_sample(self, new: Series) -> None:
        fair = new.step % self.stride == 0
        self.sample_step = np.concatenate([self.sample_step, new.step[fair]])
        self.sample = np.concatenate([self.sample, new.value[fair]])
        while len(self.sample) > 2 * _SAMPLE:
            self.stride *= 2
            fair = self.sample_step % self.stride == 0
            self.sample_step, self.sample = self.sample_step[fair], self.sample[fair]

    def curve(self) -> Curve:
        """As drawn."""
        return Curve(self.step, self.epoch, self.seconds, self.value, self.smooth, self.sample, self.total)


class LiveRun:
    """What a session holds of one run.

    Args:
        reader: of the run.
        half_life: of the smoothing, in steps.
    """

    def __init__(self, reader: RunReader, half_life: float = 0.0) -> None:
        self.reader = reader
        self.half_life = half_life
        self.events: tuple[Event, ...] = ()
        self.info: RunInfo = reader.info()
        self.reads = 0
        self.restarts = 0
        self._token: tuple[int, ...] | None = None
        self._keys: tuple[MetricKey, ...] = ()
        self._held: dict[MetricKey, Held] = {}
        self._cursor: Any = None

    def poll(self) -> bool:
        """Bring everything up to date; False, and nothing read, when nothing changed.

        Raises:
            DamagedRunError: if a checksum of the new rows does not fit.
        """
        token = self.reader.change_token()
        if token == self._token:
            return False
        self.info = self.reader.info()
        if not self.info.damaged:
            self._read()
        self._token = token
        self.reads += 1
        return True

    def smooth(self, half_life: float) -> None:
        """Smooth differently from now on; the history is read again, as only thinned rows are held."""
        if half_life != self.half_life:
            self.half_life = half_life
            self._restart()

    def view(self, axis: Axis = "step", curves: Mapping[MetricKey, Curve] | None = None) -> RunView:
        """What the figures of this run are drawn from, on one axis; from other curves of it where they are given."""
        return RunView(
            self.curves() if curves is None else curves, self.modalities(), axis, self.steps_per_epoch(),
            self.half_life, self.events, self.chance(), self.score_label(),
        )  # fmt: skip

    def curves(self) -> dict[MetricKey, Curve]:
        """Every series that is drawn."""
        return {key: held.curve() for key, held in self._held.items()}

    def modalities(self) -> tuple[str, ...]:
        """In the order in which the run declared them, which decides their colours."""
        return modalities_of(self._keys)

    def steps_per_epoch(self) -> float:
        """Steps a pass takes; 0 while the plan is not known."""
        return self.info.steps / self.info.epochs if self.info.steps > 0 and self.info.epochs > 0 else 0.0

    def rate(self) -> float:
        """Steps a second over the newest rows; 0 while it is not known."""
        held = max(self._held.values(), key=lambda h: h.step[-1] if len(h.step) else -1, default=None)
        if held is None or len(held.step) < 2:
            return 0.0
        first = int(np.searchsorted(held.seconds, held.seconds[-1] - _RATE_SECONDS))
        first = min(first, len(held.step) - 2)
        took = float(held.seconds[-1] - held.seconds[first])
        return float(held.step[-1] - held.step[first]) / took if took > 0 else 0.0

    def elapsed(self) -> float:
        """Seconds from the first start to the newest row; 0 before it."""
        return max((float(held.seconds[-1]) for held in self._held.values() if len(held.seconds)), default=0.0)

    def rows(self) -> int:
        """Rows recorded of the longest series."""
        return max((held.total for held in self._held.values()), default=0)

    def chance(self) -> float | None:
        """Score of guessing, as the worker said when it started; None where it did not."""
        said = next((e.data["chance"] for e in reversed(self.events) if "chance" in e.data), None)
        return float(said) if isinstance(said, int | float) and math.isfinite(said) else None

    def score_label(self) -> str:
        """What a score of this run is, with its unit, as the worker said; "" where it did not."""
        data = next((e.data for e in reversed(self.events) if "score" in e.data), {})
        name, unit = data.get("score", ""), data.get("unit", "")
        # A share of right signs has no unit, whatever the label's is.
        return label(name, unit if name == "-MAE" else "") if isinstance(name, str) else ""

    def latest(self, metric: str, modality: str = "") -> float:
        """Newest value of a series; NaN where there is none."""
        held = self._held.get(MetricKey(metric, modality))
        return float(held.value[-1]) if held is not None and len(held.value) else float("nan")

    def _restart(self) -> None:
        self.restarts += 1
        self._token, self._cursor, self._held, self.events = None, None, {}, ()

    def _read(self) -> None:
        keys = self.reader.keys()
        if keys != self._keys:
            # A series declared in mid-run belongs to the keys asked for, and those are fixed with a cursor.
            self._keys = keys
            self._restart()
        news = self.reader.news(self._cursor, [key for key in keys if key.metric in DRAWN])
        if news.restart and self._cursor is not None:
            self._restart()
            news = self.reader.news(None, [key for key in keys if key.metric in DRAWN])
        for key, series in news.series.items():
            if key not in self._held:
                self._held[key] = Held(Smoother(half_life_of(key, self.half_life)))
            self._held[key].extend(series)
        self.events += news.events
        self._cursor = news.cursor
