"""When a run looks at its probe set: after each epoch at a small part, at the end and on demand at a larger one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cggm_core.config import Training
from cggm_core.engine.devices import Precision
from cggm_core.engine.probe import Probe
from cggm_core.engine.recorder import Recorder
from cggm_core.measures.contributions import subsets_needed
from cggm_core.protocols.data import Split
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.task import Task

# Samples of a look after each epoch, and of a full look; fewer of masks, where each sample is a picture of answers.
EPOCH_SAMPLES, FULL_SAMPLES = 256, 2048
EPOCH_FUSIONS, FEWEST = 4096, 64  # of a short look: from five modalities on it takes fewer samples, down to so few
EPOCH_MASKS, FULL_MASKS = 16, 128
# How often absent modalities are taken from other samples; an order of masks costs as much as a hundred of vectors.
EPOCH_ORDERS, FULL_ORDERS = 1, 5


class Looks:
    """The looks that the setting `contributions` asks for.

    Attributes:
        small, large: the probe sets of a short and of a full look.

    Args:
        model, predict, task, split, batch, device, precision: as `Probe` takes them.
        settings: `contributions` and `epochs`.
    """

    def __init__(
        self, model: MultimodalModel, predict: Callable[[Mapping[str, Tensor]], Tensor], task: Task, split: Split,
        batch: int, device: torch.device, precision: Precision, settings: Training,
    ) -> None:  # fmt: skip
        masks = task.spec.name == "segmentation"
        coalitions = len(subsets_needed(len(model.modalities)))
        few = max(FEWEST, min(EPOCH_SAMPLES, EPOCH_FUSIONS // coalitions))
        self.small, self.large = (
            Probe(model, predict, task, split, samples, batch, device, precision, orders)
            for samples, orders in (
                ((EPOCH_MASKS, 1), (FULL_MASKS, 1)) if masks else ((few, EPOCH_ORDERS), (FULL_SAMPLES, FULL_ORDERS))
            )
        )
        self._when, self._epochs = settings.contributions, settings.epochs

    def after_epoch(self, recorder: Recorder, step: int, epoch: int) -> None:
        """Look as the settings say.

        Args:
            recorder: takes what is found.
            step: last optimiser step taken.
            epoch: the one that ended, from 0.
        """
        if self._when != "off" and epoch + 1 == self._epochs:
            self.full(recorder, step, epoch)
        elif self._when == "epoch":
            self.short(recorder, step, epoch)

    def short(self, recorder: Recorder, step: int, epoch: int) -> None:
        """Look at the small part."""
        recorder.look(self.small.contribution(step, epoch))

    def full(self, recorder: Recorder, step: int, epoch: int) -> None:
        """Look at the larger part, with curves under damage."""
        found = self.large.contribution(step, epoch)
        recorder.look(found, self.large.robustness(step, epoch))
