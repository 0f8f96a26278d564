"""Training of a method's own part before the run: teachers, say. The run keeps every bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cggm_core.config import Training
from cggm_core.engine.devices import Precision
from cggm_core.engine.optimisers import SHARED, build_optimiser, rate_factor, set_rate
from cggm_core.engine.seeding import order, random_state, restore_random_state
from cggm_core.protocols.data import Batch, DataBundle, take

_SEED_SHIFT = 15_485_863  # neither the order of samples nor the dropout of the run is repeated


@dataclass(frozen=True)
class Pretraining:
    """Trains modules as the run will be trained: optimiser, rate and its schedule, batch size, precision.

    Gradients are not clipped: the norm of all of them would tie parts together that have nothing to do with each
    other. The same seed gives the same bits, whenever it is run.

    Args:
        data: training split to learn from.
        settings: of the run.
        device: where the run trains.
        precision: number format of forward passes.
    """

    data: DataBundle
    settings: Training
    device: torch.device
    precision: Precision

    def run(self, module: nn.Module, objective: Callable[[Batch], Tensor], epochs: int) -> None:
        """Train `module` in place.

        Args:
            module: whose parameters learn; put in evaluation mode at the end.
            objective: mean loss of a batch, computed with the module.
            epochs: passes over the training split; the schedule is stretched over them.
        """
        state = random_state(self.device)
        try:
            torch.manual_seed(self.settings.seed + _SEED_SHIFT)
            self._train(module, objective, epochs)
        finally:
            restore_random_state(state, self.device)
        module.eval()

    def _train(self, module: nn.Module, objective: Callable[[Batch], Tensor], epochs: int) -> None:
        settings, split = replace(self.settings, epochs=epochs), self.data.splits["train"]
        learning = [p for p in module.parameters() if p.requires_grad]
        optimiser = build_optimiser({SHARED: learning}, settings, settings.lr)
        scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        module.train()
        for epoch in range(epochs):
            set_rate(optimiser, settings.lr * rate_factor(settings, epoch))
            for index in order(settings.seed + _SEED_SHIFT, epoch, len(split)).split(settings.batch_size):
                optimiser.zero_grad(set_to_none=True)
                with self.precision.forward():
                    loss = objective(take(split, index, self.device))
                scaler.scale(loss).backward()
                scaler.step(optimiser)
                scaler.update()
