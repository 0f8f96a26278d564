"""A brain-like phantom in four contrasts, with a tumour of three nested regions; truth known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cggm_core.cards import DatasetCard, Param
from cggm_core.datasets._arrays import make_bundle
from cggm_core.protocols.data import DataBundle, DatasetBuilder, TaskSpec
from cggm_core.protocols.segmentation import BRATS_CLASSES, BRATS_REGIONS, BRATS_WEIGHTS

CARD = DatasetCard(
    name="phantom",
    title="Brain phantom, four contrasts",
    summary="Drawn brain slices with a tumour in three nested regions; flair shows the whole tumour, t2 its core, "
            "t1ce the enhancing part, t1 hardly anything.",
    params=(
        Param("samples", 320, 40, 100_000, "slices in all splits together, eight a patient"),
        Param("size", 48, 16, 512, "pixels a side"),
        Param("noise", 0.08, 0.0, 10.0, "standard deviation of the scanner's noise; 0 is clean, tissues differ by "
              "about 0.3, at 1 nothing is seen"),
        Param("seed", 0, 0, 2_147_483_647, "of everything drawn, the split included"),
    ),
    task="segmentation",
    modalities=("flair", "t1", "t1ce", "t2"),
    samples="60/20/20 of the patients",
    licence="MIT",
    source="generated; nothing is downloaded",
)  # fmt: skip

SLICES = 8
# The contrast on which a region stands out best from the region around it (the whole tumour: from the image).
INFORMED_BY = {"wt": "flair", "tc": "t2", "et": "t1ce"}
# Brightness of air, white matter, grey matter, ventricle, then what whole tumour, core and enhancing part add.
_CONTRASTS = {
    "flair": (0.0, 0.40, 0.50, 0.15, 0.30, 0.00, 0.00),
    "t1": (0.0, 0.55, 0.45, 0.20, -0.03, -0.03, 0.00),
    "t1ce": (0.0, 0.55, 0.45, 0.20, -0.03, -0.03, 0.35),
    "t2": (0.0, 0.35, 0.45, 0.80, 0.04, 0.30, 0.00),
}
Array = NDArray[Any]


class Phantom(DatasetBuilder):
    """Ellipses with uneven rims, drawn slice by slice through each patient's head.

    Labels as in BraTS: 1 core without the enhancing part, 2 oedema, 3 enhancing; whole tumour = 1, 2, 3, core =
    1, 3, enhancing = 3, each inside the one before. Every contrast has something that looks like its region and
    is none: bright spots on flair, ventricles on t2, vessels on t1ce. Each patient has a gain of its own by
    contrast, and the first and the last slice often show no tumour.
    """

    def __init__(self, *, samples: int = 320, size: int = 48, noise: float = 0.08, seed: int = 0) -> None:
        self.samples, self.size, self.noise, self.seed = samples, size, noise, seed

    def build(self) -> DataBundle:
        """The slices; see `DatasetBuilder`."""
        random = np.random.default_rng([self.seed, 0])
        patients = -(-self.samples // SLICES)
        images, labels = self._draw(random, patients)
        order = random.permutation(patients)
        codes = np.zeros(patients, np.int8)
        cuts = np.round(np.array([0.6, 0.8]) * patients).astype(int)
        codes[order[cuts[0] : cuts[1]]], codes[order[cuts[1] :]] = 1, 2
        return make_bundle(
            CARD.name,
            TaskSpec(
                "segmentation",
                4,
                BRATS_CLASSES,
                options={"class_weights": BRATS_WEIGHTS, "regions": dict(BRATS_REGIONS)},
            ),
            inputs={m: image[: self.samples, None] for m, image in images.items()},
            kinds=dict.fromkeys(CARD.modalities, "image"),
            target=labels[: self.samples],
            split=np.repeat(codes, SLICES)[: self.samples],
        )

    def _draw(self, random: np.random.Generator, patients: int) -> tuple[dict[str, Array], Array]:
        """uint8 images `[slices, size, size]` by contrast, and labels."""
        count = patients * SLICES
        depth = np.tile(np.linspace(-0.9, 0.9, SLICES), patients)

        def a_patient(low: float, high: float) -> Array:
            return np.repeat(random.uniform(low, high, patients), SLICES)

        tall, wide = a_patient(0.82, 0.95), a_patient(0.66, 0.80)
        head = np.sqrt(1 - 0.35 * depth**2)
        brain = self._inside(random, 0, 0, tall * head, wide * head, 0.02)
        white = self._inside(random, 0, 0, 0.78 * tall * head, 0.74 * wide * head, 0.10)
        opened = 0.30 * head * a_patient(0.7, 1.1)
        ventricle = self._inside(random, 0, -0.12, opened, 0.3 * opened, 0.1)
        ventricle |= self._inside(random, 0, 0.12, opened, 0.3 * opened, 0.1)
        turn, far = a_patient(0, 2 * np.pi), a_patient(0.25, 0.45)
        down, across = far * np.sin(turn), far * np.cos(turn)
        reach = a_patient(0.20, 0.36) * np.sqrt(np.clip(1 - ((depth - a_patient(-0.4, 0.4)) / 0.9) ** 2, 0, 1))
        whole = brain & self._inside(random, down, across, reach, reach * a_patient(0.75, 1.2), 0.15)
        regions = [whole]
        for low, high in ((0.5, 0.75), (0.45, 0.75)):
            # Size and place inside the region around it vary, or the one could be guessed from the other.
            share, turn = a_patient(low, high), a_patient(0, 2 * np.pi)
            aside = 0.6 * (1 - share) * reach
            down, across, reach = down + aside * np.sin(turn), across + aside * np.cos(turn), share * reach
            regions.append(regions[-1] & self._inside(random, down, across, reach, reach, 0.15))
        core, enhancing = regions[1:]
        labels = np.where(enhancing, 3, np.where(core, 1, np.where(whole, 2, 0)))
        lookalike = {
            "flair": brain & self._spot(random, count, 0.07), "t1ce": brain & self._spot(random, count, 0.05),
        }  # fmt: skip
        rough = self._smooth(random.standard_normal((count, self.size, self.size), np.float32))
        images = {}
        for m, (air, inner, outer, fluid, *gains) in _CONTRASTS.items():
            image = np.where(brain, np.where(white, np.float32(inner), np.float32(outer)), np.float32(air))
            image = np.where(ventricle & brain & ~whole, np.float32(fluid), image) + 0.05 * rough * brain
            for region, gain in zip(regions, gains, strict=True):
                image = image + gain * region
            if m in lookalike:
                image = image + max(gains) * (lookalike[m] & ~whole)
            image = image * a_patient(0.9, 1.1)[:, None, None].astype(np.float32)
            image = self._smooth(image) + self.noise * random.standard_normal(image.shape, np.float32)
            images[m] = np.clip(np.round(image * 180), 0, 255).astype(np.uint8)
        return images, labels.astype(np.int64)

    def _inside(
        self, random: np.random.Generator, down: Array | float, across: Array | float, tall: Array, wide: Array,
        uneven: float,
    ) -> Array:  # fmt: skip
        """Masks `[slices, size, size]` of ellipses, lengths as shares of half the image, rims uneven by a share."""
        count = len(tall)
        place = (np.arange(self.size) + 0.5) / self.size * 2 - 1
        middle_y, middle_x, half_y, half_x = (
            np.broadcast_to(np.maximum(v, least), count)[:, None, None]
            for v, least in ((down, -np.inf), (across, -np.inf), (tall, 1e-6), (wide, 1e-6))
        )
        y, x = (place[None, :, None] - middle_y) / half_y, (place[None, None, :] - middle_x) / half_x
        spot = (x + 1j * y).astype(np.complex64)
        distance, rim = np.abs(spot), np.ones(1, np.float32)
        # Sines of multiples of the angle are powers of the direction: cheap, and the angle is never needed.
        once = spot / np.maximum(distance, 1e-6)
        twice = once * once
        for waves, turned in ((2, twice), (3, twice * once), (5, twice * twice * once)):
            phase, share = random.uniform(0, 2 * np.pi, count), random.uniform(0, uneven / waves * 2, count)
            swing = (share * np.exp(1j * phase)).astype(np.complex64)
            rim = rim + (turned * swing[:, None, None]).imag
        found: Array = distance < rim
        return found

    def _spot(self, random: np.random.Generator, count: int, radius: float) -> Array:
        """A small disc a slice, anywhere in the inner brain."""
        turn, far = random.uniform(0, 2 * np.pi, count), random.uniform(0.1, 0.6, count)
        reach = np.full(count, radius)
        return self._inside(random, far * np.sin(turn), far * np.cos(turn), reach, reach, 0.0)

    @staticmethod
    def _smooth(images: Array) -> Array:
        """Each pixel a weighted mean of its 3x3 neighbourhood."""
        for axis in (1, 2):
            images = 0.5 * images + 0.25 * (np.roll(images, 1, axis) + np.roll(images, -1, axis))
        return images
