"""Handwritten digits seen in three ways: pixels, Fourier magnitudes, projections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cggm_core.cards import DatasetCard, Param
from cggm_core.datasets._arrays import make_bundle, stratified_split
from cggm_core.errors import ConfigError
from cggm_core.protocols.data import DataBundle, DatasetBuilder, Kind, TaskSpec

CARD = DatasetCard(
    name="digits_views",
    title="Handwritten digits, three views",
    summary="1,797 real 8x8 digits as image, as Fourier magnitudes and as projections along four directions.",
    params=(
        Param("noise", 0.0, 0.0, 100.0,
              "Gaussian noise added to one view, in standard deviations of each of its features; 0 leaves it "
              "clean, at 1 noise equals signal, far above nothing of the view is left"),
        Param("noisy_view", "pixels", text="the view that receives the noise",
              choices=("pixels", "fourier", "projections")),
        Param("views", "all", text="the views that are modalities",
              choices=("all", "pixels+fourier", "pixels+projections", "fourier+projections")),
        Param("split_seed", 0, 0, 2_147_483_647, "of the split and of the noise"),
    ),
    task="classification",
    modalities=("pixels", "fourier", "projections"),
    samples="1,078 / 360 / 359, stratified 60/20/20",
    licence="CC BY 4.0",
    source="Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI, 1998), in scikit-learn",
)  # fmt: skip

_KINDS: dict[str, Kind] = {"pixels": "image", "fourier": "vector", "projections": "vector"}


def fourier_view(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of 1 + magnitude of the two-dimensional discrete Fourier transform, phase left out.

    Args:
        images: `[n, side, side]`, side even.

    Returns:
        `[n, (side**2 + 4) / 2]`: of two conjugate coefficients, equal in magnitude, one is kept.
    """
    side = images.shape[1]
    rows, columns = np.divmod(np.arange(side * side), side)
    mirrored = (-rows % side) * side + (-columns % side)
    kept = np.flatnonzero(np.arange(side * side) <= mirrored)
    return np.log1p(np.abs(np.fft.fft2(images))).reshape(len(images), -1)[:, kept]


def projection_view(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums along rows, columns and both diagonals: a Radon transform at four angles.

    Args:
        images: `[n, side, side]`.

    Returns:
        `[n, 2 * side + 2 * (2 * side - 1)]`.
    """
    side = images.shape[1]
    offsets = range(1 - side, side)
    flipped = images[:, :, ::-1]
    diagonals = [np.trace(turned, k, axis1=1, axis2=2) for turned in (images, flipped) for k in offsets]
    return np.concatenate([images.sum(2), images.sum(1), np.stack(diagonals, 1)], axis=1)


class DigitsViews(DatasetBuilder):
    """Three views of one scan; each alone names most digits, so a lead of one is the model's doing."""

    def __init__(
        self, *, noise: float = 0.0, noisy_view: str = "pixels", views: str = "all", split_seed: int = 0
    ) -> None:
        self.noise, self.noisy_view, self.split_seed = noise, noisy_view, split_seed
        self.views = CARD.modalities if views == "all" else tuple(views.split("+"))

    def build(self) -> DataBundle:
        """The views, standardised; see `DatasetBuilder`.

        Raises:
            ConfigError: if noise is asked for on a view that is left out.
        """
        if self.noise and self.noisy_view not in self.views:
            raise ConfigError(
                f"noisy_view is {self.noisy_view!r}, but the views are {', '.join(self.views)}; "
                "take one of these, or set noise to 0"
            )
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = digits.images.astype(np.float64)
        made = {
            "pixels": images[:, None],
            "fourier": fourier_view(images),
            "projections": projection_view(images),
        }
        target = digits.target.astype(np.int64)
        split = stratified_split(target, np.random.default_rng([self.split_seed, 0]))
        if self.noise:
            made[self.noisy_view] = self._noisy(made[self.noisy_view], split == 0)
        return make_bundle(
            CARD.name,
            TaskSpec("classification", 10, tuple("0123456789")),
            inputs={view: made[view] for view in self.views},
            kinds={view: _KINDS[view] for view in self.views},
            target=target,
            split=split,
        )

    def _noisy(self, view: NDArray[np.float64], train: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The view plus noise from a stream of its own, so that the split does not depend on it."""
        drawn = np.random.default_rng([self.split_seed, 1]).standard_normal(view.shape)
        return view + self.noise * view[train].std(axis=0) * drawn
