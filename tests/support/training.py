"""Small trainings: data in memory, a configuration that takes milliseconds a step, rows kept in lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.config import RunConfig
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.names import MetricKey
from cggm_core.protocols.data import DataBundle, ModalitySpec, Split, TaskSpec
from cggm_core.protocols.model import MultimodalModel, UnimodalClassifier
from cggm_core.store import Contribution, RobustnessCurve


def tiny_config(method: str = "joint", modalities: int = 3, **given: Any) -> RunConfig:
    """Synthetic vectors, a narrow model, two epochs of ten steps; `given` replaces dotted settings."""
    base = RunConfig.from_dict(
        {
            "dataset": "synthetic",
            "dataset_params": {"modalities": modalities, "samples": 260, "dim": 6, "classes": 3},
            "model_params": {"width": 8, "layers": 1, "heads": 2},
            "method": method,
            "training": {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1},
        }
    )
    return base.with_settings(given)


def tiny_masks(method: str = "joint", **given: Any) -> RunConfig:
    """Small phantom slices and a narrow model, two epochs of three steps; `given` replaces dotted settings."""
    base = RunConfig.from_dict(
        {
            "dataset": "phantom",
            "dataset_params": {"samples": 80, "size": 16, "noise": 0.02},
            "model_params": {"width": 8},
            "method": method,
            "training": {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1, "lr": 3e-3},
        }
    )
    return base.with_settings(given)


torch.set_num_threads(1)  # small tensors: threads only wait for one another


@cache
def _data(dataset: str, params: tuple[tuple[str, Any], ...]) -> DataBundle:
    return build_data(RunConfig(dataset=dataset, dataset_params=dict(params)))


def tiny_data(config: RunConfig) -> DataBundle:
    """The configuration's data, built once."""
    return _data(config.dataset, tuple(sorted(config.dataset_params.items())))


class Rows:
    """Takes what a recorder takes, as dictionaries by step."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[MetricKey, float]] = {}
        self.epochs: dict[int, dict[MetricKey, float]] = {}
        self.cost: dict[MetricKey, float] = {}
        self.contributions: list[Contribution] = []
        self.curves: list[RobustnessCurve] = []

    def step(
        self,
        step: int,
        epoch: int,
        columns: tuple[MetricKey, ...],
        vector: Tensor,
        host: Mapping[MetricKey, float],
    ) -> None:
        self.steps[step] = dict(zip(columns, vector.tolist(), strict=True)) | dict(host)

    def epoch(self, step: int, epoch: int, values: Mapping[MetricKey, float]) -> None:
        self.epochs[epoch] = dict(values)

    def costs(self, step: int, epoch: int, values: Mapping[MetricKey, float]) -> None:
        self.cost = dict(values)

    def look(self, found: Contribution, curves: Sequence[RobustnessCurve] = ()) -> None:
        self.contributions.append(found)
        self.curves += curves


def trained(config: RunConfig, **parts: bool) -> tuple[Trainer, Rows]:
    """A trainer after its last step, and what it recorded."""
    trainer, rows = Trainer(config, tiny_data(config), **parts), Rows()
    trainer.fit(rows)  # type: ignore[arg-type]
    return trainer, rows


def bits(module: nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer of a module as bytes, so that equality means every bit."""
    return {name: value.detach().cpu().numpy().tobytes() for name, value in module.state_dict().items()}


class _Reader(UnimodalClassifier):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self._head = nn.Linear(width, outputs)

    def represent(self, features: Tensor) -> Tensor:
        return features.mean(dim=1)

    @property
    def head(self) -> nn.Linear:
        return self._head


class SumFusion(MultimodalModel):
    """Late fusion by a sum: the order of modalities cannot matter, beyond rounding."""

    def __init__(self, specs: Mapping[str, ModalitySpec], width: int, outputs: int) -> None:
        super().__init__()
        self.modalities = tuple(specs)
        self.width, self.outputs = width, outputs
        self.encoders = nn.ModuleDict({m: self._seeded(m, specs[m].shape[0], width) for m in specs})
        self._head = self._seeded("head", width, outputs)

    @staticmethod
    def _seeded(name: str, inputs: int, outputs: int) -> nn.Linear:
        made = nn.Linear(inputs, outputs)
        generator = torch.Generator().manual_seed(sum(name.encode()))
        for parameter in made.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / inputs**0.5)
        return made

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: self.encoders[m](inputs[m]).tanh()[:, None] for m in self.modalities}

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([f.mean(dim=1) for f in features.values()]).sum(dim=0).tanh()

    @property
    def head(self) -> nn.Linear:
        return self._head

    def parameters_of(self, modality: str) -> list[nn.Parameter]:
        return list(self.encoders[modality].parameters())

    def build_classifiers(self) -> nn.ModuleDict:
        made = nn.ModuleDict({m: _Reader(self.width, self.outputs) for m in self.modalities})
        for m in self.modalities:
            made[m]._head = self._seeded(f"reader {m}", self.width, self.outputs)  # type: ignore[assignment]
        return made


def reordered(data: DataBundle, names: tuple[str, ...]) -> DataBundle:
    """The same data with its modalities in another order."""
    splits = {
        key: Split({m: split.inputs[m] for m in names}, split.target, split.ids) for key, split in data.splits.items()
    }
    specs = {m: data.modalities[m] for m in names}
    return DataBundle(data.name, TaskSpec(data.task.name, data.task.outputs), specs, splits, data.fingerprint)
