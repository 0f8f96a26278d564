"""Bundles of random data, to build models for."""

import torch

from cggm_core.protocols.data import DataBundle, ModalitySpec, Split, TaskSpec

VECTOR = ModalitySpec("vector", (6,))
SEQUENCE = ModalitySpec("sequence", (5, 3))
IMAGE = ModalitySpec("image", (1, 8, 8))
ODD_NAMES = {"type": VECTOR, "keys": SEQUENCE, "a.b c-d": IMAGE, "a_db": VECTOR}


def bundle(specs, task="classification", outputs=3, samples=8, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def split(n):
        inputs = {m: torch.randn(n, *s.shape, generator=generator) for m, s in specs.items()}
        if task == "regression":
            target = torch.randn(n, outputs, generator=generator)
        elif task == "segmentation":
            # Each image has a label above and one below: regions, not single pixels, are what masks hold.
            height, width = next((s.shape[1:] for s in specs.values() if s.kind == "image"), (4, 4))
            halves = torch.randint(0, outputs, (n, 2, 1), generator=generator)
            target = halves[:, torch.arange(height) * 2 // height].expand(n, height, width).contiguous()
        else:
            target = torch.randint(0, outputs, (n,), generator=generator)
        return Split(inputs, target, torch.arange(n))

    splits = {name: split(samples) for name in ("train", "val", "test")}
    return DataBundle("random", TaskSpec(task, outputs), specs, splits, "0")
