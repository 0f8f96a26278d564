"""One optimiser step of a watched loop: what its micro-batches left, and the step made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from cggm_core.engine.readers import UnimodalReaders
from cggm_core.engine.watch_hooks import Heard
from cggm_core.engine.watch_model import WatchedModel
from cggm_core.errors import CapabilityError, DataError
from cggm_core.protocols.data import Batch
from cggm_core.protocols.step import Phase, Step
from cggm_core.protocols.task import Task


@dataclass(frozen=True)
class Part:
    """One micro-batch.

    Attributes:
        heard: what the forward pass left.
        target: as the task wants it; empty without a task.
        loss: scalar, as the loop gave it.
    """

    heard: Heard
    target: Tensor
    loss: Tensor


class WatchedStep(Step):
    """A step of a loop that is not ours: its loss is what the loop says.

    Attributes:
        untaken: names of loss terms that came too late to be part of the loss.

    Args:
        given: the loss as the loop gave it.
        open_loss: whether backward is still to come, so that terms may be added.
        optimisers: of the loop, where an update can be met.
    """

    def __init__(
        self, index: int, epoch: int, target: Tensor, model: WatchedModel, task: Task | None, granted: frozenset[str],
        given: Tensor, *, open_loss: bool, optimisers: Sequence[torch.optim.Optimizer] = (),
    ) -> None:  # fmt: skip
        batch = Batch({}, target, torch.empty(0, dtype=torch.int64))
        parameters = {m: [p for p in model.own[m] if p.requires_grad] for m in model.modalities}
        super().__init__(index, epoch, batch, model, task, parameters, granted)  # type: ignore[arg-type]
        self.given, self._open = given, open_loss
        self._optimisers, self._awaited = optimisers, list[RemovableHandle]()
        self.untaken: list[str] = []

    @property
    def loss(self) -> Tensor:
        """What backward ran on, as the loop gave it; before backward with every added term."""
        terms = self.loss_terms.values()
        return torch.stack([self.given, *terms]).sum() if self._open and terms else self.given

    def add_loss(self, name: str, value: Tensor) -> None:
        """Add a weighted term where backward is still to come; else note its name."""
        if self._open:
            super().add_loss(name, value)
        else:
            self.untaken.append(name)

    def scale_updates(self, coefficients: Mapping[str, Tensor]) -> None:
        """See `Step`; the loop's optimisers are met right after their own step.

        Raises:
            CapabilityError: where the parameters of an encoder are in none of the optimisers that were given.
        """
        held = {id(p) for optimiser in self._optimisers for group in optimiser.param_groups for p in group["params"]}
        if missing := [m for m in coefficients if any(id(p) not in held for p in self.parameters[m])]:
            raise CapabilityError(
                f"the method scales updates, and those of encoder {missing[0]!r} are in no optimiser the watch was "
                "given: add optimiser=, or knobs={'scales': 'gradient'}"
            )
        super().scale_updates(coefficients)
        self._awaited = [optimiser.register_step_post_hook(self._met) for optimiser in self._optimisers]

    def over(self) -> None:
        """The step is over: an optimiser that has not stepped (a scaler saw an infinity) is waited for no more."""
        for handle in self._awaited:
            handle.remove()
        self._awaited = []

    def _met(self, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        self._settle_updates({id(p) for group in optimiser.param_groups for p in group["params"]})

    def settle(self, loss: Tensor) -> None:
        """Backward is over: the loss is the one it ran on, and nothing holds a graph."""
        self.given, self._open = loss, False
        held = {name: _detached(value) for name, value in self._held.items()}
        self._fill(Phase.GRADIENTS, **held)


def read(parts: Sequence[Part], readers: UnimodalReaders, step: WatchedStep, last: Mapping[str, Tensor]) -> list[str]:
    """Let the classifiers read a step's micro-batches as one batch, and put into the step what they found.

    Predictions are joined, not features: sequences may differ in length from one micro-batch to the next. A modality
    that is absent from any of them keeps its last score, so its gain is 0, and has no loss and a gradient of 0.

    Args:
        parts: at least one.
        readers: of every modality.
        step: filled up to its logits.
        last: score by modality, of the step it was last there; a modality left out counts as 0.

    Returns:
        The modalities that were absent.
    """
    present = [m for m in step.modalities if all(m in part.heard.features for part in parts)]
    with torch.enable_grad():
        predicted = [readers.predict({m: part.heard.features[m] for m in present}) for part in parts]
        logits = {m: _joined([one[m] for one in predicted]) for m in present}
        found = readers.judge(logits, step.batch.target)
    absent = [m for m in step.modalities if m not in present]
    for modality in absent:
        head = readers.by_modality[modality].head
        score = next(iter(found["unimodal_scores"].values()))
        found["unimodal_scores"][modality] = last.get(modality, torch.zeros_like(score))
        found["unimodal_losses"][modality] = torch.full((), torch.nan, device=score.device)
        found["unimodal_logits"][modality] = torch.zeros_like(next(iter(found["unimodal_logits"].values())))
        found["classifier_heads"][modality] = head
        found["classifier_head_gradients"][modality] = torch.zeros_like(head.weight)
    ordered = {name: {m: values[m] for m in step.modalities} for name, values in found.items()}
    step._fill(Phase.LOSS, **ordered)
    return absent


def joined(parts: Sequence[Part]) -> dict[str, Any]:
    """Head's input and output of all micro-batches as one batch; with their graph where there is one part."""
    fused, logits = ([getattr(part.heard, name) for part in parts] for name in ("fused", "logits"))
    return {"fused": _joined(fused), "logits": _joined(logits)}


