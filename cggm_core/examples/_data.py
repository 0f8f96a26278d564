"""Made-up data for the examples: a loud modality, a quiet one, a third for regression."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset


def sound_and_text(samples: int = 512) -> TensorDataset:
    """Sound `[20]` that tells one of three classes well, text `[12]` that tells it poorly, the class."""
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (samples,), generator=draw)
    places = torch.randn(3, 32, generator=draw)
    noise = torch.randn(samples, 32, generator=draw)
    both = places[target] * torch.tensor([1.0] * 20 + [0.3] * 12) + noise
    return TensorDataset(both[:, :20], both[:, 20:], target)


def three_measurements(samples: int = 512) -> TensorDataset:
    """Camera `[3, 16, 16]`, microphone `[10, 8]` (time, band) and thermometer `[4]`; a number to predict."""
    draw = torch.Generator().manual_seed(0)
    camera = torch.randn(samples, 3, 16, 16, generator=draw)
    microphone = torch.randn(samples, 10, 8, generator=draw)
    thermometer = torch.randn(samples, 4, generator=draw)
    target = 2 * thermometer[:, 0] + microphone[:, :, 0].mean(1) + camera[:, 0].mean((1, 2))
    return TensorDataset(camera, microphone, thermometer, target[:, None])


def captions(samples: int = 512) -> TensorDataset:
    """Images `[3, 16, 16]` and captions of eight words out of forty; a pair shares its subject."""
    draw = torch.Generator().manual_seed(0)
    subject = torch.randint(0, 20, (samples,), generator=draw)
    looks = torch.randn(20, 3, 16, 16, generator=draw)
    images = looks[subject] + torch.randn(samples, 3, 16, 16, generator=draw)
    words = torch.randint(20, 40, (samples, 8), generator=draw)
    words[:, 0] = subject
    return TensorDataset(images, words)
