"""Who carries the fused prediction: Shapley values over subsets of modalities, and what follows from them.

v(S) is the value of the prediction when only the modalities of S are there: higher is better, 0 or chance where
nothing is known. A subset is a bit mask: bit i stands for modality i, 0 is nobody, 2**M - 1 everybody.

Everything here is a linear map of v(S), so uncertainty over samples passes through exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cggm_core.measures import shapley

FloatArray = NDArray[np.float64]
MOST_EXACT = 6  # 64 subsets; one modality more and sampled orders cost less
ORDERS = 16  # sampled orders and their reverses: 32 chains of subsets


def subsets_needed(modalities: int, seed: int = 0) -> tuple[int, ...]:
    """Bit masks of the subsets whose value is needed, ascending: all of them up to `MOST_EXACT` modalities.

    Args:
        modalities: M, 2 or more.
        seed: of the sampled orders, above `MOST_EXACT`.
    """
    if modalities <= MOST_EXACT:
        return tuple(range(2**modalities))
    everyone = 2**modalities - 1
    singles = {1 << m for m in range(modalities)}
    found = {0, everyone} | singles | {everyone ^ one for one in singles}
    for order in _orders(modalities, seed):
        found |= set(_chain(order))
    return tuple(sorted(found))


def shapley_weights(modalities: int, seed: int = 0) -> FloatArray:
    """The matrix W with phi = W v, rows modalities, columns `subsets_needed` in their order.

    Those of `measures.shapley`; above `MOST_EXACT` modalities phi is the mean marginal gain over sampled orders of
    arrival, each with its reverse. Either way sum phi = v(all) - v(none)
    exactly, and a modality that changes no value gets 0.

    Reference: Shapley 1953; methods reference 9.5.

    Args:
        modalities: M, 2 or more.
        seed: of the sampled orders.

    Returns:
        `[M, subsets]`.
    """
    masks = subsets_needed(modalities, seed)
    column = {mask: place for place, mask in enumerate(masks)}
    weights = np.zeros((modalities, len(masks)))
    if modalities <= MOST_EXACT:
        for chosen, row in zip(shapley.subsets(modalities), shapley.shapley_weights(modalities).numpy(), strict=True):
            weights[:, column[sum(1 << m for m in chosen)]] = row
        return weights
    orders = _orders(modalities, seed)
    for order in orders:
        for m, before, after in zip(order, _chain(order), _chain(order)[1:], strict=False):
            weights[m, column[after]] += 1
            weights[m, column[before]] -= 1
    return weights / len(orders)


def order_variance(values: FloatArray, modalities: int, seed: int = 0) -> FloatArray:
    """Variance of each sampled Shapley value that comes from sampling orders; 0 where all subsets were there.

    Args:
        values: v of `subsets_needed`, in their order.
        modalities: M.
        seed: as for `shapley_weights`.

    Returns:
        `[M]`, of the mean over pairs (an order and its reverse), which are independent of one another.
    """
    if modalities <= MOST_EXACT:
        return np.zeros(modalities)
    value = dict(zip(subsets_needed(modalities, seed), values.tolist(), strict=True))
    gains = np.zeros((2 * ORDERS, modalities))
    for row, order in enumerate(_orders(modalities, seed)):
        chain = _chain(order)
        for m, before, after in zip(order, chain, chain[1:], strict=False):
            gains[row, m] = value[after] - value[before]
    pairs = gains.reshape(ORDERS, 2, modalities).mean(1)
    variance: FloatArray = pairs.var(0, ddof=1) / ORDERS
    return variance


def removal(value: float, without: FloatArray) -> FloatArray:
    """v(all) - v(all but m): what is lost when m alone is taken away; 0 for one that is redundant, or unused."""
    lost: FloatArray = value - without
    return lost


def utilisation(value: float, without: FloatArray) -> FloatArray:
    """Conditional utilisation (v(all) - v(all but m)) / v(all); below 0 m does harm; NaN where v(all) is not above 0.

    Reference: methods reference 9.3.
    """
    return removal(value, without) / value if value > 0 else np.full(len(without), math.nan)


def interaction(both: float, first: float, second: float, nobody: float) -> float:
    """v(ab) - v(a) - v(b) + v(none): above 0 two modalities tell more together, below 0 they tell the same."""
    return both - first - second + nobody


def perceptual(value: float, permuted: FloatArray) -> FloatArray:
    """v(all) less the mean of v with m taken from other samples, `[M]` from `[M, permutations]`."""
    lost: FloatArray = value - permuted.mean(1)
    return lost


def preferences(contributions: FloatArray, tolerance: float = 1e-12) -> NDArray[np.int64]:
    """How many samples each modality contributes most to, and how many nobody leads.

    Args:
        contributions: Shapley value of each sample, `[samples, M]`.
        tolerance: leads smaller than that are rounding.

    Returns:
        `[M + 1]` counts that sum to the samples; the last is of those without a leader.
    """
    count = contributions.shape[1]
    ordered = np.sort(contributions, axis=1)
    led = ordered[:, -1] - ordered[:, -2] > tolerance
    leader = np.where(led, contributions.argmax(1), count)
    return np.bincount(leader, minlength=count + 1)


def area(level: Sequence[float], value: Sequence[float]) -> float:
    """Area under a robustness curve by trapezoids, in the unit of level times value (methods reference 9.10)."""
    return float(np.trapezoid(np.asarray(value, np.float64), np.asarray(level, np.float64)))


def resampled(samples: int, draws: int, seed: int) -> FloatArray:
    """Weights of bootstrap draws over samples: how often each was drawn, over their number, `[draws, samples]`."""
    random = np.random.default_rng(seed)
    return random.multinomial(samples, np.full(samples, 1.0 / samples), size=draws) / samples


def _orders(modalities: int, seed: int) -> list[tuple[int, ...]]:
    random = np.random.default_rng([seed, modalities])
    drawn = [tuple(int(m) for m in random.permutation(modalities)) for _ in range(ORDERS)]
    return [order for one in drawn for order in (one, one[::-1])]


def _chain(order: Sequence[int]) -> list[int]:
    masks = [0]
    for m in order:
        masks.append(masks[-1] | 1 << m)
    return masks
