"""Where a run computes and in which number format."""

from __future__ import annotations

import contextlib

import torch

from cggm_core.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device a configuration names.

    Args:
        name: auto, cpu, cuda, cuda:N or mps.

    Raises:
        ConfigError: if it is not there; the message says what is.
    """
    there = ["cpu"]
    there += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device(there[1] if len(there) > 1 else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise ConfigError(f"device {name!r} is not on this machine; there are: {', '.join(there)}")
    return torch.device(wanted)


class Precision:
    """Number format of forward and backward.

    Args:
        name: float32, bf16 or fp16. fp16 needs a CUDA GPU, for its losses must be scaled.
        device: where training runs.

    Raises:
        ConfigError: for fp16 elsewhere.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(f"precision fp16 needs a CUDA GPU, the device is {device}; take bf16 or float32")
        self._dtype = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        self._device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def forward(self) -> contextlib.AbstractContextManager[None]:
        """Context of forward passes."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)  # type: ignore[return-value]
