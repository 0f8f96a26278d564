"""Hugging Face Accelerate: the watch follows the accelerator's accumulation and precision."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.examples._data import sound_and_text
from cggm_core.examples.plain_loop import Net
from cggm_core.integrations.accelerate import AcceleratedWatch


def train(steps: int = 200) -> nn.Module:
    """Train with two micro-batches a step, and watch."""
    torch.manual_seed(0)
    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    data = DataLoader(sound_and_text(), batch_size=16, shuffle=True)
    encoders = {"audio": net.audio, "text": net.text}
    model, optimizer, loader = accelerator.prepare(net, optimizer, data)
    begun = cggm_core.watch(encoders, head=net.head, task="classification", run="accelerate")
    watch = AcceleratedWatch(begun, accelerator)
    done = 0
    while done < steps:
        for audio, text, target in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(audio, text), target)
                accelerator.backward(loss)
                watch.step(loss, target)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    done += 1
                optimizer.step()
                optimizer.zero_grad()
            if done == steps:
                break
    watch.close()
    return net


if __name__ == "__main__":
    train()