def together(parts: Sequence[Part]) -> dict[str, Tensor]:
    """Features of all micro-batches as one batch; a modality absent from one, or of several lengths, is left out."""
    found: dict[str, Tensor] = {}
    for modality in parts[0].heard.features:
        each = [part.heard.features.get(modality) for part in parts]
        there = [one for one in each if one is not None]
        if len(there) == len(parts) and len({one.shape[1:] for one in there}) == 1:
            found[modality] = _joined(there)
    return found


def settled_target(
    task: Task, target: object, logits: Tensor | None, device: torch.device, *, look: bool = True
) -> Tensor:  # fmt: skip
    """A batch's target in the form the task takes.

    Args:
        task: whose target it is.
        target: classes `[batch]` (or `[batch, 1]`), numbers `[batch]` or `[batch, outputs]`, masks `[batch, h, w]`
            (or `[batch, 1, h, w]`).
        logits: the fused prediction, which must fit; None where there is no head.
        device: where it is needed.
        look: whether classes are looked at wherever they lie. Without, those on a GPU, for which the host would wait,
            are not: one outside the range then counts as the nearest, since it would end the whole program there.

    Raises:
        DataError: naming the shapes found and expected, or the classes.
    """
    if not isinstance(target, Tensor):
        raise DataError(
            f"task={task.spec.name!r} needs the batch's target as a tensor, found {type(target).__name__}: "
            "call watch.step(loss, target)"
        )
    name, outputs = task.spec.name, task.spec.outputs
    moved = target.detach().to(device, non_blocking=True)
    if name == "regression":
        settled = moved.float().reshape(len(moved), -1) if moved.dim() else moved
        expected: tuple[int, ...] = (*settled.shape[:1], outputs)
    else:
        one_more = 2 if name == "classification" else 4
        settled = moved.squeeze(1) if moved.dim() == one_more and moved.shape[1] == 1 else moved
        expected = settled.shape[:1] if name == "classification" else (*settled.shape[:1], *settled.shape[1:3])
        if settled.is_floating_point() or settled.dim() != one_more - 1:
            raise DataError(
                f"the target has shape {tuple(target.shape)} and type {target.dtype}; {name} takes whole numbers of "
                f"shape {'[batch]' if name == 'classification' else '[batch, height, width]'}"
            )
        settled = settled.long()
    wanted = expected if name == "regression" else (expected[0], outputs, *expected[1:])
    if tuple(settled.shape) != tuple(expected) or (logits is not None and tuple(logits.shape) != tuple(wanted)):
        found = tuple(logits.shape) if logits is not None else "not known"
        raise DataError(
            f"target {tuple(target.shape)} and the head's output {found} do not fit {name} with {outputs} outputs; "
            f"expected a head's output of shape {tuple(wanted)}"
        )
    return settled if name == "regression" else _in_range(settled, target, name, outputs, look=look)


def _in_range(settled: Tensor, target: Tensor, name: str, outputs: int, *, look: bool) -> Tensor:
    """Classes as they are, if each is one.

    Raises:
        DataError: for a class that the head has no output for, such as a mark of what is to be ignored.
    """
    if target.device.type != "cpu" and not look:
        return settled.clamp(0, outputs - 1)
    seen = target if target.device.type == "cpu" else settled
    low, high = (int(one) for one in seen.aminmax()) if seen.numel() else (0, 0)
    if low < 0 or high >= outputs:
        raise DataError(
            f"the target has classes from {low} to {high}; {name} with {outputs} outputs takes 0 to {outputs - 1}: "
            "take samples that are ignored out of the batch, give ignored pixels a class, or watch without task="
        )
    return settled


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {name: _detached(one) for name, one in value.items()}
    return value
