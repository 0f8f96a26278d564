"""Configurations against each other: curves with spread over seeds, final scores, paired differences, tests.

A group is every run whose configuration differs in nothing but the seed. Nothing here samples runs: a mean is
over all the runs given, and every number travels with the n it was computed from.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy import stats

from cggm_core import catalog
from cggm_core.analysis.series import FloatArray
from cggm_core.config import RunConfig, preset_values
from cggm_core.errors import CggmError
from cggm_core.store.protocols import RunInfo

Spread = Literal["std", "interval", "range"]
LEVEL = 0.95
# Exact sign flips are 2**n; beyond this many pairs a t-test is as good and the enumeration pointless.
_EXACT_PAIRS = 14
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Band:
    """Mean curve of a group and its spread.

    Attributes:
        x: shape [places], ascending.
        mean: over the runs that have a value there.
        low, high: edges of the spread, NaN where fewer than two runs have a value.
        n: runs behind each place.
    """

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    n: np.ndarray


@dataclass(frozen=True)
class Sample:
    """Values of one number over the seeds of a group.

    Attributes:
        n: values there are; mean, std (n - 1 in the denominator), low, high (t interval of the mean) are NaN
            where n does not allow them.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Difference to a baseline, seed by seed.

    Attributes:
        n: seeds that both have.
        mean: of the differences (candidate minus baseline), in units of the number compared.
        low, high: t interval of the mean difference; NaN below two pairs.
        p: two-sided; NaN where no test is possible.
        test: its name, or why there is none.
        seeds: the seeds paired.
        differences: seed by seed, in the order of `seeds`.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    test: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...] = ()


def group_of(info: RunInfo) -> str:
    """Word that runs share if and only if their configurations differ in the seed alone.

    A watched loop is known by what it told (settings, data, method) and only where it told its seed. A run whose
    configuration cannot be read is a group of its own.
    """
    told = _without_seed(info)
    if known := _group_of_text(told) if told else "":
        return known
    return f"watched {told}" if told and isinstance(info.config.get("watch"), Mapping) else f"run {info.id}"


@lru_cache(maxsize=4096)
def _group_of_text(told: str) -> str:
    """The group of a configuration as text; "" where it cannot be read. Checking one takes a millisecond."""
    try:
        return RunConfig.from_dict(json.loads(told)).group()
    except (CggmError, TypeError, ValueError):
        return ""


def grouped(infos: Sequence[RunInfo]) -> dict[str, tuple[RunInfo, ...]]:
    """Runs by group, groups in the order in which they first occur, runs by seed."""
    found: dict[str, list[RunInfo]] = {}
    for info in infos:
        found.setdefault(group_of(info), []).append(info)
    return {name: tuple(sorted(runs, key=lambda r: (seed_of(r), r.id))) for name, runs in found.items()}


def _without_seed(info: RunInfo) -> str:
    """The configuration without seed, name, tags and notes as text; "" where it names no seed.

    Runs of a group say the same, so what is known of one is known of all.
    """
    if seed_of(info) < 0:
        return ""
    told = {key: value for key, value in info.config.items() if key not in ("name", "tags", "notes")}
    told["training"] = {key: value for key, value in told["training"].items() if key != "seed"}
    return json.dumps(told, sort_keys=True)


def seed_of(info: RunInfo) -> int:
    """The run's seed; -1 where the configuration names none."""
    training = info.config.get("training")
    seed = training.get("seed", -1) if isinstance(training, Mapping) else -1
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else -1


def sample(values: Sequence[float]) -> Sample:
    """Mean, spread and t interval of the mean, over finite values."""
    finite = np.asarray([v for v in values if math.isfinite(v)], np.float64)
    n = len(finite)
    if n == 0:
        return Sample(0, math.nan, math.nan, math.nan, math.nan)
    mean = float(finite.mean())
    if n == 1:
        return Sample(1, mean, math.nan, math.nan, math.nan)
    std = float(finite.std(ddof=1))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n)
    return Sample(n, mean, std, mean - reach, mean + reach)


