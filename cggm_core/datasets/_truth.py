"""What is true of the synthetic family, from its knobs alone: the best any model can do, and who dominates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CEILING_MARGIN = 0.05
SPEED_RATIO = 2.0
FOREGROUND = 0.25  # chance of a square to be foreground, in segmentation
_BLIND = -math.sqrt(2.0 / math.pi)  # -MAE of the median of a standard normal label


@dataclass(frozen=True)
class Truth:
    """What is true of the data, before any model has seen them.

    Attributes:
        ceilings: modality -> best score any model can reach from it alone: accuracy, -MAE or Dice.
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
        task: classification, regression or segmentation; a margin of accuracy is as many standard deviations of the
            label, or as much Dice.
    """
    if task == "regression":
        ceilings, chance = {m: regression_ceiling(informative[m], noise[m]) for m in informative}, _BLIND
    elif task == "segmentation":
        ceilings = {m: segmentation_ceiling(informative[m], noise[m]) for m in informative}
        chance = segmentation_ceiling(0.0, 0.0)
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


def segmentation_ceiling(informative: float, noise: float) -> float:
    """Best Dice any model can reach from one modality, over many slices.

    max over t of 2 p (r S(t - 1) + (1 - r) S(t)) / (p + p S(t - 1) + (1 - p) S(t)), with p = 1/4 the share of
    foreground, r = a + (1 - a) p the chance that a square of the foreground is shown as such (a: `informative`), and
    S(v) = P(noise * n > v), n standard normal. Squares are independent, so a rule for one is a rule for all, and the
    best rule is a threshold t on what is read of a square; t = -infinity calls everything foreground.

    Args:
        informative: a, 0 (chance) to 1.
        noise: standard deviation on the mean of a square, which shows 0 or 1.

    Returns:
        2 p / (1 + p) = 0.4 (all foreground) to 1.
    """
    p, r = FOREGROUND, informative + (1.0 - informative) * FOREGROUND

    def above(value: float) -> float:
        return 0.5 * math.erfc(value / (noise * math.sqrt(2))) if noise > 0 else float(value < 0)

    best = 2 * p / (1 + p)
    for t in np.linspace(-6 * noise - 1, 6 * noise + 2, 2001).tolist() if noise > 0 else [0.5]:
        one, none = above(t - 1), above(t)
        best = max(best, 2 * p * (r * one + (1 - r) * none) / (p + p * one + (1 - p) * none))
    return best
