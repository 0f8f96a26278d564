"""Optimisers and the learning rate as a pure function of the epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from cggm_core.config import Training

SHARED = "shared"


def build_optimiser(
    groups: Mapping[str, Iterable[nn.Parameter]], settings: Training, rate: float
) -> torch.optim.Optimizer:
    """The optimiser the settings name.

    Args:
        groups: parameters by the group's name, under which `set_rate` finds them; empty ones are left out.
        settings: kind of optimiser, weight decay, momentum.
        rate: learning rate of every group at first.
    """
    filled = {name: own for name, group in groups.items() if (own := list(group))}
    named = [{"params": own, "name": name} for name, own in filled.items()]
    chosen = [p for own in filled.values() for p in own]
    # One kernel for all weights where PyTorch has one; on CPU this halves the time of Adam.
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in chosen) or None
    decay = settings.weight_decay
    if settings.optimiser == "sgd":
        sgd = torch.optim.SGD(named, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=fused)
        if settings.momentum:
            # The one kernel fails where some weights get their first gradient later than others. From 0 the first
            # velocity is the gradient, as it is without.
            for parameter in chosen:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(named, lr=rate, weight_decay=decay, fused=fused)


def rate_factor(settings: Training, epoch: int) -> float:
    """Factor on the learning rate in an epoch.

    Linear warm-up over `warmup_epochs`: from `warmup_factor` in the first epoch to 1 in the one after the last, or,
    where it is 0, in steps of one size, (epoch + 1) / (warmup_epochs + 1). Then constant, a drop by
    `schedule_factor` every `schedule_epochs`, or half a cosine from 1 to `schedule_factor` at the last epoch.

    Returns:
        In (0, 1] unless the factor is 0.
    """
    if epoch < settings.warmup_epochs:
        if settings.warmup_factor:
            return settings.warmup_factor + (1 - settings.warmup_factor) * epoch / settings.warmup_epochs
        return (epoch + 1) / (settings.warmup_epochs + 1)
    done = epoch - settings.warmup_epochs
    if settings.schedule == "step":
        return settings.schedule_factor ** (done // settings.schedule_epochs)
    if settings.schedule == "cosine":
        last = max(1, settings.epochs - settings.warmup_epochs - 1)
        part = min(1.0, done / last)
        return settings.schedule_factor + (1 - settings.schedule_factor) * (1 + math.cos(math.pi * part)) / 2
    return 1.0


def set_rate(optimiser: torch.optim.Optimizer, rate: float, factors: Mapping[str, float] | None = None) -> None:
    """Give every group of the optimiser this rate, times the factor of its name (1 where none is named)."""
    for group in optimiser.param_groups:
        group["lr"] = rate * (factors or {}).get(group["name"], 1.0)