def band(members: Sequence[tuple[FloatArray, FloatArray]], spread: Spread = "std") -> Band:
    """Mean and spread of curves that may be of different length or step.

    Places are those of all members together; a member is interpolated between its own points and never beyond
    its ends, and a gap (NaN) in it stays a gap.

    Args:
        members: (x, y) of each run, x ascending.
        spread: "std" (standard deviation), "interval" (t interval of the mean) or "range" (lowest to highest).
    """
    filled = [(x, y) for x, y in members if len(x)]
    if not filled:
        nothing = np.empty(0)
        return Band(nothing, nothing, nothing, nothing, np.empty(0, np.int64))
    x = np.unique(np.concatenate([place for place, _ in filled]))
    rows = np.vstack([np.interp(x, place, value, left=np.nan, right=np.nan) for place, value in filled])
    rows[~np.isfinite(rows)] = np.nan
    n = np.isfinite(rows).sum(axis=0)
    total = np.nansum(rows, axis=0)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    low, high = _edges(rows, mean, n, spread)
    return Band(x, mean, np.where(n > 1, low, np.nan), np.where(n > 1, high, np.nan), n)


def _edges(rows: FloatArray, mean: FloatArray, n: np.ndarray, spread: Spread) -> tuple[FloatArray, FloatArray]:
    if spread == "range":
        low = np.min(np.where(np.isfinite(rows), rows, np.inf), axis=0)
        high = np.max(np.where(np.isfinite(rows), rows, -np.inf), axis=0)
        return low, high
    squares = np.nansum((rows - mean) ** 2, axis=0)
    reach = np.sqrt(squares / np.maximum(n - 1, 1))
    if spread == "interval":
        reach = reach * stats.t.ppf((1 + LEVEL) / 2, np.maximum(n - 1, 1)) / np.sqrt(np.maximum(n, 1))
    return mean - reach, mean + reach


def paired(candidate: Mapping[int, float], baseline: Mapping[int, float]) -> Paired:
    """Differences on the seeds that both have, with an interval and a test.

    The test is an exact sign-flip permutation test: under "no difference" each pair's sign is a coin, so p is
    the share of the 2**n sign patterns whose mean is at least as far from 0. It assumes nothing of the shape
    of the spread, and its smallest p is 2 / 2**n: with three seeds 0.25, with five 0.0625. Above 14 pairs the
    paired t-test takes its place.

    Args:
        candidate: value by seed; non-finite values pair with nothing.
        baseline: the same of what it is compared with.
    """
    seeds = tuple(sorted(s for s in candidate.keys() & baseline.keys() if math.isfinite(candidate[s] - baseline[s])))
    differences = np.array([candidate[s] - baseline[s] for s in seeds])
    listed = tuple(differences.tolist())
    found = sample(listed)
    if found.n < 2:
        why = "no test: one seed in common" if found.n else "no test: no seed in common"
        return Paired(found.n, found.mean, math.nan, math.nan, math.nan, why, seeds, listed)
    if found.n <= _EXACT_PAIRS:
        p, test = sign_flip(differences), "exact sign-flip test"
    else:
        p = float(stats.ttest_1samp(differences, 0.0).pvalue) if found.std > 0 else float(found.mean == 0)
        test = "paired t-test"
    return Paired(found.n, found.mean, found.low, found.high, p, f"{test}, n = {found.n}", seeds, listed)


def least_p(pairs: int) -> float:
    """The smallest p that the test of so many pairs can give; NaN where there is no test.

    Args:
        pairs: 0 or more; from 15 on the t-test has no smallest p, which is 0 here.
    """
    return math.nan if pairs < 2 else 2.0 / 2**pairs if pairs <= _EXACT_PAIRS else 0.0


