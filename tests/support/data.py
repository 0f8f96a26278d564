"""Data files for tests: small ones made here, sound or with one fault; and the real ones where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]


def write_npz(path: Path, *, samples: int = 60, drop: str = "", **replaced: Any) -> Path:
    """A classification data set of two modalities in the exchange format.

    Args:
        path: file to write.
        samples: in all, shared out 2:1:1.
        drop: an array left out.
        replaced: arrays put in place of the sound ones.
    """
    random = np.random.default_rng(0)
    y = np.arange(samples) % 3
    arrays: dict[str, Any] = {
        "x_audio": (random.normal(size=(samples, 5)) + y[:, None]).astype(np.float32),
        "x_text": (random.normal(size=(samples, 7)) - y[:, None]).astype(np.float32),
        "y": y.astype(np.int64),
        "split": np.array([0, 0, 1, 2] * samples, dtype=np.int8)[:samples],
        "meta": np.array(json.dumps({"name": "tiny", "task": "classification", "classes": 3})),
    }
    arrays |= replaced
    np.savez(path, **{name: value for name, value in arrays.items() if name != drop})
    return path


def real_folder() -> Path:
    """Folder of the real data: `$CGGM_DATA`, else beside the project. Skips the calling test if absent."""
    if reason := why_not():
        pytest.skip(reason)
    return _folder()


def why_not() -> str:
    """Why tests on real data cannot run; "" if they can."""
    folder = _folder()
    return "" if folder.is_dir() else f"the real data are not at {folder}; set CGGM_DATA to their folder"


def _folder() -> Path:
    named = os.environ.get("CGGM_DATA")
    return Path(named) if named else PROJECT.parent / "shared" / "data"
