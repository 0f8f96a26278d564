"""Seeds: the same configuration gives the same bits on the same device and number of threads."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seed torch on every device, and Python and NumPy for plug-ins that use them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Torch's random state, of the host and of the training device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["device"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "device" in state:
        torch.cuda.set_rng_state(state["device"].cpu(), device)
    elif device.type == "mps" and "device" in state:
        torch.mps.set_rng_state(state["device"].cpu())


def order(seed: int, epoch: int, samples: int) -> Tensor:
    """Order of the training samples in one epoch, `[samples]` int64.

    Drawn from a generator of its own, so that nothing else can shift it and a resume in mid-epoch needs only
    the place in it.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)