def bootstrap(differences: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, 10,000 resamples drawn from a fixed seed.

    With few values it is too narrow (of three it covers the true mean about three times in four, not 19 in 20), which
    is why the t interval stands beside it.

    Args:
        differences: finite; fewer than two have no interval (NaN, NaN).
    """
    if len(differences) < 2:
        return math.nan, math.nan
    means = np.asarray(differences, np.float64)[_resamples(len(differences))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@lru_cache(maxsize=32)
def _resamples(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))


def sign_flip(differences: FloatArray) -> float:
    """Two-sided p of the exact sign-flip test: share of sign patterns at least as extreme as the one seen.

    Args:
        differences: shape [n], n up to 14.
    """
    seen = abs(float(differences.sum()))
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(differences))))
    sums = np.abs(signs @ differences)
    # Sums that differ in rounding alone are equal.
    return float(np.mean(sums >= seen - 1e-12 * max(seen, 1.0)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: p values that allow for having made all these comparisons at once.

    Ascending, the k-th smallest of n is multiplied by n - k + 1, never falls below the one before it and never rises
    above 1. Controls the chance of even one false alarm, whatever the dependence between the tests.

    Args:
        p: in any order; NaN is no test, stays NaN and does not count.

    Reference: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [math.nan] * len(p)
    order = sorted((place for place, value in enumerate(p) if not math.isnan(value)), key=lambda place: p[place])
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration with nested keys joined by dots; names, tags and notes decide nothing and are left out."""
    made: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("name", "tags", "notes"):
            continue
        if isinstance(value, Mapping):
            made |= {f"{key.removesuffix('_params')}.{inner}": v for inner, v in value.items()}
        else:
            made[key] = value
    return made


def differences(configs: Mapping[str, Mapping[str, Any]], ignore: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Settings that are not the same everywhere: setting to value by configuration.

    Args:
        configs: configuration by the name it is to have.
        ignore: settings left out, such as "training.seed" inside a group.

    Returns:
        Settings in alphabetical order; a configuration without the setting has no entry.
    """
    flat = {name: flat_config(config) for name, config in configs.items()}
    keys = sorted({key for one in flat.values() for key in one} - set(ignore))
    missing = object()
    return {
        key: {name: one[key] for name, one in flat.items() if key in one}
        for key in keys
        if any(one.get(key, missing) != next(iter(flat.values())).get(key, missing) for one in flat.values())
    }


def telling(apart: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Differences without knobs that follow from the method: those that every configuration that has them has alike."""
    return {
        key: dict(one)
        for key, one in apart.items()
        if not key.startswith("method.") or any(value != next(iter(one.values())) for value in one.values())
    }


def group_names(groups: Mapping[str, Sequence[RunInfo]]) -> dict[str, str]:
    """A short name for every group.

    Method, preset and the knobs that leave the preset; where those agree, the settings that do not.

    Args:
        groups: runs by group, as `grouped` gives them.

    Returns:
        Name by group; all names differ.
    """
    names = {group: _method_name(runs[0]) for group, runs in groups.items()}
    for shared in {name for name in names.values() if list(names.values()).count(name) > 1}:
        alike = {group: groups[group][0].config for group, name in names.items() if name == shared}
        apart = differences(alike, ("training.seed", "preset"))
        for group in alike:
            told = [f"{key.rpartition('.')[2]} {_shown(one[group])}" for key, one in apart.items() if group in one]
            names[group] = f"{shared}, {', '.join(told[:3])}" if told else shared
    for group, name in list(names.items()):
        if list(names.values()).count(name) > 1:
            names[group] = f"{name} ({groups[group][0].id[-5:]})"
    return names


def _method_name(info: RunInfo) -> str:
    words = [info.config.get("method", ""), info.config.get("preset", "")]
    told = " ".join(word for word in words if isinstance(word, str) and word)
    return ", ".join([told[:60], *_departures(info.config)]) if told else f"run {info.id[-5:]}"


def _departures(config: Mapping[str, Any]) -> list[str]:
    """Knobs of the method that differ from its preset, as words; none where the method is unknown here."""
    given = config.get("method_params")
    try:
        card = catalog.card("method", config["method"])
        preset = card.resolve(preset_values(card, config.get("preset", "")))
    except (CggmError, KeyError, TypeError):
        return []
    if not isinstance(given, Mapping):
        return []
    return [f"{name} {_shown(given[name])}" for name in preset if name in given and given[name] != preset[name]][:3]


def _shown(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)[:40]
