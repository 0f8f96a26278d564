"""Scaling, splitting and identity, on numbers small enough to check by hand."""

import numpy as np
import pytest
import torch

from cggm_core.datasets import _arrays
from cggm_core.datasets._arrays import make_bundle, real_steps, standardise, stratified_split
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


def padded_sequences():
    """Four samples of four steps: padded at the front, at the end, at both, and a sample without the modality."""
    made = np.zeros((4, 4, 2))
    made[0, 2:] = [[1, 2], [3, 4]]
    made[1, :3] = [[5, 6], [0, 0], [7, 8]]
    made[2, 1:3] = [[2, 5], [6, 5]]
    return made


def test_zero_rows_at_the_ends_of_sequences_are_padding():
    real = real_steps(padded_sequences(), "sequence", np.arange(4))
    assert real.astype(int).tolist() == [[0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert real_steps(padded_sequences()[:, :, :1], "sequence", np.arange(4)) is None
    assert real_steps(padded_sequences(), "image", np.arange(4)) is None
    assert real_steps(padded_sequences() + 1, "sequence", np.arange(4)) is None
    assert real_steps(padded_sequences(), "sequence", np.array([3])) is None


def test_padding_is_left_out_of_the_scale_and_stays_zero():
    raw = padded_sequences()
    real = real_steps(raw, "sequence", np.arange(4))
    made = standardise(raw, np.arange(3), "sequence", real)
    steps = raw[real]
    assert np.allclose(made[real], (steps - steps.mean(0)) / steps.std(0), atol=1e-6)
    assert (made[~real] == 0).all()


def test_a_real_step_is_never_all_zero():
    raw = padded_sequences()
    raw[:, :, 1] = np.where(raw[:, :, 0] > 0, 9.0, 0.0)
    raw[1, 1] = [4.0, 9.0]  # the mean of the others in one feature, a constant in the other
    real = real_steps(raw, "sequence", np.arange(4))
    made = standardise(raw, np.arange(4), "sequence", real)
    assert ((made != 0).any(2) == real).all()
    assert np.abs(made[1, 1]).max() < 1e-30


def test_a_bundle_says_which_modalities_are_padded():
    given = {"text": padded_sequences(), "audio": padded_sequences() + 1}
    made = make_bundle("d", TaskSpec("classification", 2), inputs=given, kinds=dict.fromkeys(given, "sequence"),
                       target=np.array([0, 1, 0, 1]), split=np.array([0, 0, 1, 1]))  # fmt: skip
    assert {m: spec.padded for m, spec in made.modalities.items()} == {"text": True, "audio": False}
    assert (made.splits["train"].inputs["text"] != 0).any(2).tolist() == [
        [False, False, True, True], [True, True, True, False]]  # fmt: skip


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
