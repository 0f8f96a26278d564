"""Does the cheap gradient stand for the true one? Four numbers, each with its null and its interval.

A map cannot tell: with no pairing at all, vectors of one modality still gather in one cloud in which both kinds mix.
Every number compares the classifier's gradient of a batch with the unimodal gradient of the same batch (its partner);
the null is what the number is when partners are shuffled inside their snapshot, so that neither the modality's common
direction nor its drift over training passes for pairing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cggm_core.embedding.gradients import FloatArray, Gradients, IntArray

LEVEL = 0.95
FEWEST = 4  # the debiased CKA of fewer rows is not defined
MOST_PAIRS = 256
ROUNDS = 400
_NOTHING = 1e-12  # product of two lengths, of vectors of length 1 less their mean
NAMES = ("cosine", "centred", "rank", "cka")


@dataclass(frozen=True)
class Measure:
    """One number; NaN throughout where it is not defined.

    Attributes:
        value: as measured.
        low, high: 95 % interval, by bootstrap over batches (CKA: jackknife, because a row drawn twice would count
            as similar to itself).
        null: mean with partners shuffled.
        null_low, null_high: what 95 % of the shuffled values lie between.
        p: share of shuffled values at least as large, the measured one counted among them.
    """

    value: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    p: float


_NO_MEASURE = Measure(*[float("nan")] * 7)


@dataclass(frozen=True)
class Pairing:
    """How well one modality's classifier gradients stand for its unimodal ones.

    Attributes:
        first, last: steps of the first and last batch; -1 while there is none.
        pairs: batches compared; where they are too few to be compared, those there are.
        cosine: mean cosine of partners, -1 to 1.
        centred: the same after each kind's mean over the snapshot is taken away: 0 when only the mean direction is
            shared.
        rank: share of the snapshot's other batches whose unimodal gradient is farther than the partner's: 1 when
            the partner is always nearest, 0.5 by chance.
        cka: debiased linear CKA: whether batches are alike in one kind as they are in the other, 0 by chance, 1
            at most; does not depend on the axes.
    """

    modality: str
    first: int
    last: int
    pairs: int
    cosine: Measure
    centred: Measure
    rank: Measure
    cka: Measure


def pairing(gradients: Gradients, modality: str, *, seed: int = 0) -> Pairing:
    """All four numbers of one modality over the batches given, at most 256, in whole snapshots evenly taken.

    Snapshots of fewer than four batches are left out: shuffling inside them changes next to nothing, and shuffling
    across them would take the drift between snapshots for pairing. Where no other is left the numbers are NaN.
    """
    own = gradients.part(gradients.modality == modality)
    steps, start = own.paired_steps()
    blocks = blocks_of(start)
    if blocks:
        kept = np.concatenate(blocks)
        own, steps = own.part(np.isin(own.step, steps[kept])), steps[kept]
        cheap, true, _, start = own.pairs(modality)
        numbers = measured(cheap, true, blocks_of(start), seed=seed)
    else:
        numbers = dict.fromkeys(NAMES, _NO_MEASURE)
    ends = (int(steps[0]), int(steps[-1])) if len(steps) else (-1, -1)
    return Pairing(modality, *ends, len(steps), *(numbers[name] for name in NAMES))


def blocks_of(start: IntArray, most: int = MOST_PAIRS) -> list[IntArray]:
    """Rows by snapshot, of snapshots with four rows or more; at most `most` rows (itself four or more) in all.

    Whole snapshots are left out first, evenly, and only what is too large for its share loses rows, evenly too: every
    block keeps four rows, so that its shuffles are a null.
    """
    found = [rows for first in np.unique(start) if len(rows := np.flatnonzero(start == first)) >= FEWEST]
    total = sum(map(len, found))
    if total <= most:
        return found
    count = max(1, most * len(found) // total)
    return [_even(found[place], most // count) for place in _even(np.arange(len(found)), count)]


def _even(rows: IntArray, most: int) -> IntArray:
    """At most so many, evenly spaced."""
    if len(rows) <= most:
        return rows
    made: IntArray = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
    return made


def measured(
    cheap: FloatArray, true: FloatArray, blocks: list[IntArray], *, seed: int = 0, rounds: int = ROUNDS
) -> dict[str, Measure]:
    """The four numbers of paired rows.

    Args:
        cheap: unit vectors of the classifier, `[n, d]`.
        true: those of the modality alone, `[n, d]`, row by row of the same batches.
        blocks: rows of each snapshot, four at least.
        seed: of shuffles and resamples.
        rounds: shuffles, and resamples.
    """
    rng = np.random.default_rng(seed)
    shuffles = [_shuffles(len(rows), rounds, rng) for rows in blocks]
    made = {}
    tables: dict[str, list[FloatArray]] = {name: [] for name in NAMES[:3]}
    grams = []
    for rows in blocks:
        a, b = cheap[rows], true[rows]
        tables["cosine"].append(a @ b.T)
        tables["centred"].append(cosine_table(a - a.mean(0), b - b.mean(0)))
        tables["rank"].append(rank_table(tables["cosine"][-1]))
        grams.append((_hollow(a @ a.T), _hollow(b @ b.T)))
    for name in NAMES[:3]:
        made[name] = _from_tables(tables[name], shuffles, rng, rounds)
    made["cka"] = _cka(grams, shuffles)
    return made


def cosine_table(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cosines of all rows of `a` with all rows of `b`, `[n, n]`; 0 where a row is zero to rounding."""
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    made: FloatArray = np.divide(a @ b.T, norms, out=np.zeros((len(a), len(b))), where=norms > _NOTHING)
    return made


