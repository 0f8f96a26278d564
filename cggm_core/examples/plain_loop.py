"""A plain loop: three lines watch it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.examples._data import sound_and_text


class Net(nn.Module):
    """Late fusion of two encoders by one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 16))
        self.text = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 16))
        self.head = nn.Linear(32, 3)

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """Logits of three classes."""
        logits: Tensor = self.head(torch.cat([self.audio(audio), self.text(text)], -1))
        return logits


def train(steps: int = 200) -> nn.Module:
    """Train, and watch."""
    torch.manual_seed(0)
    net, loader = Net(), DataLoader(sound_and_text(), batch_size=32, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    watch = cggm_core.watch({"audio": net.audio, "text": net.text}, head=net.head, task="classification", run="mine")
    done = 0
    while done < steps:
        for audio, text, target in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(audio, text), target)
            loss.backward()
            watch.step(loss, target)
            optimizer.step()
            done += 1
            if done == steps:
                break
    watch.close()
    return net


if __name__ == "__main__":
    train()
