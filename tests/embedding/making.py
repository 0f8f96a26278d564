"""Synthetic paired gradients whose pairing is known."""

from __future__ import annotations

import numpy as np

from cggm_core.store import Snapshot


def paired(rho: float, *, batches: int = 8, snapshots: int = 10, dim: int = 300, seed: int = 0,
           modalities: tuple[str, ...] = ("audio", "text"), common: float = 0.4) -> tuple[Snapshot, ...]:  # fmt: skip
    """Snapshots whose classifier and unimodal parts share a factor of correlation rho, beside a common direction."""
    rng = np.random.default_rng(seed)
    shots = []
    for modality in modalities:
        middle = rng.normal(size=dim)
        middle /= np.linalg.norm(middle)
        for number in range(snapshots):
            for batch in range(batches):
                own = rng.normal(size=dim) / dim**0.5
                other = rho * own + (1 - rho**2) ** 0.5 * rng.normal(size=dim) / dim**0.5
                for kind, part in (("classifier", own), ("unimodal", other)):
                    vector = np.float32(rng.lognormal() * (common * middle + part))
                    shots.append(Snapshot(100 * number + batch, batch, kind, modality, vector, {}))
    return tuple(shots)
