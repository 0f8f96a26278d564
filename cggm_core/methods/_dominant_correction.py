"""LNLN's correction of a dominant modality: how complete it is, and what the others say in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.protocols.data import take
from cggm_core.protocols.method import MethodContext
from cggm_core.protocols.model import pooled

_SEED_SHIFT = 49_979_687  # neither the model's draws nor the classifiers' are repeated


def mixture(own: Tensor, proxy: Tensor, completeness: Tensor) -> Tensor:
    """(1 - w) proxy + w own, w broadcast over everything but the batch.

    Args:
        own: `[batch, tokens, width]`.
        proxy: `[batch, width]`, the same for every token.
        completeness: w, `[batch]` in [0, 1].

    Returns:
        Shape of `own`; padding stays 0, unless a sample is nothing but padding, which the proxy then replaces.
    """
    w = completeness[:, None, None]
    real = (own != 0).any(-1, keepdim=True)
    mixed = (1 - w) * proxy[:, None] + w * own
    return torch.where(real | ~real.any(1, keepdim=True), mixed, torch.zeros_like(mixed))


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:  # type: ignore[override]
        return value.view_as(value)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


def reversed_gradient(value: Tensor) -> Tensor:
    """The value itself; its gradient comes back with the other sign."""
    found: Tensor = _Reversal.apply(value)  # type: ignore[no-untyped-call]
    return found


class Correction(nn.Module):
    """Small networks on pooled features for one modality taken as dominant.

    Args:
        widths: of the features, by modality, in the order they are joined.
        dominant: one of them.
    """

    def __init__(self, widths: Mapping[str, int], dominant: str) -> None:
        super().__init__()
        own = widths[dominant]
        self._places = {m: i for i, m in enumerate(widths)}
        self.estimate = _network(own, 1)
        self.propose = _network(sum(widths.values()) - own, own)
        self.judge = _network(own, 2)
        self.rebuilders = nn.ModuleList([_network(width, width) for width in widths.values()])

    @classmethod
    def built(cls, context: MethodContext, names: Sequence[str]) -> dict[str, Correction]:
        """One for each modality, with weights of a generator of their own."""
        model, training = context.model, context.model.training
        model.eval()  # draws nothing
        with torch.no_grad():
            sample = take(context.data.splits["train"], torch.arange(1), context.device)
            features = model.encode(sample.inputs)
        model.train(training)
        widths = {m: features[m].shape[-1] for m in names}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(context.seed + _SEED_SHIFT)
            return {m: cls(widths, m).to(context.device) for m in names}

    def rebuild(self, modality: str, features: Tensor) -> Tensor:
        """Pooled features of the thinned input to those of the complete one."""
        found: Tensor = self.rebuilders[self._places[modality]](features)
        return found


@dataclass(frozen=True)
class Corrected:
    """Features after correction, shape of the dominant modality's, and the completeness `[batch]` that mixed them."""

    features: Tensor
    completeness: Tensor


def corrected(part: Correction, features: Mapping[str, Tensor], dominant: str, names: Sequence[str]) -> Corrected:
    """Fill up what the dominant modality lacks."""
    own = features[dominant]
    with torch.autocast(own.device.type, enabled=False):
        completeness = part.estimate(pooled(own.float()))[:, 0].sigmoid()
        proxy = part.propose(torch.cat([pooled(features[m].float()) for m in names if m != dominant], 1))
        return Corrected(mixture(own.float(), proxy, completeness).to(own.dtype), completeness)


def _network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))
