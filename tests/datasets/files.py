"""Good and broken files in the exchange format, written byte by byte where numpy would refuse to."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

N = 30


def arrays(**changes: Any) -> dict[str, Any]:
    """Arrays of a valid file; a change to None leaves one out."""
    rng = np.random.default_rng(0)
    made = {
        "x_image": rng.integers(0, 256, (N, 8, 8), np.uint8),
        "x_audio": rng.normal(size=(N, 5, 3)).astype(np.float16),
        "y": np.arange(N) % 3,
        "split": np.repeat(np.array([0, 1, 2], np.int8), [18, 6, 6]),
        "meta": np.array(json.dumps({"task": "classification", "classes": 3})),
    }
    return {k: v for k, v in {**made, **changes}.items() if v is not None}


def save(folder: Path, name: str = "mine.npz", **changes: Any) -> Path:
    path = folder / name
    np.savez(path, **arrays(**changes))
    return path


def meta(**values: Any) -> np.ndarray:
    return np.array(json.dumps({"task": "classification", "classes": 3, **values}))


def npy_bytes(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    npy.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def header_bytes(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    out = io.BytesIO()
    npy.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


def raw_zip(folder: Path, replaced: dict[str, bytes], *, leave_out: tuple[str, ...] = ()) -> Path:
    """A valid file with some members replaced by bytes of one's own."""
    path = folder / "raw.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays().items():
            if name not in replaced and name not in leave_out:
                archive.writestr(f"{name}.npy", npy_bytes(array))
        for name, content in replaced.items():
            archive.writestr(name if "." in name else f"{name}.npy", content)
    return path
