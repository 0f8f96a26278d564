"""What holds for every embedded data set: finite, repeatable, standardised on train, splits apart."""

import inspect
import random
import socket
from functools import cache

import numpy as np
import pytest
import torch

from cggm_core import catalog
from cggm_core.protocols.data import SPLITS, DatasetBuilder, ModalitySpec, take

CARDS = catalog.all_cards("dataset")
law = pytest.mark.parametrize("name", CARDS)


def build(name, **knobs):
    return catalog.load("dataset", name, DatasetBuilder)(**CARDS[name].resolve(knobs)).build()


@cache
def built(name):
    """Each data set once, with its default knobs."""
    return build(name)


@law
def test_the_card_read_is_the_card_imported_and_its_knobs_are_the_signature(name):
    card = CARDS[name]
    assert card == catalog.module("dataset", name).CARD
    signature = inspect.signature(catalog.load("dataset", name, DatasetBuilder).__init__)
    knobs = {p.name: p.default for p in list(signature.parameters.values())[1:]}
    assert list(knobs.items()) == [(p.name, p.default) for p in card.params]
    assert all((card.title, card.summary, card.samples, card.licence, card.source))
    assert all(p.text for p in card.params)


@law
def test_the_card_tells_the_truth(name):
    data, card = built(name), CARDS[name]
    assert data.name == name
    assert data.task.name == card.task
    assert card.modalities in ((), tuple(data.modalities))


@law
def test_inputs_are_finite_contiguous_and_of_the_stated_shape(name):
    data = built(name)
    for split in data.splits.values():
        assert tuple(split.inputs) == tuple(data.modalities)
        for m, x in split.inputs.items():
            assert x.shape == (len(split), *data.modalities[m].shape)
            assert x.dtype == torch.float32
            assert x.is_contiguous()
            assert torch.isfinite(x).all()


@law
def test_inputs_are_standardised_on_train(name):
    data = built(name)
    over = {"vector": (0,), "sequence": (0, 1), "image": (0, 2, 3)}
    for m, x in data.splits["train"].inputs.items():
        axes = over[data.modalities[m].kind]
        spread = x.double().std(axes, correction=0)
        assert x.double().mean(axes).abs().max() < 1e-4
        assert ((spread - 1).abs().lt(1e-3) | spread.eq(0)).all()


@law
def test_splits_do_not_overlap(name):
    data = built(name)
    assert tuple(data.splits) == SPLITS
    ids = torch.cat([split.ids for split in data.splits.values()])
    assert ids.dtype == torch.int64
    assert len(ids.unique()) == len(ids)
    assert all(len(split.ids) == len(split) > 0 for split in data.splits.values())


@law
def test_labels_fit_the_task(name):
    data = built(name)
    for split in data.splits.values():
        if data.task.name == "regression":
            assert split.target.shape == (len(split), data.task.outputs)
            assert split.target.dtype == torch.float32
            assert torch.isfinite(split.target).all()
        else:
            assert split.target.dtype == torch.int64
            assert split.target.dim() == (1 if data.task.name == "classification" else 3)
            assert 0 <= split.target.min() <= split.target.max() < data.task.outputs
    assert len(data.task.class_names) in (0, data.task.outputs)


@law
def test_the_same_knobs_give_the_same_bits(name):
    one, two = built(name), build(name)
    assert one.fingerprint == two.fingerprint
    assert one.modalities == two.modalities
    for split in SPLITS:
        assert torch.equal(one.splits[split].target, two.splits[split].target)
        assert torch.equal(one.splits[split].ids, two.splits[split].ids)
        for m, x in one.splits[split].inputs.items():
            assert torch.equal(x, two.splits[split].inputs[m])


@law
def test_global_random_state_is_not_touched(name):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    build(name)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


@law
def test_global_seeds_do_not_reach_the_data(name):
    torch.manual_seed(123)
    np.random.seed(123)
    random.seed(123)
    assert build(name).fingerprint == built(name).fingerprint


@law
def test_a_seed_changes_the_data(name):
    for knob in (p.name for p in CARDS[name].params if p.name.endswith("seed")):
        assert build(name, **{knob: 1}).fingerprint != built(name).fingerprint


@law
def test_nothing_is_downloaded(name, monkeypatch):
    def refuse(*_):
        raise AssertionError("a data set opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    build(name)


@law
def test_batches_can_be_taken(name):
    split = built(name).splits["train"]
    batch = take(split, torch.tensor([3, 0]), torch.device("cpu"))
    assert len(batch) == 2
    assert batch.ids.tolist() == split.ids[[3, 0]].tolist()


@pytest.mark.data
def test_real_files_are_understood(data_folder):
    from cggm_core.datasets._npz import load_npz

    digits = load_npz(data_folder / "avdigits.npz")
    assert digits.modalities == {
        "image": ModalitySpec("image", (1, 28, 28)), "audio": ModalitySpec("sequence", (50, 32)),
    }  # fmt: skip
    assert [len(digits.splits[s]) for s in SPLITS] == [2000, 500, 500]
    views = load_npz(data_folder / "mfeat.npz")
    sizes = {"pix": 240, "fou": 76, "fac": 216, "zer": 47, "kar": 64, "mor": 6}
    assert views.modalities == {m: ModalitySpec("vector", (d,)) for m, d in sizes.items()}
    assert [len(views.splits[s]) for s in SPLITS] == [1400, 200, 400]
    assert digits.task.outputs == views.task.outputs == 10
    mood = load_npz(data_folder / "cmu_mosi.npz")
    assert (mood.task.name, tuple(mood.modalities)) == ("regression", ("text", "audio", "video"))
    brains = load_npz(data_folder / "open_ms3.npz")
    assert (brains.task.name, brains.splits["train"].target.shape[1:]) == ("segmentation", (160, 192))
    for data in (digits, views, mood, brains):
        for x in data.splits["train"].inputs.values():
            assert torch.isfinite(x).all()
            assert abs(x.mean()) < 1e-3
