"""More detail where a person looks: the part of a run in view, drawn from every row there is of it.

Around it the run stays as held, so that moving and zooming out show something at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from cggm_core.analysis.series import Axis, Curve, axis_values, smoothed
from cggm_core.figures.live import LiveRun, half_life_of
from cggm_core.names import MetricKey
from cggm_core.store.downsample import kept_indices
from cggm_core.store.protocols import Series

Window = tuple[float, float]
AROUND = 300
# Rows older than so many half-lives before the view weigh less than 2 ** -30 in its smoothing.
_WARM_HALF_LIVES = 30
_MOST = 4


class Closer:
    """Parts of one run as they were read; bounded, and read again only when the run has moved on."""

    def __init__(self) -> None:
        self.reads = 0
        self._parts: OrderedDict[tuple[float, int, int], tuple[int, int, Mapping[MetricKey, Series]]] = OrderedDict()

    def curves(self, live: LiveRun, axis: Axis, window: Window, points: int) -> dict[MetricKey, Curve]:
        """Every series of the run with at most `points` rows inside the window and `AROUND` on either side.

        Args:
            live: the run, brought up to date.
            axis: what the window counts.
            window: what is seen, in units of the axis.
            points: most rows inside, at least 8.

        Raises:
            DamagedRunError: if a row inside does not fit its checksum.
        """
        curves = live.curves()
        thinned = [key for key, curve in curves.items() if curve.total > len(curve.step)]
        if not thinned:
            return curves
        first, last = _steps(curves[thinned[0]], axis, window, live.steps_per_epoch())
        end, parts = self._part(live, thinned, first, last)
        return {
            key: _closer(curve, parts[key], first, end, half_life_of(key, live.half_life), points)
            if key in parts else curve
            for key, curve in curves.items()
        }  # fmt: skip

    def _part(
        self, live: LiveRun, keys: list[MetricKey], first: int, last: int
    ) -> tuple[int, Mapping[MetricKey, Series]]:
        """The last step read, and the rows from shortly before `first` up to it."""
        place = (live.half_life, first, last)
        newest = min(last, live.info.step)
        held = self._parts.pop(place, None)
        # What came since was read with the run itself and lies beyond the part, until it is a quarter of it.
        if held is None or held[1] != live.restarts or newest - held[0] > max(64, (newest - first) // 4):
            warm = int(_WARM_HALF_LIVES * live.half_life)
            self.reads += 1
            held = (newest, live.restarts, live.reader.series(keys, first=max(0, first - warm), last=newest))
        self._parts[place] = held
        while len(self._parts) > _MOST:
            self._parts.popitem(last=False)
        return held[0], held[2]


def _steps(curve: Curve, axis: Axis, window: Window, steps_per_epoch: float) -> tuple[int, int]:
    """First and last step of a window; a row more on either side, so that lines reach its edges."""
    x = axis_values(axis, curve.step, curve.epoch, curve.seconds, steps_per_epoch)
    low, high = min(window), max(window)
    before = max(0, int(np.searchsorted(x, low, side="left")) - 1)
    after = min(len(x) - 1, int(np.searchsorted(x, high, side="right")))
    return int(curve.step[before]), int(curve.step[after])


def _closer(curve: Curve, part: Series, first: int, end: int, half_life: float, points: int) -> Curve:
    smooth = smoothed(part.step, part.value, half_life)
    inside = np.flatnonzero(part.step >= first)
    if len(inside):
        inside = inside[kept_indices(part.step[inside], part.value[inside], points)]
    before, after = np.flatnonzero(curve.step < first), np.flatnonzero(curve.step > end)
    around = [some[kept_indices(curve.step[some], curve.value[some], AROUND)] if len(some) else some
              for some in (before, after)]  # fmt: skip

    def joined(held: Any, new: Any) -> Any:
        return np.concatenate([held[around[0]], new[inside], held[around[1]]])

    return Curve(
        joined(curve.step, part.step), joined(curve.epoch, part.epoch), joined(curve.seconds, part.seconds),
        joined(curve.value, part.value), joined(curve.smooth, smooth), curve.sample, curve.total,
    )  # fmt: skip
