"""Diabetes in two views: what they hold, and that the label keeps its unit and its shares."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from cggm_core.datasets._arrays import quantile_bins
from cggm_core.datasets.diabetes import CARD, Diabetes


def test_shapes_sizes_and_labels():
    data = Diabetes().build()
    assert {m: s.shape for m, s in data.modalities.items()} == {"body": (4,), "serum": (6,)}
    sizes = [len(data.splits[s]) for s in ("train", "val", "test")]
    assert sum(sizes) == 442
    assert " / ".join(map(str, sizes)) in CARD.samples
    target = torch.cat([s.target for s in data.splits.values()])
    assert (target.min(), target.max()) == (25, 346)
    assert data.task.unit == "points"


def test_a_row_is_the_patient_it_says():
    data, raw = Diabetes().build(), load_diabetes(scaled=False)
    test, train = data.splits["test"], data.splits["train"]
    bmi = raw.data[:, 2]
    expected = (bmi[test.ids] - bmi[train.ids].mean()) / bmi[train.ids].std()
    np.testing.assert_allclose(test.inputs["body"][:, 2], expected, atol=1e-5)
    np.testing.assert_array_equal(test.target[:, 0], raw.target[test.ids])


@pytest.mark.parametrize("seed", range(5))
def test_every_tenth_of_the_label_is_in_every_split(seed):
    data, tenth = Diabetes(split_seed=seed).build(), quantile_bins(load_diabetes(scaled=False).target)
    for split in data.splits.values():
        counts = np.bincount(tenth[split.ids], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_tenths_by_hand():
    assert quantile_bins(np.array([5.0, 1.0, 3.0, 3.0]), 2).tolist() == [1, 0, 0, 1]
    assert quantile_bins(np.array([])).tolist() == []
