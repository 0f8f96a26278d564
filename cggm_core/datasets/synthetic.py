"""Synthetic modalities with known truth: how much each one tells, how noisy it is, how fast it is learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.cards import DatasetCard, Param
from cggm_core.datasets._arrays import make_bundle, quantile_bins, stratified_split
from cggm_core.datasets._truth import FOREGROUND, Truth, truth
from cggm_core.errors import ConfigError
from cggm_core.protocols.data import DataBundle, DatasetBuilder, TaskSpec

CARD = DatasetCard(
    name="synthetic",
    title="Synthetic, truth known",
    summary="Any number of modalities whose information, noise and learning speed are set, so that a verdict "
            "can be right or wrong.",
    params=(
        Param("task", "classification", text="what the label is: a class, a number (standard normal), or a mask of "
              "squares, four pixels a side, each foreground by itself with chance 1/4",
              choices=("classification", "regression", "segmentation")),
        Param("modalities", 3, 2, 8, "how many; they are named m1, m2, ..."),
        Param("classes", 4, 2, 64, "labels to tell apart, equally frequent; of classification only"),
        Param("samples", 2000, 20, 1_000_000, "in all splits together (60/20/20), at least ten a class"),
        Param("dim", 24, 2, 4096,
              "features of each modality; one a class at least, one more where speed is below 1. In segmentation "
              "pixels a side, a multiple of 4"),
        Param("length", 1, 1, 512, "time steps; 1 makes vectors, more make sequences that tell the same; unused in "
              "segmentation"),
        Param("informative", "0.9,0.6,0.3",
              text="by modality, 0 to 1: chance that a sample's modality shows its label, not a random one (in "
                   "segmentation a square's its label); in regression the correlation of the number shown with it; "
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
    samples="60/20/20 of the samples, stratified (regression: by tenths of the label, masks: of the foreground)",
    licence="MIT",
    source="generated; nothing is downloaded",
)  # fmt: skip

SQUARE = 4  # pixels a side


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

    Segmentation: images `[1, dim, dim]` of squares. A square shows 1 or 0, as its label or, with chance
    1 - informative, as a random one; noise is drawn at every pixel, four times larger, so that the mean of a square
    tells what `noise` says; the irrelevant part is a checkerboard inside each square, whose mean is 0.
    """

    def __init__(
        self, *, task: str = "classification", modalities: int = 3, classes: int = 4, samples: int = 2000,
        dim: int = 24, length: int = 1, informative: str = "0.9,0.6,0.3", noise: str = "0.3", speed: str = "1",
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.names = tuple(f"m{i + 1}" for i in range(modalities))
        self.task, self.samples, self.dim, self.length = task, samples, dim, length
        self.classes, self.codes = classes, classes if task == "classification" else 1
        self.seed = seed
        self.informative = self._numbers("informative", informative, high=1.0)
        self.noise = self._numbers("noise", noise)
        self.speed = self._numbers("speed", speed, high=1.0, above_low=True)
        needed = self.codes + any(value < 1 for value in self.speed.values())
        if task == "segmentation" and (dim % SQUARE or dim < 2 * SQUARE):
            raise ConfigError(f"dim is {dim}, expected a multiple of {SQUARE} from {2 * SQUARE} for masks of squares")
        if dim < needed:
            raise ConfigError(
                f"dim is {dim}, expected at least {needed}: one feature a class ({classes})"
                + (", and one for the irrelevant variation that lowers speed" if needed > self.codes else "")
            )
        if task == "classification" and samples < 10 * classes:
            raise ConfigError(f"samples is {samples}, expected at least {10 * classes}: ten a class")

    def truth(self) -> Truth:
        """What is true of the data that `build` makes."""
        return truth(
            classes=self.classes, informative=self.informative, noise=self.noise, speed=self.speed, task=self.task
        )

    def build(self) -> DataBundle:
        """The data; see `DatasetBuilder`."""
        generator = np.random.default_rng([self.seed, 0])
        if self.task == "segmentation":
            return self._masks(generator)
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

    def _masks(self, generator: np.random.Generator) -> DataBundle:
        side = self.dim // SQUARE
        squares = generator.random((self.samples, side, side)) < FOREGROUND
        return make_bundle(
            CARD.name,
            TaskSpec("segmentation", 2, ("background", "foreground")),
            inputs={m: self._draw_image(m, index + 1, squares) for index, m in enumerate(self.names)},
            kinds=dict.fromkeys(self.names, "image"),
            target=_enlarged(squares).astype(np.int64),
            split=stratified_split(quantile_bins(squares.mean((1, 2))), generator),
        )

    def _draw_image(self, modality: str, stream: int, squares: NDArray[Any]) -> NDArray[Any]:
        """`[n, 1, dim, dim]`; its own random stream, as `_draw`."""
        generator = np.random.default_rng([self.seed, stream])
        told, sigma = generator.random(squares.shape) < self.informative[modality], self.noise[modality] * SQUARE
        shown = np.where(told, squares, generator.random(squares.shape) < FOREGROUND)
        image = _enlarged(shown) + sigma * generator.standard_normal((self.samples, self.dim, self.dim))
        if (speed := self.speed[modality]) < 1:
            variance = FOREGROUND * (1 - FOREGROUND) + sigma**2
            size = math.sqrt(variance * (1.0 / speed**2 - 1.0))
            place = np.arange(self.dim)
            board = (-1.0) ** (place[:, None] + place)
            image += size * board * _enlarged(generator.standard_normal(squares.shape))
        return image[:, None].astype(np.float32)

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


def _enlarged(squares: NDArray[Any]) -> NDArray[Any]:
    """`[n, side, side]` to pixels, `[n, dim, dim]`."""
    return squares.repeat(SQUARE, 1).repeat(SQUARE, 2)
