"""Checkpoints: everything a resumed run needs to reach the same bits, written whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

from cggm_core.errors import DamagedRunError, StoreError
from cggm_core.store import CHECKPOINT

FORMAT = 2


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint of a run beside the old one, then put it in its place.

    Raises:
        OSError: if the disk refuses; the old checkpoint is still there.
    """
    path, part = folder / CHECKPOINT, folder / f"{CHECKPOINT}.part"
    # In memory first: written to a full disk, torch answers the disk's refusal with an error of its own.
    packed = io.BytesIO()
    torch.save({"format": FORMAT, **state}, packed)
    try:
        with open(part, "wb") as file:
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def load(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read the checkpoint of a run; only tensors and plain containers are admitted.

    Raises:
        StoreError: if there is none.
        DamagedRunError: if it cannot be read or has another format.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        raise StoreError(f"run {folder.name} has no checkpoint to resume from; start it anew")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is cut or is none
        raise DamagedRunError(f"the checkpoint of run {folder.name} cannot be read: {error!s:.200}") from error
    if state.get("format") != FORMAT:
        raise DamagedRunError(
            f"the checkpoint of run {folder.name} has format {state.get('format')}, expected {FORMAT}"
        )
    return state
