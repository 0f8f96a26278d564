"""Small foreign models and loops, for tests of what watches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cggm_core
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo, open_reader

Batch = tuple[Tensor, Tensor, Tensor]
SIZES = {"audio": 6, "text": 5}


class TwoTowers(nn.Module):
    """A user's late fusion, with dropout so that a disturbed random state would show."""

    def __init__(self, outputs: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout))
        self.text = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(16, outputs)

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.dropout(torch.cat([features["audio"], features["text"]], -1), 0.1, self.training)

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        return self.head(self.fuse({"audio": self.audio(audio), "text": self.text(text)}))


class Maps(nn.Module):
    """A user's segmentation network of two contrasts."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 6, 3, padding=1)
        self.two = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.head = nn.Conv2d(10, 3, 1)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        coarse = nn.functional.interpolate(self.two(two).relu(), scale_factor=2.0)
        return self.head(torch.cat([self.one(one).relu(), coarse], 1))


def built(make: Callable[[], nn.Module] = TwoTowers, seed: int = 0) -> Any:
    """A fresh model, the same each time."""
    torch.manual_seed(seed)
    return make()


def batches(count: int, task: str = "classification", size: int = 16) -> Iterator[Batch]:
    """Batches of the same generator each time."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(count):
        if task == "segmentation":
            one, two = (torch.randn(4, 1, 8, 8, generator=generator) for _ in range(2))
            yield one, two, ((one > 0).long() + (two > 0.5).long())[:, 0]
            continue
        audio, text = (torch.randn(size, width, generator=generator) for width in SIZES.values())
        classes = (audio[:, 0] > 0).long() + (text[:, 0] > 0).long()
        yield audio, text, classes if task == "classification" else audio[:, :1] + text[:, 0:1]


LOSSES: dict[str, Callable[..., Tensor]] = {
    "classification": nn.functional.cross_entropy,
    "regression": nn.functional.l1_loss,
    "segmentation": nn.functional.cross_entropy,
}


def loop(
    net: Any, optimiser: torch.optim.Optimizer, watch: cggm_core.Watch | None, count: int = 20,
    task: str = "classification", *, terms: bool = False,
) -> None:  # fmt: skip
    """The plainest loop there is."""
    for first, second, target in batches(count, task):
        optimiser.zero_grad()
        loss = LOSSES[task](net(first, second), target)
        if terms and watch is not None:
            loss = watch.loss(loss, target)
        loss.backward()
        if watch is not None:
            watch.step(loss, target)
        optimiser.step()


def encoders(net: Any) -> dict[str, nn.Module]:
    """Of either model here."""
    return {"audio": net.audio, "text": net.text} if isinstance(net, TwoTowers) else {"one": net.one, "two": net.two}


def info(watch: cggm_core.Watch) -> RunInfo:
    """The run as readers see it."""
    assert watch.folder is not None
    return open_reader(watch.folder).info()


def series(watch: cggm_core.Watch, metric: str, modality: str = "") -> list[float]:
    """Every value of a series."""
    assert watch.folder is not None
    key = MetricKey(metric, modality)
    return list(map(float, open_reader(watch.folder).series([key])[key].value))


def notes(folder: Path | None) -> list[str]:
    """Everything the run says in words."""
    assert folder is not None
    return [event.text for event in open_reader(folder).events()]
