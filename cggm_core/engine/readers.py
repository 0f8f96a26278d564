"""The unimodal classifiers at work: they read detached features and learn beside the model.

They run in every method, joint training included, so that unimodal scores can be compared. Nothing they do
reaches the model: their inputs are detached, their weights are drawn from a random state of their own, and they
hold no dropout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cggm_core.config import Training
from cggm_core.engine.optimisers import build_optimiser, set_rate
from cggm_core.protocols.data import Batch
from cggm_core.protocols.model import MultimodalModel, UnimodalClassifier
from cggm_core.protocols.task import Task

_SEED_SHIFT = 7_919  # classifiers must not repeat the model's draws


class UnimodalReaders:
    """Classifiers of all modalities with their optimiser.

    Args:
        model: whose features they read.
        task: gives loss and score.
        settings: `classifier_lr` and the optimiser's kind.
        device: where training runs.
    """

    def __init__(self, model: MultimodalModel, task: Task, settings: Training, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            # Of the host alone: torch.manual_seed would reseed GPUs too, and no one put that back.
            torch.default_generator.manual_seed(settings.seed + _SEED_SHIFT)
            built = model.build_classifiers()
        self.modules = built.to(device)
        self.by_modality: dict[str, UnimodalClassifier] = {m: built[m] for m in model.modalities}  # type: ignore[misc]
        self._task, self._settings = task, settings
        self.optimiser = build_optimiser({"classifiers": self.modules.parameters()}, settings, settings.classifier_lr)

    def set_factor(self, factor: float) -> None:
        """Schedule the classifiers' rate like the model's."""
        set_rate(self.optimiser, self._settings.classifier_lr * factor)

    def read(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Any]:
        """Predict, score, and fill the classifiers' gradients; their weights do not change yet.

        Returns:
            The fields a step holds: `unimodal_logits`, `unimodal_losses`, `unimodal_scores`,
            `classifier_heads`, `classifier_head_gradients`, each by modality.
        """
        return self.judge(self.predict(features), batch.target)

    def judge(self, logits: Mapping[str, Tensor], target: Tensor) -> dict[str, Any]:
        """Score predictions of this step and fill the classifiers' gradients; as `read`, which made them."""
        self.optimiser.zero_grad(set_to_none=True)
        losses = {m: self._task.loss(z, target) for m, z in logits.items()}
        torch.stack(list(losses.values())).sum().backward()
        heads = {m: self.by_modality[m].head for m in logits}
        return {
            "unimodal_logits": {m: z.detach() for m, z in logits.items()},
            "unimodal_losses": {m: value.detach() for m, value in losses.items()},
            "unimodal_scores": {m: self._task.score(z, target) for m, z in logits.items()},
            "classifier_heads": heads,
            "classifier_head_gradients": {m: head.weight.grad for m, head in heads.items()},
        }

    def predict(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits of the modalities given, in float32 whatever the model's precision: the readers are the ruler."""
        with torch.autocast(next(iter(features.values())).device.type, enabled=False):
            return {m: reader(features[m].detach().float()) for m, reader in self.by_modality.items() if m in features}

    def update(self) -> None:
        """One step of their optimiser."""
        self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return {"modules": self.modules.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.modules.load_state_dict(state["modules"])
        self.optimiser.load_state_dict(state["optimiser"])