def rank_table(cosines: FloatArray) -> FloatArray:
    """For each row i and column j the share of the other columns with a smaller cosine; ties count half, `[n, n]`."""
    n = len(cosines)
    made: FloatArray = (stats.rankdata(cosines, axis=1) - 1) / (n - 1)
    return made


def debiased_cka(first: FloatArray, second: FloatArray) -> float:
    """Linear CKA from unbiased estimates of HSIC; vectors `[n, d]` and `[n, e]`, n at least 4.

    Plain CKA of independent rows rises with their length; this one has mean 0. NaN where one side does not vary.

    Reference: Song et al., JMLR 2012, Eq. 5 (unbiased HSIC); Nguyen, Raghu, Kornblith, ICLR 2021 (its use for CKA).
    """
    return _cka_value([(_hollow(first @ first.T), _hollow(second @ second.T))])


def _from_tables(
    tables: list[FloatArray], shuffles: list[IntArray], rng: np.random.Generator, rounds: int
) -> Measure:  # fmt: skip
    """A mean over partners: entry [i, i] of its block's table; shuffled, entry [i, s(i)]."""
    own = np.concatenate([np.diag(table) for table in tables])
    shuffled = sum(
        np.take_along_axis(table[None], order[:, :, None], axis=2)[:, :, 0].sum(1)
        for table, order in zip(tables, shuffles, strict=True)
    ) / len(own)  # fmt: skip
    drawn = own[rng.integers(0, len(own), (rounds, len(own)))].mean(1)
    return _measure(float(own.mean()), np.quantile(drawn, _ends()), np.asarray(shuffled))


def _cka(grams: list[tuple[FloatArray, FloatArray]], shuffles: list[IntArray]) -> Measure:
    value = _cka_value(grams)
    null = []
    own = np.sqrt(max(0.0, sum(_hsic(k, k) for k, _ in grams) * sum(_hsic(other, other) for _, other in grams)))
    if own > 0:
        for turn in range(len(shuffles[0])):
            orders = [order[turn] for order in shuffles]
            crossed = sum(_hsic(k, other[np.ix_(o, o)]) for (k, other), o in zip(grams, orders, strict=True))
            null.append(crossed / own)
    if not null or not np.isfinite(value):
        return _NO_MEASURE
    return _measure(value, _jackknife(grams, value), np.asarray(null))


def _jackknife(grams: list[tuple[FloatArray, FloatArray]], value: float) -> FloatArray:
    """Interval from leaving out one row at a time; NaN where a block would become too small."""
    without = []
    for place, (k, other) in enumerate(grams):
        if len(k) <= FEWEST:
            return np.full(2, np.nan)
        for row in range(len(k)):
            rest = np.delete(np.arange(len(k)), row)
            part = (k[np.ix_(rest, rest)], other[np.ix_(rest, rest)])
            without.append(_cka_value([*grams[:place], part, *grams[place + 1 :]]))
    n = len(without)
    spread = np.sqrt((n - 1) / n * np.square(np.asarray(without) - np.mean(without)).sum())
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * spread
    return np.array([value - reach, value + reach])


def _cka_value(grams: list[tuple[FloatArray, FloatArray]]) -> float:
    crossed, first, second = (
        sum(_hsic(a, b) for a, b in part)
        for part in (grams, [(k, k) for k, _ in grams], [(other, other) for _, other in grams])
    )
    return float(crossed / np.sqrt(first * second)) if first > 0 and second > 0 else float("nan")


def _hsic(k: FloatArray, other: FloatArray) -> float:
    """Unbiased HSIC of two Gram matrices with zero diagonals, n at least 4."""
    n = len(k)
    rows, others = k.sum(1), other.sum(1)
    whole = (k * other).sum() + rows.sum() * others.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows @ others)
    return float(whole / (n * (n - 3)))


def _hollow(gram: FloatArray) -> FloatArray:
    np.fill_diagonal(gram, 0.0)
    return gram


def _shuffles(n: int, rounds: int, rng: np.random.Generator) -> IntArray:
    return rng.permuted(np.tile(np.arange(n), (rounds, 1)), axis=1)


def _ends() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2


def _measure(value: float, interval: FloatArray, null: FloatArray) -> Measure:
    low, high = np.quantile(null, _ends())
    # Floating sums of the same terms in another order may differ in the last bits; that is no difference.
    p = (1 + int((null >= value - 1e-12).sum())) / (len(null) + 1)
    return Measure(value, float(interval[0]), float(interval[1]), float(null.mean()), float(low), float(high), p)


def over_training(
    gradients: Gradients, modality: str, *, width: int = 1, seed: int = 0,
    tell: Callable[[], None] | None = None,
) -> list[Pairing]:  # fmt: skip
    """The numbers along training: each window holds `width` snapshots that follow one another, the next begins one on.

    Args:
        gradients: of all steps wanted.
        modality: whose.
        width: snapshots a window; more make steadier numbers that react later.
        seed: of shuffles.
        tell: called after every window.
    """
    starts = gradients.starts()
    made = []
    for place in range(max(1, len(starts) - width + 1) if len(starts) else 0):
        window = starts[place : place + width]
        made.append(pairing(gradients.chosen(first=int(window[0]), last=int(window[-1])), modality, seed=seed))
        if tell:
            tell()
    return made
