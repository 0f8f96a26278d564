"""Synthetic modalities with known truth: how much each one tells, how noisy it is, how fast it is learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.cards import DatasetCard, Param
from cggm_core.datasets._arrays import make_bundle, quantile_bins, stratified_split
from cggm_core.errors import ConfigError
from cggm_core.protocols.data import DataBundle, DatasetBuilder, TaskSpec

CARD = DatasetCard(
    name="synthetic",
    title="Synthetic, truth known",
    summary="Any number of modalities whose information, noise and learning speed are set, so that a verdict "
            "can be right or wrong.",
    params=(
        Param("task", "classification", text="what the label is: a class, or a number (standard normal)",
              choices=("classification", "regression")),
        Param("modalities", 3, 2, 8, "how many; they are named m1, m2, ..."),
        Param("classes", 4, 2, 64, "labels to tell apart, equally frequent; unused in regression"),
        Param("samples", 2000, 20, 1_000_000, "in all splits together (60/20/20), at least ten a class"),
        Param("dim", 24, 2, 4096,
              "features of each modality; one a class at least, one more where speed is below 1"),
        Param("length", 1, 1, 512, "time steps; 1 makes vectors, more make sequences that tell the same"),
        Param("informative", "0.9,0.6,0.3",
              text="by modality, 0 to 1: chance that a sample's modality shows its label, not a random one; in "
                   "regression the correlation of the number shown with the label; "
                   "0 is distraction, 1 tells all. The last number repeats, numbers beyond the "
                   "modalities are unused"),
        Param("noise", "0.3",
              text="by modality, 0 or more: standard deviation of the noise on the label's code, which is 1 "
                   "long; 0 is clean, at 1 codes overlap strongly. Lists as in informative"),
        Param("speed", "1",
              text="by modality, above 0 to 1: size of the code beside irrelevant variation, after "
                   "standardising, relative to none; near 0 the same information is learnt last. Lists as in "
                   "informative"),
        Param("seed", 0, 0, 2_147_483_647, "of everything drawn"),
    ),
    task="classification",
    samples="60/20/20 of the samples, stratified (regression: by tenths of the label)",
    licence="MIT",
    source="generated; nothing is downloaded",
)  # fmt: skip

CEILING_MARGIN = 0.05
SPEED_RATIO = 2.0
_BLIND = -math.sqrt(2.0 / math.pi)  # -MAE of the median of a standard normal label


@dataclass(frozen=True)
class Truth:
    """What is true of the data, before any model has seen them.

    Attributes:
        ceilings: modality -> best score any model can reach from it alone: accuracy, or -MAE.
        speeds: modality -> the speed knob.
        dominant: the modality that a diagnosis should name, or None where it should name none.
    """

    ceilings: Mapping[str, float]
    speeds: Mapping[str, float]
    dominant: str | None


def truth(*, classes: int, informative: Mapping[str, float], noise: Mapping[str, float],
          speed: Mapping[str, float], task: str = "classification") -> Truth:  # fmt: skip
    """The dominant modality and the ceilings, from the knobs alone.

    A modality dominates if its ceiling leads every other by `CEILING_MARGIN`; where ceilings are closer than
    that, if its speed is at least `SPEED_RATIO` times that of every modality within the margin, since what is
    learnt first stops the others from being learnt. Otherwise none does, and a verdict of imbalance is false.

    Args:
        classes: how many, 2 or more.
        informative: modality -> 0 to 1; at least two modalities, the same in all three.
        noise: modality -> 0 or more.
        speed: modality -> above 0 to 1.
        task: classification or regression; a margin of accuracy is as many standard deviations of the label.
    """
    if task == "regression":
        ceilings, chance = {m: regression_ceiling(informative[m], noise[m]) for m in informative}, _BLIND
    else:
        ceilings, chance = {m: ceiling(classes, informative[m], noise[m]) for m in informative}, 1.0 / classes
    best = max(ceilings.values())
    near = [m for m, value in ceilings.items() if value > best - CEILING_MARGIN]
    ordered = sorted(near, key=lambda m: -speed[m])
    leads = len(ordered) == 1 or speed[ordered[0]] >= SPEED_RATIO * speed[ordered[1]]
    above_chance = best - chance >= CEILING_MARGIN
    return Truth(ceilings, dict(speed), ordered[0] if leads and above_chance else None)


def ceiling(classes: int, informative: float, noise: float) -> float:
    """Best accuracy any classifier can reach from one modality.

    r P + (1 - r) (1 - P) / (C - 1), with C classes, r = a + (1 - a) / C the chance that the shown label is
    the true one (a: `informative`), and P = E[Phi(t + 1 / noise) ** (C - 1)], t standard normal, the chance
    to read the shown label among C orthonormal codes under Gaussian noise.

    Args:
        classes: C, 2 or more.
        informative: a, 0 (chance) to 1.
        noise: standard deviation on each coordinate of the code; 0 gives r.

    Returns:
        1 / C to 1.
    """
    shown = informative + (1.0 - informative) / classes
    read = 1.0
    if noise > 0:
        t = np.linspace(-9.0, 9.0, 4001)
        density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        below = np.array([0.5 * math.erfc(-(v + 1.0 / noise) / math.sqrt(2)) for v in t])
        read = float((density * below ** (classes - 1)).sum() * (t[1] - t[0]))
    return shown * read + (1.0 - shown) * (1.0 - read) / (classes - 1)


def regression_ceiling(informative: float, noise: float) -> float:
    """Best -MAE any model can reach from one modality, for a standard normal label.

    -sqrt(2 / pi) sqrt(1 - r**2) with r = a / sqrt(1 + noise**2) the correlation of what can be read with the
    label (a: `informative`): all is jointly normal, so the best prediction is linear and its error normal.

    Args:
        informative: a, 0 (chance) to 1.
        noise: standard deviation on the number shown, which has 1 itself.

    Returns:
        -sqrt(2 / pi) (chance) to 0.
    """
    return _BLIND * math.sqrt(max(0.0, 1.0 - informative**2 / (1.0 + noise**2)))


class Synthetic(DatasetBuilder):
    """Each modality shows the label, or a random one in its place, as a noisy code among `dim` features.

    x = Q [e_z + noise * n ; noise * n' + k * u]: z is the true label with chance `informative`, else drawn at
    random; e_z one of `classes` orthonormal codes; n, n', u standard normal; Q a fixed random rotation. In
    regression the code is one direction, its size the number shown: a y + sqrt(1 - a**2) y', with y the label,
    y' a random number of the modality's own and a `informative`. The irrelevant part k * u is sized so that the
    code, once features are standardised, is `speed` times as large as without it. It lies in directions of its
    own, so what can be known stays the same, but the gradient that first reaches the code's directions falls
    with the square of `speed`: that makes a modality slow. A plain scale could not, standardising undoes it. In
    sequences the noise is drawn at every step, `sqrt(length)` times larger, so that their mean tells as much as
    a vector; u is one for all steps.
    """

    def __init__(
        self, *, task: str = "classification", modalities: int = 3, classes: int = 4, samples: int = 2000,
        dim: int = 24, length: int = 1, informative: str = "0.9,0.6,0.3", noise: str = "0.3", speed: str = "1",
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.names = tuple(f"m{i + 1}" for i in range(modalities))
        self.task, self.samples, self.dim, self.length = task, samples, dim, length
        self.classes, regression = classes, task == "regression"
        self.codes = 1 if regression else classes
        self.seed = seed
        self.informative = self._numbers("informative", informative, high=1.0)
        self.noise = self._numbers("noise", noise)
        self.speed = self._numbers("speed", speed, high=1.0, above_low=True)
        needed = self.codes + any(value < 1 for value in self.speed.values())
        if dim < needed:
            raise ConfigError(
                f"dim is {dim}, expected at least {needed}: one feature a class ({classes})"
                + (", and one for the irrelevant variation that lowers speed" if needed > self.codes else "")
            )
        if not regression and samples < 10 * classes:
            raise ConfigError(f"samples is {samples}, expected at least {10 * classes}: ten a class")

    def truth(self) -> Truth:
        """What is true of the data that `build` makes."""
        return truth(
            classes=self.classes, informative=self.informative, noise=self.noise, speed=self.speed, task=self.task
        )

    def build(self) -> DataBundle:
        """The data; see `DatasetBuilder`."""
        generator = np.random.default_rng([self.seed, 0])
        regression = self.task == "regression"
        if regression:
            target: NDArray[Any] = generator.standard_normal(self.samples)
        else:
            target = generator.permutation(np.arange(self.samples) % self.classes)
        split = stratified_split(quantile_bins(target) if regression else target, generator)
        return make_bundle(
            CARD.name,
            TaskSpec("regression", 1) if regression else TaskSpec("classification", self.classes),
            inputs={m: self._draw(m, index + 1, target) for index, m in enumerate(self.names)},
            kinds=dict.fromkeys(self.names, "vector" if self.length == 1 else "sequence"),
            target=target[:, None].astype(np.float32) if regression else target.astype(np.int64),
            split=split,
        )

    def _draw(self, modality: str, stream: int, target: NDArray[Any]) -> NDArray[Any]:
        """`[n, dim]` or `[n, length, dim]`; its own random stream, so that further modalities change none."""
        generator = np.random.default_rng([self.seed, stream])
        count, codes, dim, length = self.samples, self.codes, self.dim, self.length
        sigma = self.noise[modality] * math.sqrt(length)
        clean = np.zeros((count, 1, dim))
        clean[:, 0, :codes] = self._code(modality, target, generator)
        variance = (1.0 if codes == 1 else 1.0 - 1.0 / codes) + dim * sigma**2
        if (speed := self.speed[modality]) < 1:
            size = math.sqrt(variance * (1.0 / speed**2 - 1.0) / (dim - codes))
            clean[:, 0, codes:] = size * generator.standard_normal((count, dim - codes))
        rotation, _ = np.linalg.qr(generator.standard_normal((dim, dim)))
        noisy = clean + sigma * generator.standard_normal((count, length, dim))
        made = (noisy @ rotation.T).astype(np.float32)
        return made[:, 0] if length == 1 else made

    def _code(self, modality: str, target: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """What the modality shows of each label, `[n, codes]`: one code of several, or one number."""
        told, count = self.informative[modality], self.samples
        if self.task == "regression":
            return (told * target + math.sqrt(1.0 - told**2) * generator.standard_normal(count))[:, None]
        random = generator.integers(0, self.classes, count)
        shown = np.where(generator.random(count) < told, target, random)
        return np.eye(self.classes)[shown]

    def _numbers(self, knob: str, text: str, *, high: float = math.inf, above_low: bool = False) -> dict[str, float]:
        """One number a modality out of a comma separated list.

        Raises:
            ConfigError: naming the part that is not a number in range.
        """
        allowed = f"{'above 0' if above_low else 'at least 0'}" + (f", at most {high:g}" if high < math.inf else "")
        found: list[float] = []
        for part in text.split(","):
            try:
                value = float(part)
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and 0 <= value <= high) or (above_low and value == 0):
                raise ConfigError(
                    f"{knob} must be numbers separated by commas, each {allowed}; found "
                    f"{part.strip()[:40]!r} in {text[:80]!r}"
                )
            found.append(value)
        return {m: found[min(index, len(found) - 1)] for index, m in enumerate(self.names)}
