"""Scaling, splitting and identity, on numbers small enough to check by hand."""

import numpy as np
import pytest
import torch

from cggm_core.datasets import _arrays
from cggm_core.datasets._arrays import make_bundle, standardise, stratified_split
from cggm_core.errors import DataError
from cggm_core.protocols.data import TaskSpec

TRAIN = np.array([0, 1])


def test_vectors_are_scaled_by_feature_with_train_alone():
    made = standardise(np.array([[1.0, 5.0], [3.0, 5.0], [5.0, 9.0]]), TRAIN, "vector")
    assert made.tolist() == [[-1.0, 0.0], [1.0, 0.0], [3.0, 0.0]]
    assert made.dtype == np.float32


def test_sequences_are_scaled_over_samples_and_time():
    made = standardise(np.array([[[0.0], [2.0]], [[4.0], [2.0]], [[6.0], [2.0]]]), TRAIN, "sequence")
    assert np.allclose(made[:, :, 0], np.array([[-2, 0], [2, 0], [4, 0]]) / np.sqrt(2))


def test_images_are_scaled_by_channel():
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 5), np.uint8)
    made = standardise(images, np.arange(6), "image")
    expected = images.astype(float)
    expected -= images[:6].mean((0, 2, 3), keepdims=True)
    expected /= images[:6].std((0, 2, 3), keepdims=True)
    assert np.allclose(made, expected, atol=1e-5)


def test_a_small_spread_around_a_large_mean_survives():
    values = 1e7 + np.random.default_rng(0).integers(0, 4, (500, 1)).astype(np.float32)
    made = standardise(values, np.arange(500), "vector")
    assert made.std() == pytest.approx(1.0, rel=1e-6)


def test_chunks_change_nothing(monkeypatch):
    values = np.random.default_rng(0).normal(size=(50, 4, 3))
    whole = standardise(values, np.arange(0, 50, 2), "sequence")
    monkeypatch.setattr(_arrays, "_CHUNK_VALUES", 30)
    assert np.allclose(standardise(values, np.arange(0, 50, 2), "sequence"), whole, atol=1e-6)


def test_an_empty_train_split_says_so():
    given = {"a": np.ones((4, 2)), "b": np.ones((4, 2))}
    with pytest.raises(DataError, match="the train split is empty"):
        make_bundle("d", TaskSpec("classification", 2), inputs=given, kinds={"a": "vector", "b": "vector"},
                    target=np.zeros(4, int), split=np.ones(4, int))  # fmt: skip


def test_rows_keep_their_inputs_labels_and_ids_together():
    rows = np.arange(10.0)[:, None]
    split = np.array([0, 1, 2, 0, 1, 2, 0, 0, 0, 1])
    made = make_bundle(
        "d", TaskSpec("classification", 10), inputs={"a": rows, "b": -rows},
        kinds={"a": "vector", "b": "vector"}, target=np.arange(10), split=split,
    )  # fmt: skip
    for code, part in enumerate(("train", "val", "test")):
        found = made.splits[part]
        assert found.ids.tolist() == np.flatnonzero(split == code).tolist() == found.target.tolist()
        assert torch.equal(found.inputs["a"], -found.inputs["b"])
        assert (found.inputs["a"].diff(dim=0) > 0).all()


def test_stratified_splits_keep_the_share_of_each_class():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    split = stratified_split(labels, np.random.default_rng(3))
    for label, sizes in ((0, [60, 20, 20]), (1, [30, 10, 10]), (2, [6, 2, 2])):
        assert np.bincount(split[labels == label]).tolist() == sizes
    assert not np.array_equal(split, stratified_split(labels, np.random.default_rng(4)))
