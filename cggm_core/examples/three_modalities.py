"""A regression with three modalities: an image, a sequence and a vector; micro-batches, clipping, a list of modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.examples._data import three_measurements


class Sensors(nn.Module):
    """Three encoders of different kinds, joined by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.camera = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.bands = nn.Linear(8, 16)
        self.microphone = nn.GRU(16, 16, batch_first=True)
        self.thermometer = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
        self.join = nn.Linear(32 + 16 + 16, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, camera: Tensor, microphone: Tensor, thermometer: Tensor) -> Tensor:
        """One number a sample."""
        heard, _ = self.microphone(self.bands(microphone))
        parts = [self.camera(camera).flatten(1), heard.mean(1), self.thermometer(thermometer)]
        predicted: Tensor = self.head(self.join(torch.cat(parts, -1)).relu())
        return predicted


def train(steps: int = 200) -> nn.Module:
    """Train with two micro-batches a step, and watch."""
    torch.manual_seed(0)
    net, loader = Sensors(), DataLoader(three_measurements(), batch_size=16, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    watch = cggm_core.watch(
        {"camera": net.camera, "microphone": [net.bands, net.microphone], "thermometer": net.thermometer},
        head=net.head, task="regression", accumulate=2, run="three sensors",
    )  # fmt: skip
    done = 0
    while done < 2 * steps:
        for camera, microphone, thermometer, target in loader:
            loss = nn.functional.l1_loss(net(camera, microphone, thermometer), target)
            (loss / 2).backward()
            watch.step(loss, target)
            done += 1
            if done % 2 == 0:
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            if done == 2 * steps:
                break
    watch.close()
    return net


if __name__ == "__main__":
    train()
