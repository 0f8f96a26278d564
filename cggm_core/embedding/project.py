"""Vectors to points of a plane: PCA, t-SNE, UMAP, seeded.

scikit-learn and UMAP are imported when they are called: the app starts without them.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cggm_core.embedding.gradients import FloatArray
from cggm_core.errors import ConfigError

Method = Literal["tsne", "umap", "pca"]
METHODS: dict[Method, str] = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
WIDE = 50
FEWEST = 4
ITERATIONS = 1000
Tell = Callable[[str, float], None]


def silent(stage: str, done: float) -> None:
    """Tells nobody."""


def project(
    vectors: NDArray[np.float32] | FloatArray, method: Method, *, seed: int = 0, start: FloatArray | None = None,
    tell: Tell = silent,
) -> FloatArray:  # fmt: skip
    """Points `[n, 2]` for vectors `[n, d]`.

    More than 50 numbers are first taken to their 50 principal components. t-SNE: perplexity min(30, (n - 1) / 3),
    begun at the principal components, so that its seed changes nothing; UMAP: 15 neighbours (fewer where there are
    fewer points), smallest distance 0.1.

    Args:
        vectors: of length 1, so that distance means angle.
        method: how.
        seed: of everything drawn; the same seed gives the same picture on one machine.
        start: `[n, 2]`, where points begin; None for the principal components.
        tell: called with a stage in words and the share done, 0 to 1.

    Raises:
        ConfigError: for fewer than four points, another method, or UMAP where it is not installed.
    """
    count = len(vectors)
    if count < FEWEST:
        raise ConfigError(f"a map needs {FEWEST} points or more, found {count}; keep more snapshots or choose more")
    if method not in METHODS:
        raise ConfigError(f"a map is made by {', '.join(METHODS)}, not {method!r}")
    tell("principal components", 0.0)
    narrow = components(np.asarray(vectors, np.float64), min(WIDE, count - 1, vectors.shape[1]), seed)
    if method == "pca":
        return _two(narrow)
    first = _two(narrow) if start is None else np.asarray(start, np.float64)
    spread = float(first.std(0).max()) or 1.0
    return _tsne(narrow, first / spread, seed, tell) if method == "tsne" else _umap(narrow, first / spread, seed, tell)


def components(vectors: FloatArray, count: int, seed: int = 0) -> FloatArray:
    """The first principal components, `[n, count]`, largest first, each with its largest entry positive."""
    from sklearn.decomposition import PCA

    found = PCA(count, svd_solver="randomized" if min(vectors.shape) > 200 else "full", random_state=seed)
    made = found.fit_transform(vectors)
    # A sign is no finding; fixing it keeps pictures the same.
    signs = np.sign(made[np.abs(made).argmax(0), np.arange(made.shape[1])])
    turned: FloatArray = made * np.where(signs == 0, 1.0, signs)
    return turned


def _two(narrow: FloatArray) -> FloatArray:
    """The first two columns, the second zero where there is one only."""
    return narrow[:, :2] if narrow.shape[1] > 1 else np.concatenate([narrow, np.zeros((len(narrow), 1))], axis=1)


def _tsne(narrow: FloatArray, start: FloatArray, seed: int, tell: Tell) -> FloatArray:
    from sklearn.manifold import TSNE

    tell("t-SNE", 0.1)
    perplexity = min(30.0, (len(narrow) - 1) / 3)
    maker = TSNE(2, perplexity=perplexity, init=(1e-4 * start).astype(np.float32), random_state=seed,
                 max_iter=ITERATIONS, verbose=2)  # fmt: skip
    with contextlib.redirect_stdout(_Heard(r"Iteration (\d+)", ITERATIONS, lambda done: tell("t-SNE", done))):
        made: FloatArray = maker.fit_transform(narrow).astype(np.float64)
    return made


def _umap(narrow: FloatArray, start: FloatArray, seed: int, tell: Tell) -> FloatArray:
    tell("UMAP, being prepared", 0.05)
    with _quiet():
        try:
            from umap import UMAP
        except ImportError as error:
            raise ConfigError("UMAP is not installed here; choose t-SNE or PCA, or install umap-learn") from error
        tell("UMAP", 0.3)
        neighbours = min(15, len(narrow) - 1)
        maker = UMAP(n_neighbors=neighbours, min_dist=0.1, init=(10 * start).astype(np.float32), random_state=seed,
                     n_jobs=1)  # fmt: skip
        made: FloatArray = np.asarray(maker.fit_transform(narrow), np.float64)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of a compiler about its own future are no matter of the person who looks at a map."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Heard(io.StringIO):
    """Listens to what a library prints about its progress; a line that it does not know changes nothing."""

    def __init__(self, pattern: str, whole: int, tell: Callable[[float], None]) -> None:
        super().__init__()
        self._pattern, self._whole, self._tell = re.compile(pattern), whole, tell

    def write(self, text: str) -> int:
        if found := self._pattern.search(text):
            self._tell(min(1.0, 0.1 + 0.9 * int(found.group(1)) / self._whole))
        return len(text)
