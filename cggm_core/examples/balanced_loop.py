"""The same loop balanced by CGGM: a method's name, and a fourth line for its direction."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.examples._data import sound_and_text
from cggm_core.examples.plain_loop import Net


def train(steps: int = 200) -> nn.Module:
    """Train, balanced, with clipping and validation."""
    torch.manual_seed(0)
    data = sound_and_text()
    loader = DataLoader(torch.utils.data.Subset(data, range(384)), batch_size=32, shuffle=True)
    held_out = DataLoader(torch.utils.data.Subset(data, range(384, 512)), batch_size=64)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    watch = cggm_core.watch(
        {"audio": net.audio, "text": net.text}, head=net.head, task="classification", run="balanced",
        method="cggm", knobs={"rho": 1.2}, optimiser=optimizer, steps=steps, epochs=-(-steps // len(loader)),
        settings={"lr": 0.05, "momentum": 0.9},
    )  # fmt: skip
    for step in range(0, steps, len(loader)):
        net.train()
        for audio, text, target in list(loader)[: steps - step]:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(audio, text), target)
            loss = watch.loss(loss, target)  # adds CGGM's direction; its graph is gone after backward
            loss.backward()
            watch.step(loss)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for audio, text, target in held_out:
                net(audio, text)
                watch.validate(target)
        watch.end_epoch()
        if watch.stop_requested:  # somebody pressed Stop in the app
            break
    watch.close()
    return net


if __name__ == "__main__":
    train()
