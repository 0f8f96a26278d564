"""What must hold of a watched step, and the sentence that says what to do where it does not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cggm_core.engine.watch_hooks import Heard
from cggm_core.engine.watch_model import WatchedModel
from cggm_core.engine.watch_step import Part
from cggm_core.errors import CapabilityError


def check_called(model: WatchedModel, heard: Heard, *, missing: bool, first: bool, needs_head: bool) -> None:
    """See that the forward pass called what was named.

    Args:
        model: whose modules were named.
        heard: what the pass left.
        missing: whether batches may lack a modality.
        first: whether this is the first step; later an encoder that is not called is an absent modality.
        needs_head: whether the head's input and output are needed.

    Raises:
        CapabilityError: naming the encoder, and what to do.
    """
    if not heard.features:
        raise CapabilityError(
            "no encoder was called since the last step: name modules that your forward pass calls itself, call "
            "step() once a forward pass, and make the watch before a compiled model runs for the first time"
        )
    silent = [m for m in model.modalities if m not in heard.features]
    if silent and first and not missing:
        raise CapabilityError(
            f"encoder {silent[0]!r} was not called in the first step; name the module that your forward pass calls, "
            "or give missing=True if batches may lack a modality"
        )
    if needs_head and (heard.logits is None or heard.fused is None):
        raise CapabilityError(
            "the head was not called since the last step; name the layer your forward pass calls last"
        )


def check_samples(heard: Heard, target: Tensor) -> None:
    """See that every encoder gave a row a target.

    Raises:
        CapabilityError: naming the encoder and the shape found.
    """
    for modality, found in heard.features.items():
        if len(found) != len(target):
            raise CapabilityError(
                f"encoder {modality!r} gave features of shape {tuple(found.shape)} for {len(target)} targets; expected "
                f"one row a target, batch first: choose with features={{{modality!r}: lambda output: ...}}"
            )


def check_gradients(model: WatchedModel, parts: Sequence[Part]) -> None:
    """See that backward reached every encoder that was called and trains.

    Raises:
        CapabilityError: naming the encoder, and what to do.
    """
    for modality in model.modalities:
        if any(p.grad is not None and p.grad.layout is not torch.strided for p in model.own[modality]):
            raise CapabilityError(
                f"encoder {modality!r} has sparse gradients, which are neither measured nor scaled: build its "
                "embedding with sparse=False"
            )
    called = {m for part in parts for m in part.heard.features if not model.frozen(m)}
    without = [m for m in model.modalities if m in called and all(p.grad is None for p in model.own[m])]
    if called and len(without) == len(called):
        raise CapabilityError(
            "no encoder has a gradient: call step() after backward() and before the gradients are set to zero"
        )
    if without:
        raise CapabilityError(
            f"encoder {without[0]!r} was called but got no gradient: is its output detached, or not used by the loss? "
            "freeze it (requires_grad=False) to watch it without"
        )
