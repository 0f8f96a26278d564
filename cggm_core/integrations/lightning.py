"""PyTorch Lightning: the watch as a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from cggm_core.engine.watch_run import why
from cggm_core.engine.watcher import Watch
from cggm_core.integrations._optional import need

_lightning = need("lightning.pytorch", "lightning")


class WatchCallback(_lightning.Callback):  # type: ignore[misc,name-defined]
    """Watches a `LightningModule` while `Trainer.fit` runs; accumulation, clipping and precision are the trainer's.

    Gradients are measured and balanced after they are unscaled and before they are clipped. Batches of the
    validation loop are counted; sanity checks are not. A method's loss terms (CGGM's direction) need
    `loss = callback.watch.loss(loss, target)` in `training_step`.

    Args:
        begin: makes the watch of the module, on its device, as `training_step` calls it.
        target: the target in a batch; None where the watch has no task.

    Attributes:
        watch: while fitting; None before.
    """

    def __init__(self, begin: Callable[[Any], Watch], target: Callable[[Any], Tensor] | None = None) -> None:
        self.watch: Watch | None = None
        self._begin, self._target = begin, target
        self._loss: Tensor | None = None
        self._batch: Any = None

    def on_train_start(self, trainer: Any, module: nn.Module) -> None:
        """Begin."""
        self.watch = self._begin(module)
        steps, epochs = trainer.estimated_stepping_batches, trainer.max_epochs or 0
        self.watch.planned(int(steps) if steps < 2**53 else 0, max(0, epochs))

    def on_train_batch_start(self, trainer: Any, module: nn.Module, batch: Any, batch_idx: int) -> None:
        """Keep the batch, whose target is needed after backward."""
        self._batch = batch

    def on_before_backward(self, trainer: Any, module: nn.Module, loss: Tensor) -> None:
        """Keep the loss; Lightning has divided it by the number of micro-batches."""
        self._loss = loss.detach() * trainer.accumulate_grad_batches

    def on_after_backward(self, trainer: Any, module: nn.Module) -> None:
        """A micro-batch is done."""
        if self.watch is not None and self._loss is not None:
            self.watch.step(self._loss, self._of(self._batch), update=False)

    def on_before_optimizer_step(self, trainer: Any, module: nn.Module, optimizer: Any) -> None:
        """Gradients are whole and unscaled."""
        if self.watch is not None:
            self.watch.update()

    def on_train_batch_end(self, trainer: Any, module: nn.Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Pass a stop request of the app on."""
        self._batch = None
        if self.watch is not None and self.watch.stop_requested:
            trainer.should_stop = True

    def on_validation_batch_end(
        self, trainer: Any, module: nn.Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count a validation batch."""
        target = self._of(batch)
        if self.watch is not None and target is not None and not trainer.sanity_checking:
            self.watch.validate(target)

    def on_train_epoch_end(self, trainer: Any, module: nn.Module) -> None:
        """Record the epoch."""
        if self.watch is not None:
            self.watch.end_epoch()

    def on_train_end(self, trainer: Any, module: nn.Module) -> None:
        """Close."""
        if self.watch is not None:
            self.watch.close()

    def on_exception(self, trainer: Any, module: nn.Module, exception: BaseException) -> None:
        """End as the exception says."""
        if self.watch is not None:
            self.watch.end(*why(exception))

    def _of(self, batch: Any) -> Tensor | None:
        return self._target(batch) if self._target is not None else None
