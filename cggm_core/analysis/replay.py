"""What-if replay: the coefficients another setting of CGGM would have given, from the logged scores alone.

The definitions are those of `measures.coefficients` and `methods.cggm`, written for a whole history at once; a test
replays recorded runs with their own settings and finds their recorded coefficients again. It is an answer about the
coefficient, not about the training: other coefficients would have led to other scores from the second step on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.signal import lfilter

from cggm_core.analysis.series import FloatArray, IntArray
from cggm_core.names import MetricKey
from cggm_core.store import Event, RunReader

Variant = Literal["paper", "released", "stable"]
VARIANTS: tuple[Variant, ...] = ("paper", "released", "stable")
RELEASED_EPSILON = 1e-8
MOST_RHO, MOST_SPAN = 100.0, 100_000
_ROUNDING = 4 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Setting:
    """One way to turn scores into coefficients.

    Attributes:
        variant: which reading of the method.
        rho: scale, above 0 to `MOST_RHO`.
        span: stable only: steps over which scores are smoothed, from 2 to `MOST_SPAN`.
        half_life: paper and released: scores are averaged first, each counting half as much after so many steps;
            0 takes them as they are, which is the method; much longer than an epoch the gain hardly moves.
        epsilon: paper: a sum of gains up to this size counts as undefined, so that the coefficient keeps its last
            value (0 is the method, where only rounding counts); released: what is added to the sum (1e-8 is the
            method's; towards 1 every coefficient goes to rho).
        soft: gains are those of the continuous score, where the run logged it; else of the task's score.
    """

    variant: Variant = "paper"
    rho: float = 1.3
    span: int = 20
    half_life: float = 0.0
    epsilon: float = 0.0
    soft: bool = False


@dataclass(frozen=True)
class Recorded:
    """What a run logged.

    Attributes:
        modalities: in model order.
        step: `[T]`, ascending.
        scores: unimodal scores, `[T, M]`.
        applied: coefficients that were applied, `[T, M]`; empty (`[T, 0]`) where none were recorded.
        soft: continuous scores, `[T, M]`; empty (`[T, 0]`) where the method used none.
    """

    modalities: tuple[str, ...]
    step: IntArray
    scores: FloatArray
    applied: FloatArray
    soft: FloatArray

    def scores_of(self, setting: Setting) -> FloatArray:
        """The scores whose gains a setting takes, as far as they were logged."""
        return self.soft if setting.soft and self.soft.shape[1] else self.scores


def recorded(reader: RunReader) -> Recorded:
    """Scores and coefficients of a run, on the steps at which every modality has a score."""
    keys = reader.keys()
    modalities = tuple(key.modality for key in keys if key.metric == "unimodal_score")
    score_keys = [MetricKey("unimodal_score", m) for m in modalities]
    step, scores = _columns(reader, score_keys)

    def beside(metric: str) -> FloatArray:
        wanted = [MetricKey(metric, m) for m in modalities]
        at, values = _columns(reader, wanted if set(wanted) <= set(keys) else [])
        whole = len(at) == len(step) and bool((at == step).all())
        return values if whole else np.empty((len(step), 0))

    return Recorded(modalities, step, scores, beside("balance_coefficient"), beside("soft_score"))


def own_setting(config: Mapping[str, Any]) -> Setting | None:
    """The setting a run was started with; None for another method, or a configuration that does not soundly say."""
    params = config.get("method_params")
    if config.get("method") != "cggm" or not isinstance(params, Mapping):
        return None
    variant, rho, span = params.get("variant"), params.get("rho", 1.0), params.get("span", 20)
    if variant not in VARIANTS or not isinstance(rho, int | float) or not isinstance(span, int):
        return None
    if not 0 < rho <= MOST_RHO or not 2 <= span <= MOST_SPAN:  # also where rho is no number
        return None
    epsilon = RELEASED_EPSILON if variant == "released" else 0.0
    return Setting(variant, float(rho), span, epsilon=epsilon, soft=params.get("epsilon") == "soft")


def rho_by_step(step: IntArray, rho: float, events: Sequence[Event]) -> FloatArray:
    """The rho in force at every step: the configuration's, then what was set while the run went on."""
    made = np.full(len(step), rho)
    for event in events:
        if event.kind == "set" and isinstance(value := event.data.get("rho"), int | float):
            made[step >= event.step] = value
    return made


def replay(scores: FloatArray, setting: Setting, rho: FloatArray | None = None) -> FloatArray:
    """Coefficients B, `[T, M]`, for scores `[T, M]` of consecutive steps from the first on.

    Args:
        scores: unimodal scores; a NaN makes the steps it touches undefined (paper) or NaN.
        setting: which coefficients.
        rho: `[T]`, where it changed during the run; else the setting's.
    """
    if not scores.size:
        return np.empty_like(scores)
    scale = np.full(len(scores), setting.rho) if rho is None else rho
    shares = _SHARES[setting.variant](scores, setting, scale)
    # The method applies the factor in the gradients' own format, float32.
    made: FloatArray = (scale[:, None] * shares).astype(np.float32).astype(np.float64)
    return made


def paper_shares(scores: FloatArray, setting: Setting, rho: FloatArray) -> FloatArray:
    """(S - gain_m) / S with S the sum of gains; where S is zero to rounding, what makes B its last value, 1 at first.

    Reference: Guo et al., NeurIPS 2024, Eq. 6-7, without rho.
    """
    smooth = averaged(scores, setting.half_life)
    gain, before = _gain(smooth)
    total = gain.sum(1)
    rounding = _ROUNDING * (np.abs(smooth).sum(1) + np.abs(before).sum(1))
    defined = np.abs(total) > np.maximum(rounding, setting.epsilon)
    shares = (total[:, None] - gain) / np.where(defined, total, 1.0)[:, None]
    last = np.maximum.accumulate(np.where(defined, np.arange(len(total)), -1))
    kept = np.maximum(last, 0)
    made: FloatArray = np.where(last[:, None] >= 0, (rho[kept, None] * shares[kept]) / rho[:, None], 1 / rho[:, None])
    made[defined] = shares[defined]
    return made


def released_shares(scores: FloatArray, setting: Setting, rho: FloatArray) -> FloatArray:
    """As the authors' code has it: S = sum of gains + epsilon, signed, so nothing is bounded."""
    gain, _ = _gain(averaged(scores, setting.half_life))
    total = gain.sum(1, keepdims=True) + setting.epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        made: FloatArray = (total - gain) / total
    return made


def stable_shares(scores: FloatArray, setting: Setting, rho: FloatArray) -> FloatArray:
    """M/(M-1) (1 - p_m / sum p) with p the positive part of the gain since the first step, smoothed, plus its noise."""
    count, span = scores.shape[1], setting.span
    average = _average(scores, 2 / (span + 1))
    before = np.concatenate([scores[:1], average[:-1]])
    surprise = np.square(scores - before).mean(1, keepdims=True)
    # The noise is a plain mean over the first `span` steps and a moving one afterwards.
    early = np.cumsum(surprise[:span], axis=0) / np.arange(1, min(span, len(surprise)) + 1)[:, None]
    later = _average(np.concatenate([early[-1:], surprise[span:]]), 1 / span)[1:]
    noise = np.sqrt(np.concatenate([early, later]) / span) + np.finfo(np.float64).tiny ** 0.5
    positive = np.maximum(average - scores[:1], 0) + noise
    made: FloatArray = (1 - positive / positive.sum(1, keepdims=True)) * (count / (count - 1))
    return made


_SHARES = {"paper": paper_shares, "released": released_shares, "stable": stable_shares}


def averaged(scores: FloatArray, half_life: float) -> FloatArray:
    """Scores as a moving average that starts at the first of them; half-life in steps, 0 leaves them as they are."""
    return _average(scores, 1 - 0.5 ** (1 / half_life)) if half_life > 0 else scores


@dataclass(frozen=True)
class Health:
    """How a history of coefficients behaved, over all modalities.

    Attributes:
        negative: share of steps at which some modality's gradient was reversed.
        large: share at which some coefficient was larger than 5 in size.
        largest: largest size.
        mean: mean coefficient.
    """

    negative: float
    large: float
    largest: float
    mean: float


LARGE = 5.0


def health(coefficients: FloatArray) -> Health:
    """Of coefficients `[T, M]`; steps with a value that is not finite count as large."""
    if not coefficients.size:
        return Health(0.0, 0.0, 0.0, 1.0)
    size = np.where(np.isfinite(coefficients), np.abs(coefficients), np.inf)
    finite = coefficients[np.isfinite(coefficients)]
    with np.errstate(over="ignore"):  # where coefficients fill the range of a float64, their mean is infinite
        mean = float(finite.mean()) if len(finite) else float("nan")
    return Health(float((coefficients < 0).any(1).mean()), float((size > LARGE).any(1).mean()), float(size.max()), mean)


def _gain(scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Change since the step before, whose scores count as 0 at the first step; and those scores."""
    before = np.concatenate([np.zeros_like(scores[:1]), scores[:-1]])
    return scores - before, before


def _average(values: FloatArray, weight: float) -> FloatArray:
    """a_t = a_(t-1) + weight (v_t - a_(t-1)) with a_0 = v_0, down each column."""
    start = (1 - weight) * values[:1]
    made: FloatArray = lfilter([weight], [1.0, weight - 1.0], values, axis=0, zi=start)[0]
    return made


def _columns(reader: RunReader, keys: Sequence[MetricKey]) -> tuple[IntArray, FloatArray]:
    """Series side by side, on the steps that all have."""
    found = reader.series(keys)
    return _together([(found[key].step, found[key].value) for key in keys])


def _together(parts: Sequence[tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    """Columns on the steps that all have."""
    if not parts:
        return np.empty(0, np.int64), np.empty((0, 0))
    step = parts[0][0]
    if all(len(other) == len(step) and (other == step).all() for other, _ in parts):
        return step, np.stack([value for _, value in parts], axis=1)
    for other, _ in parts[1:]:
        step = np.intersect1d(step, other)
    return step, np.stack([value[np.searchsorted(at, step)] for at, value in parts], axis=1)
