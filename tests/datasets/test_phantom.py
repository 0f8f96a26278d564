"""The phantom: nested regions, each on the contrast that is said to show it, patients in one split."""

import time

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cggm_core.datasets.phantom import CARD, INFORMED_BY, SLICES, Phantom
from cggm_core.protocols.segmentation import BRATS_REGIONS


def everything(data):
    """Inputs and labels of all splits in order of their rows."""
    order = torch.cat([split.ids for split in data.splits.values()]).argsort()
    inputs = {m: torch.cat([s.inputs[m] for s in data.splits.values()])[order][:, 0] for m in data.modalities}
    return inputs, torch.cat([s.target for s in data.splits.values()])[order]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_region_shows_best_on_its_contrast(seed):
    """Inside the region around it: whole tumour in the image, core in the whole tumour, enhancing in the core."""
    inputs, labels = everything(Phantom(seed=seed).build())
    around = np.ones(labels.shape, bool)
    for region, contrast in INFORMED_BY.items():
        inside = np.isin(labels.numpy(), BRATS_REGIONS[region])
        assert not (inside & ~around).any()
        told = {m: roc_auc_score(inside[around], x.numpy()[around]) for m, x in inputs.items()}
        assert told[contrast] > 0.9
        assert all(told[contrast] > value + 0.05 for m, value in told.items() if m != contrast)
        around = inside


def test_labels_are_sparse_and_some_slices_have_none():
    _, labels = everything(Phantom().build())
    share = torch.bincount(labels.flatten(), minlength=4) / labels.numel()
    assert (share[1:] > 0.003).all()
    assert share[0] > 0.9
    assert 0.6 < (labels > 0).flatten(1).any(1).float().mean() < 1


@pytest.mark.parametrize("samples", [40, 83, 320])
def test_a_patient_is_in_one_split(samples):
    data = Phantom(samples=samples).build()
    patients = [set((split.ids // SLICES).tolist()) for split in data.splits.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == -(-samples // SLICES)
    assert sum(len(split) for split in data.splits.values()) == samples


def test_the_task_is_brats():
    data = Phantom(samples=40, size=16).build()
    assert data.task.options["regions"] == BRATS_REGIONS
    assert data.task.outputs == len(data.task.class_names) == 4
    assert tuple(data.modalities) == CARD.modalities == ("flair", "t1", "t1ce", "t2")


def test_noise_hides_the_tumour():
    told = []
    for noise in (0.0, 0.08, 2.0):
        inputs, labels = everything(Phantom(samples=80, noise=noise).build())
        told.append(roc_auc_score((labels > 0).flatten(), inputs["flair"].flatten()))
    assert told[0] > told[1] > told[2] + 0.2


def test_hundreds_of_slices_take_seconds_at_most():
    began = time.process_time()
    Phantom(samples=400, size=64).build()
    assert time.process_time() - began < 4
