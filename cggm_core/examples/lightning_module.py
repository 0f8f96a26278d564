"""PyTorch Lightning: one callback watches a module."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.examples._data import sound_and_text
from cggm_core.examples.plain_loop import Net
from cggm_core.integrations.lightning import WatchCallback


class Module(pl.LightningModule):  # type: ignore[misc,name-defined]
    """Any `LightningModule`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        audio, text, target = batch
        return nn.functional.cross_entropy(self.net(audio, text), target)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """The prediction is all that is needed."""
        self.net(*batch[:2])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def train(steps: int = 200) -> nn.Module:
    """Fit, and watch."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pl.seed_everything(0, verbose=False)
    module, callbacks = Module(), list[Any]()
    watched = WatchCallback(
        lambda module: cggm_core.watch(
            {"audio": module.net.audio, "text": module.net.text}, head=module.net.head, task="classification",
            run="lightning",
        ),
        target=lambda batch: batch[-1],
    )  # fmt: skip
    callbacks.append(watched)
    trainer = pl.Trainer(
        max_steps=steps, accumulate_grad_batches=2, gradient_clip_val=1.0, callbacks=callbacks, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = sound_and_text()
    trainer.fit(module, DataLoader(data, batch_size=16, shuffle=True), DataLoader(data, batch_size=128))
    return module


if __name__ == "__main__":
    train()
