"""Bytes counted by hand, and the memory of a process that is known to have grown."""

import subprocess
import sys

import torch
from torch import nn

from cggm_core.measures.costs import Size, peak_memory, size_of


def test_a_layer_with_gradients_and_adam_counted_by_hand() -> None:
    layer = nn.Linear(3, 2)  # 6 weights and 2 biases, 4 bytes each
    adam = torch.optim.Adam(layer.parameters())
    assert size_of([layer], adam) == Size(8, 32)
    layer(torch.ones(1, 3)).sum().backward()
    assert size_of([layer], adam) == Size(8, 64)
    adam.step()
    # Two moments of every weight, and one float32 count of steps for each of the two tensors.
    assert size_of([layer], adam) == Size(8, 64 + 64 + 8)
    assert size_of([layer]) == Size(8, 64)


def test_shared_weights_count_once_and_buffers_count_as_bytes() -> None:
    norm = nn.BatchNorm1d(4)  # weight and bias; mean and variance; a count of 8 bytes
    assert size_of([norm]) == Size(8, 32 + 32 + 8)
    assert size_of([norm, norm]) == size_of([norm])
    assert size_of([]) == Size(0, 0)


def test_frozen_halves_count_at_their_size_and_other_peoples_state_does_not() -> None:
    mine, other = nn.Linear(3, 2).half().requires_grad_(False), nn.Linear(3, 2)
    adam = torch.optim.Adam(other.parameters())
    other(torch.ones(1, 3)).sum().backward()
    adam.step()
    assert size_of([mine], adam) == Size(8, 16)


GROWN = """
import torch
from cggm_core.measures.costs import peak_memory
cpu = torch.device("cpu")
before = peak_memory(cpu)
held = torch.ones(40_000_000)
grown = peak_memory(cpu)
del held
print(grown - before, peak_memory(cpu) > 0.99 * grown)  # the kernel counts pages a little late
"""


def test_the_peak_grows_with_what_is_held_and_stays() -> None:
    assert peak_memory(torch.device("cpu")) > 2**26
    said = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True).stdout.split()
    assert 0.9 * 160e6 < int(said[0]) < 1.5 * 160e6
    assert said[1] == "True"
