"""A CLIP-like model: two towers and a contrastive loss, no head. Norms and updates need the encoders alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.examples._data import captions


class TwoTowers(nn.Module):
    """An image and a text tower that meet in a common space."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 32)
        )
        self.text = nn.Sequential(nn.Embedding(40, 32), nn.Flatten(), nn.Linear(256, 32))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Similarity of every image with every text."""
        one, two = (nn.functional.normalize(found, dim=-1) for found in (self.image(image), self.text(text)))
        similar: Tensor = self.scale.exp() * one @ two.T
        return similar


def train(steps: int = 200) -> nn.Module:
    """Train, and watch both towers."""
    torch.manual_seed(0)
    net, loader = TwoTowers(), DataLoader(captions(), batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    watch = cggm_core.watch({"image": net.image, "text": net.text}, run="two towers")
    done = 0
    while done < steps:
        for image, text in loader:
            optimizer.zero_grad()
            similar, pairs = net(image, text), torch.arange(len(image))
            loss = (nn.functional.cross_entropy(similar, pairs) + nn.functional.cross_entropy(similar.T, pairs)) / 2
            loss.backward()
            watch.step(loss)
            optimizer.step()
            done += 1
            if done == steps:
                break
    watch.close()
    return net


if __name__ == "__main__":
    train()
