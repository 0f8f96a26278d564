"""One series for the eye: its place on an axis, and its smoothed line.

Smoothing never replaces anything: raw values are kept beside it, and the smoothed value at a step depends on
no later step and not on which points are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Axis = Literal["step", "epoch", "seconds"]

# Weights inside one block span at most 2**_OCTAVES, so that no float64 overflows or vanishes.
_OCTAVES = 200.0


@dataclass
class Smoother:
    """Debiased exponential average over the distance in steps, fed piece by piece.

    At step s it is sum_i w_i y_i / sum_i w_i over the finite values so far, with w_i = 2 ** (-(s - s_i) / h).
    Dividing by the sum of weights is what removes the bias to zero at the start, so a constant stays that
    constant. Where the value is not finite the line breaks, and the value adds nothing.

    Attributes:
        half_life: h in steps: after so many steps a value counts half. 0 smooths nothing; large values lag
            behind by about 1.4 h.
    """

    half_life: float
    _origin: float = 0.0
    _sum: float = 0.0
    _weight: float = 0.0
    _step: float = 0.0

    def extend(self, step: IntArray, value: FloatArray) -> FloatArray:
        """Smoothed values of the next rows.

        Args:
            step: shape [rows], ascending, all after the rows given before.
            value: shape [rows]; may hold NaN and infinities.

        Returns:
            Shape [rows]; NaN where the value is not finite.
        """
        made = np.full(len(value), np.nan)
        finite = np.flatnonzero(np.isfinite(value))
        if not len(finite):
            return made
        if self.half_life <= 0:
            made[finite] = value[finite]
            return made
        if self._weight == 0.0:
            # Averaging differences from a first value keeps constants exact to the last bit.
            self._origin, self._step = float(value[finite[0]]), float(step[finite[0]])
        place = step[finite].astype(np.float64)
        block = np.floor((place - place[0]) / (self.half_life * _OCTAVES))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for part in np.split(np.arange(len(finite)), np.flatnonzero(np.diff(block)) + 1):
                made[finite[part]] = self._block(place[part], value[finite[part]])
        return made

    def _block(self, place: FloatArray, value: FloatArray) -> FloatArray:
        kept = 2.0 ** (-(place[0] - self._step) / self.half_life)
        growth: FloatArray = np.exp2((place - place[0]) / self.half_life)
        total: FloatArray = kept * self._sum + np.cumsum(growth * (value - self._origin))
        weight: FloatArray = kept * self._weight + np.cumsum(growth)
        self._sum, self._weight = float(total[-1] / growth[-1]), float(weight[-1] / growth[-1])
        self._step = float(place[-1])
        smoothed: FloatArray = self._origin + total / weight
        return smoothed


def smoothed(step: IntArray, value: FloatArray, half_life: float) -> FloatArray:
    """Debiased exponential average of a whole series; see `Smoother`."""
    return Smoother(half_life).extend(step, value)


def axis_values(
    axis: Axis, step: IntArray, epoch: IntArray, seconds: FloatArray, steps_per_epoch: float = 0.0
) -> FloatArray:
    """Where rows stand on the axis chosen.

    Args:
        axis: "step" is the optimiser step from 0; "epoch" is passes done, with fractions inside a pass;
            "seconds" is wall time since the run's first start.
        step: of the rows, shape [rows].
        epoch: of the rows, from 0.
        seconds: of the rows.
        steps_per_epoch: steps a pass takes; 0 while unknown, then whole passes are all that can be shown.

    Returns:
        Shape [rows].
    """
    if axis == "step":
        return step.astype(np.float64)
    if axis == "seconds":
        return seconds.astype(np.float64)
    if steps_per_epoch > 0:
        return (step.astype(np.float64) + 1.0) / steps_per_epoch
    return epoch.astype(np.float64) + 1.0


@dataclass(frozen=True)
class Curve:
    """One series as it is drawn: thinned rows with their smoothed values, and a fair sample of all rows.

    Attributes:
        step, epoch, seconds, value, smooth: of the rows kept, ascending in step; extremes are among them.
        sample: values at evenly spaced steps, for shares and quantiles: thinning by extremes would bias
            both. It holds every value while there are few.
        total: rows recorded.
    """

    step: IntArray
    epoch: IntArray
    seconds: FloatArray
    value: FloatArray
    smooth: FloatArray
    sample: FloatArray
    total: int


def curve(step: IntArray, epoch: IntArray, seconds: FloatArray, value: FloatArray, half_life: float = 0.0) -> Curve:
    """A curve of a whole series, nothing thinned."""
    return Curve(step, epoch, seconds, value, smoothed(step, value, half_life), value, len(value))


@dataclass(frozen=True)
class Window:
    """A view of the y axis that outliers do not flatten.

    Attributes:
        low, high: edges of the view.
        outside: share of the finite values beyond the edges, 0 to 1.
        values: finite values there are.
    """

    low: float
    high: float
    outside: float
    values: int


def robust_window(value: FloatArray, *, keep: float = 0.9, include: tuple[float, ...] = ()) -> Window | None:
    """Edges that show the middle share `keep` of the values, wider where that costs nothing.

    Edges are the central quantiles, widened by half their distance on both sides; where every value fits
    inside, the edges are the extremes and nothing is outside.

    Args:
        value: any shape; non-finite values are left out.
        keep: central share that must be inside, 0 to 1; 1 shows everything.
        include: values that must be inside, such as a neutral line.

    Returns:
        None when there is no finite value.
    """
    finite = value[np.isfinite(value)]
    if not len(finite):
        return None
    low, high = (float(q) for q in np.quantile(finite, [(1 - keep) / 2, (1 + keep) / 2]))
    reach = (high - low) / 2 if high > low else 0.5 * max(abs(high), 1e-12)
    low = max(min(low - reach, *include, float(np.inf)), min(float(finite.min()), *include, float(np.inf)))
    high = min(max(high + reach, *include, -float(np.inf)), max(float(finite.max()), *include, -float(np.inf)))
    pad = 0.04 * (high - low) or 0.5 * max(abs(high), 1e-12)
    low, high = low - pad, high + pad
    return Window(low, high, float(np.mean((finite < low) | (finite > high))), len(finite))
