"""A map for somebody who waits: the kept one, or one made in a process of its own while progress is told."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cggm_core.embedding import jobs
from cggm_core.embedding.gradients import FloatArray
from cggm_core.embedding.project import Method, Tell, silent
from cggm_core.errors import StoreError

_EVERY = 0.1  # seconds between two looks


def obtained(root: Path, vectors: NDArray[np.float32], method: Method, *, seed: int = 0,
             tell: Tell = silent) -> FloatArray:  # fmt: skip
    """Points `[n, 2]`; asked for twice, computed once.

    Args:
        root: folder of the runs, where maps are kept.
        vectors: of length 1, `[n, d]`.
        method: how.
        seed: of everything drawn.
        tell: called with a stage in words and the share done, 0 to 1; whatever it raises ends the making of the map.

    Raises:
        StoreError: if maps cannot be kept there, or the making fails.
    """
    key = jobs.key_of(vectors, method, seed)
    if jobs.look(root, key).state == "failed":
        jobs.cancel(root, key)  # a failure of another time is no answer
    jobs.start(root, vectors, method, seed=seed)
    try:
        while (status := jobs.look(root, key)).state == "working":
            tell(status.stage, status.done)
            time.sleep(_EVERY)
    except BaseException:
        jobs.cancel(root, key)
        raise
    points = jobs.load(root, key) if status.state == "ready" else None
    if points is None:
        raise StoreError(f"the map was not made: {status.stage or 'it was cancelled'}")
    return points
