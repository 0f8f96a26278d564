"""Validation and test: the whole split, in evaluation mode, drawing nothing from the random state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cggm_core.engine.devices import Precision
from cggm_core.engine.readers import UnimodalReaders
from cggm_core.names import MetricKey
from cggm_core.protocols.data import Split, take
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.task import Task


@torch.no_grad()
def evaluate(
    model: MultimodalModel, readers: UnimodalReaders | None, task: Task, split: Split, prefix: str, batch: int,
    device: torch.device, precision: Precision, predict: Callable[[Mapping[str, Tensor]], Tensor],
) -> dict[MetricKey, float]:  # fmt: skip
    """Loss, score, unimodal scores and the task's metrics over one split.

    Args:
        model: in whatever mode; it is put back into it.
        readers: unimodal classifiers, or None.
        task: gives loss, score and metrics.
        split: what is predicted; every sample counts once.
        prefix: `val_` or `test_`.
        batch: samples predicted together; changes speed, not results beyond rounding.
        device: where the model is.
        precision: number format of the forward pass.
        predict: features by modality to the fused prediction; the method's, which may not be the model's own.

    Returns:
        Values by key, on the host.
    """
    training = model.training
    model.eval()
    tallies = {"": task.tally()}
    for index in torch.arange(len(split)).split(batch):
        part = take(split, index, device)
        with precision.forward():
            features = model.encode(part.inputs)
            fused = predict(features).float()
        tallies[""].add(fused, part.target)
        if readers:
            for modality, logits in readers.predict(features).items():
                tallies.setdefault(modality, task.tally()).add(logits, part.target)
    model.train(training)
    whole = tallies.pop("")
    found = {MetricKey(f"{prefix}loss"): float(whole.loss()), MetricKey(f"{prefix}score"): float(whole.score())}
    for modality, alone in tallies.items():
        found[MetricKey(f"{prefix}unimodal_score", modality)] = float(alone.score())
    return found | {MetricKey(prefix + name): value for name, value in whole.metrics().items()}
