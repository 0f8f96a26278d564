"""What training holds: bytes of weights with their gradients and optimiser state, and the most memory there was."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

_STATUS = Path("/proc/self/status")
_KIB = 1024


class Size(NamedTuple):
    """How large a part of what is trained is.

    Attributes:
        parameters: numbers that are weights, whether they learn or not.
        bytes: of weights, buffers, their gradients as they are held now, and their optimiser's state. Activations are
            not in it: they come and go inside a step.
    """

    parameters: int
    bytes: int


def size_of(modules: Iterable[nn.Module], optimiser: torch.optim.Optimizer | None = None) -> Size:
    """Size of modules; a weight that occurs twice counts once. Reads shapes alone: nothing waits for a device.

    Args:
        modules: the part to be counted.
        optimiser: of their parameters; others of its parameters do not count. None counts no state.
    """
    weights: dict[int, nn.Parameter] = {}
    held: dict[int, Tensor] = {}
    for module in modules:
        weights |= {id(p): p for p in module.parameters()}
        held |= {id(b): b for b in module.buffers()}
    state: Mapping[Tensor, Mapping[str, object]] = {} if optimiser is None else optimiser.state
    total = sum(map(_bytes, (*weights.values(), *held.values())))
    for parameter in weights.values():
        total += _bytes(parameter.grad)
        total += sum(_bytes(one) for one in state.get(parameter, {}).values())
    return Size(sum(p.numel() for p in weights.values()), total)


def _bytes(value: object) -> int:
    """Bytes of a tensor that is there, of a sparse one its values and places; 0 for anything else."""
    if not isinstance(value, Tensor):
        return 0
    if value.is_sparse:
        return _bytes(value._values()) + _bytes(value._indices())
    return value.numel() * value.element_size()


def peak_memory(device: torch.device) -> int:
    """Most memory there has been, in bytes.

    On CUDA the most that torch's tensors took of the GPU since the count was last reset (what the allocator keeps
    in reserve and the driver's own share are not in it). Elsewhere the most that this process has had in memory since
    it began: libraries, data and all, so it tells runs apart by what is large against some hundred megabytes, and
    says nothing of one run among several of one process.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # Not `ru_maxrss` where it can be helped: on Linux that of a child begins at its parent's.
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    import resource  # of Unix alone, as is the lab's own trainer; a watched loop elsewhere goes without

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * _KIB
