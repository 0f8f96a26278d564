"""Makes one map: `python -m cggm_core.embedding.worker FOLDER KEY`; started by `jobs.start` and by nobody else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np

from cggm_core.embedding.jobs import keep, tell
from cggm_core.embedding.project import project
from cggm_core.errors import CggmError
from cggm_core.store import own_identity

_EVERY = 0.2  # seconds between two words about progress


def main(folder: Path, key: str) -> int:
    """Read the request, make the map, keep it; 0 when it was kept."""
    who = own_identity()
    with contextlib.suppress(OSError):
        os.nice(10)  # whoever trains beside it comes first
    said = 0.0

    def progress(stage: str, done: float) -> None:
        nonlocal said
        if time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            tell(folder, key, stage, done, who)

    source = folder / f"{key}.in"
    try:
        with np.load(source, allow_pickle=False) as given:
            points = project(given["vectors"], str(given["method"]), seed=int(given["seed"]), tell=progress)  # type: ignore[arg-type]
        keep(folder, key, points)
    except Exception as error:
        words = str(error) if isinstance(error, CggmError) else f"the map failed: {type(error).__name__}: {error}"
        tell(folder, key, "failed", 0.0, who, words[:500])
        return 1
    finally:
        source.unlink(missing_ok=True)
    (folder / f"{key}.told").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2]))
