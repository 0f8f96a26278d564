"""Hugging Face Trainer: the watch as a `TrainerCallback`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.engine.watcher import Watch
from cggm_core.errors import CapabilityError
from cggm_core.integrations._optional import need

_transformers = need("transformers", "transformers")


class WatchCallback(_transformers.TrainerCallback):  # type: ignore[misc,name-defined]
    """Watches the model of a `Trainer`; accumulation and precision are the trainer's.

    Loss and labels are those of the model's own call, `model(..., labels=...)`. The trainer clips gradients before
    it tells its callbacks: norms are then those of clipped gradients. To balance, set `max_grad_norm=0` in the
    training arguments and give `clip` here, which clips after balancing.

    Args:
        begin: makes the watch of the model, on its device, as the trainer calls it.
        label: keyword of the labels in the model's call; "" where the watch has no task.
        clip: largest L2 norm of the whole gradient; 0 leaves clipping to the trainer.

    Attributes:
        watch: while training; None before.
    """

    def __init__(self, begin: Callable[[Any], Watch], *, label: str = "labels", clip: float = 0.0) -> None:
        self.watch: Watch | None = None
        self._begin, self._label, self._clip = begin, label, clip
        self._loss: Tensor | None = None
        self._target: Tensor | None = None
        self._epochs = 0
        self._hook: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **others: Any) -> None:
        """Begin.

        Raises:
            CapabilityError: if the trainer would clip before a method balances.
        """
        self._forget()  # of a training that ended by an exception, which tells its callbacks nothing
        self.watch = self._begin(model)
        self._epochs = 0
        if self.watch.balances and args.max_grad_norm:
            self.watch.end("stopped", "the trainer clips before it could be balanced")
            raise CapabilityError(
                f"the trainer clips gradients at {args.max_grad_norm:g} before its callbacks can balance them; set "
                f"max_grad_norm=0 and give WatchCallback(..., clip={args.max_grad_norm:g})"
            )
        self.watch.planned(max(0, int(state.max_steps)), max(0, int(args.num_train_epochs)))
        self._hook = model.register_forward_hook(_Ear(self), with_kwargs=True)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Record the epoch before, whose evaluation comes after its end."""
        if self.watch is not None and self._epochs:
            self.watch.end_epoch()
        self._epochs += 1

    def on_substep_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """A micro-batch is done."""
        if self.watch is not None and self._loss is not None:
            self.watch.step(self._loss, self._target, update=False)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: nn.Module, **others: Any) -> None:
        """The last micro-batch of a step is done: measure, balance, clip."""
        if self.watch is not None and self._loss is not None:
            self.watch.step(self._loss, self._target, update=True)
            if self._clip > 0:
                nn.utils.clip_grad_norm_(model.parameters(), self._clip)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> Any:
        """Pass a stop request of the app on."""
        if self.watch is not None and self.watch.stop_requested:
            control.should_training_stop = True
        return control

    def on_prediction_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Count an evaluation batch."""
        if self.watch is not None and self._target is not None:
            self.watch.validate(self._target)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Close."""
        self._forget()
        if self.watch is not None:
            self.watch.end_epoch()
            self.watch.close()

    def _forget(self) -> None:
        """Take the hook away, and what it heard."""
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._loss = self._target = None

    def hear(self, model: nn.Module, kwargs: Mapping[str, Any], output: Any) -> None:
        """The model was called.

        Raises:
            CapabilityError: if it returned no loss while it is watched.
        """
        if self.watch is None or not self.watch.is_open:
            return
        self._target = kwargs.get(self._label)
        found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if torch.is_grad_enabled() and not isinstance(found, Tensor):
            raise CapabilityError(
                f"{type(model).__name__} returned no loss: the callback reads it from the model's own call, "
                f"model(..., {self._label or 'labels'}=...)"
            )
        self._loss = found.detach() if isinstance(found, Tensor) else None


class _Ear:
    """A forward hook that keeps its callback alive by nothing, and copies to a deaf one."""

    def __init__(self, callback: WatchCallback | None) -> None:
        self._callback = weakref.ref(callback) if callback is not None else None

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        if self._callback is not None and (callback := self._callback()) is not None:
            callback.hear(model, kwargs, output)

    def __reduce__(self) -> tuple[type[_Ear], tuple[None]]:
        return _Ear, (None,)
