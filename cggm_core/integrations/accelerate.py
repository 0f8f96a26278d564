"""Hugging Face Accelerate: the watch beside an `Accelerator`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cggm_core.engine.watcher import Watch


class AcceleratedWatch:
    """A watch whose steps follow an `Accelerator`: its accumulation, its precision.

    Args:
        watch: of the unprepared model's modules, which `prepare` keeps.
        accelerator: the loop's.
    """

    def __init__(self, watch: Watch, accelerator: Any) -> None:
        self.watch, self._accelerator = watch, accelerator

    def loss(self, loss: Tensor, target: Tensor | None = None) -> Tensor:
        """As `Watch.loss`, before `accelerator.backward`."""
        return self.watch.loss(loss, target)

    def step(self, loss: Tensor, target: Tensor | None = None) -> None:
        """After `accelerator.backward(loss)`, before clipping and the optimiser's step.

        Gradients are unscaled where this micro-batch ends a step; `accelerator.clip_grad_norm_` may follow.
        """
        self.watch.step(loss, target, update=False)
        if self._accelerator.sync_gradients:
            self._accelerator.unscale_gradients()
            self.watch.update()

    def close(self) -> None:
        """As `Watch.close`."""
        self.watch.close()
