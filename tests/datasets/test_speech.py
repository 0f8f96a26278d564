"""Pickles of MOSI, MOSEI and IEMOCAP in both layouts: what is read, and one sentence for what is not."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cggm_core.config import RunConfig
from cggm_core.datasets._paths import open_path
from cggm_core.datasets._safe_pickle import load_pickle
from cggm_core.datasets._speech import EMOTIONS, read_speech
from cggm_core.errors import ConfigError, DataError
from cggm_core.protocols.data import ModalitySpec
from tests.support.training import trained

SIZES = {"train": 24, "valid": 8, "test": 8}


def mult(labels="sentiment", *, frames=(5, 5, 5), **changes):
    """A file in the MulT layout; changes are by split and key, None leaves out."""
    random = np.random.default_rng(0)
    made = {}
    for name, n in SIZES.items():
        y = random.uniform(-3, 3, (n, 1, 1)).astype("f4")
        if labels == "pairs":
            present = np.eye(4, dtype="f4")[np.arange(n) % 4]
            y = np.stack([1 - present, present], 2)
        made[name] = {
            "text": random.normal(size=(n, frames[0], 6)).astype("f4"),
            "audio": random.normal(size=(n, frames[1], 4)),
            "vision": random.normal(size=(n, frames[2], 3)).astype("f4"),
            "labels": y,
            "id": np.array([[b"video", b"0", b"1"]] * n),
        }
    for place, value in changes.items():
        name, _, key = place.partition("__")
        made[name] = {k: v for k, v in {**made[name], key: value}.items() if v is not None} if key else value
    return {k: v for k, v in made.items() if v is not None}


def mmsa(**changes):
    """A file in the MMSA layout, unaligned: frames differ by modality, lengths say where padding begins."""
    made = mult(frames=(5, 9, 7))
    for part in made.values():
        n = len(part["text"])
        y = part.pop("labels").reshape(n)
        mask = (np.arange(5) < 1 + np.arange(n)[:, None] % 5).astype("f4")
        part |= {
            "raw_text": np.array(["so good"] * n),
            "id": [f"video$_${i}" for i in range(n)],
            "text_bert": np.stack([np.ones((n, 5)), mask, np.zeros((n, 5))], 1).astype("f4"),
            "regression_labels": y,
            "classification_labels": np.sign(np.round(y)) + 1,
            "audio_lengths": [1 + i % 9 for i in range(n)],
            "vision_lengths": [i % 8 for i in range(n)],
            "annotations": ["Positive"] * n,
        }
    for place, value in changes.items():
        name, _, key = place.partition("__")
        made[name] = {k: v for k, v in {**made[name], key: value}.items() if v is not None}
    return made


def put(folder: Path, held, name="mosi.pkl", protocol=4) -> Path:
    path = folder / name
    path.write_bytes(pickle.dumps(held, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_layout_of_mult_is_read(tmp_path, protocol) -> None:
    held = mult(frames=(5, 9, 7))
    data = open_path(put(tmp_path, held, protocol=protocol), {})
    assert (data.name, data.task.name, data.task.outputs) == ("mosi", "regression", 1)
    assert data.modalities == {
        "text": ModalitySpec("sequence", (5, 6)), "audio": ModalitySpec("sequence", (9, 4)),
        "vision": ModalitySpec("sequence", (7, 3)),
    }  # fmt: skip
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [24, 8, 8]
    assert np.array_equal(data.splits["val"].target.numpy(), held["valid"]["labels"][:, 0])
    raw, x = held["train"]["audio"], data.splits["train"].inputs["audio"].numpy()
    scaled = (raw - raw.mean((0, 1))) / raw.std((0, 1))
    np.testing.assert_allclose(x, scaled, atol=1e-5)


def test_what_is_not_finite_in_sound_and_image_is_zero_as_in_the_field(tmp_path) -> None:
    held = mult()
    for key, place, value in (
        ("audio", (0, 0, 0), -np.inf),
        ("audio", (1, 2, 3), np.nan),
        ("vision", (2, 1, 1), np.inf),
    ):
        held["train"][key][place] = value
    found = read_speech("mosi.pkl", held, "auto")
    assert found.inputs["audio"][0, 0, 0] == found.inputs["audio"][1, 2, 3] == found.inputs["vision"][2, 1, 1] == 0
    held["valid"]["text"][1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"array 'text' holds 1 values that are NaN.*\[25, 2, 3\]"):
        read_speech("mosi.pkl", held, "auto")


def test_emotions_are_one_class_of_four_or_each_by_itself(tmp_path) -> None:
    held = mult("pairs")
    held["train"]["labels"][5] = [[1, 0]] * 4  # none
    held["train"]["labels"][6] = [[0, 1], [0, 1], [1, 0], [1, 0]]  # neutral and happy
    path = put(tmp_path, held, "iemocap.pkl")
    data = open_path(path, {})
    assert (data.task.name, data.task.outputs, data.task.class_names) == ("classification", 4, EMOTIONS)
    assert data.splits["train"].target.tolist() == [i % 4 for i in range(24) if i not in (5, 6)]
    happy = open_path(path, {"target": "happy"})
    assert happy.task.class_names == ("not happy", "happy")
    assert happy.splits["train"].target.tolist() == [int((i % 4 == 1 and i != 5) or i == 6) for i in range(24)]
    assert torch.equal(happy.splits["train"].ids, torch.arange(24))


def test_the_layout_of_mmsa_is_read_with_its_lengths(tmp_path) -> None:
    held = mmsa()
    path = put(tmp_path, held, "unaligned.pkl")
    data = open_path(path, {})
    assert data.task.name == "regression"
    np.testing.assert_array_equal(data.splits["test"].target[:, 0], held["test"]["regression_labels"])
    polarity = open_path(path, {"target": "polarity"})
    assert polarity.task.class_names == ("negative", "neutral", "positive")
    assert polarity.splits["val"].target.tolist() == held["valid"]["classification_labels"].astype(int).tolist()
    found = read_speech("unaligned.pkl", load_pickle(path, "unaligned.pkl"), "auto")
    numbers = np.array([i for n in SIZES.values() for i in range(n)])
    lengths = {"audio": 1 + numbers % 9, "vision": numbers % 8, "text": 1 + numbers % 5}
    for m, known in lengths.items():
        real = found.inputs[m].any(2)
        assert np.array_equal(real, np.arange(real.shape[1]) < known[:, None])  # beyond its length all is 0
    assert read_speech("m.pkl", mult(), "auto").inputs["text"].all()


def test_polarity_from_minus_one_is_the_same() -> None:
    held, shifted = mmsa(), mmsa()
    for part in shifted.values():
        part["classification_labels"] = part["classification_labels"] - 1
    one, other = (read_speech("m.pkl", h, "polarity").target for h in (held, shifted))
    assert np.array_equal(one, other)


def labels(n=24, at=3, value=4.0):
    made = np.zeros((n, 1, 1), "f4")
    made[at] = value
    return made


def pair(value):
    made = mult("pairs")["train"]["labels"]
    made[2, 1] = value
    return made


WRONG = {
    "no dictionary": ([1], "auto", "found a list, expected a dictionary with train, valid and test"),
    "missing split": (mult(valid=None), "auto", r"split 'valid' is missing \(found train, test\)"),
    "missing test": (mult(test=None), "auto", "split 'test' is missing"),
    "split is no dictionary": (mult(train=[1]), "auto", "split 'train' is missing"),
    "missing modality": (mult(train__audio=None), "auto", r"train\['audio'\] is missing \(found text, vision"),
    "a list of lists": (mult(train__text=[[1.0]]), "auto", r"train\['text'\] is a list, expected an array of numbers"),
    "text for numbers": (mult(train__text=np.array(["a"])), "auto", r"is an array of <U1"),
    "four axes": (mult(train__text=np.ones((24, 5, 6, 1))), "auto", r"has shape \[24, 5, 6, 1\], expected \[samples"),
    "no frame": (mult(train__text=np.ones((24, 0, 6))), "auto", r"has shape \[24, 0, 6\]"),
    "widths differ": (mult(test__text=np.ones((8, 5, 7))), "auto", r"text has \[time, features\] \[5, 6\] in"),
    "counts differ": (mult(train__audio=np.ones((23, 5, 4))), "auto", r"samples differ in train \(text 24, audio 23"),
    "label too high": (mult(train__labels=labels()), "auto", r"labels'\] holds 4 at index 3, expected sentiment"),
    "label NaN": (mult(train__labels=labels(value=np.nan)), "auto", "holds 1 values that are NaN"),
    "no labels": (mult(train__labels=None), "auto", r"train\['labels'\] is missing"),
    "labels of two": (mult(train__labels=np.zeros((24, 2))), "auto", r"shape \[24, 2\], expected \[samples, 1, 1\]"),
    "labels as text": (mult(train__labels=["a"] * 24), "auto", "is no array of numbers"),
    "emotion of sentiment": (mult(), "emotion", r"expected \[samples, 4, 2\] for target=emotion"),
    "pair of two ones": (mult("pairs", train__labels=pair(1.0)), "auto", "at index 2, expected a pair of 1 and 0"),
    "pair of halves": (mult("pairs", train__labels=pair(0.5)), "auto", "expected a pair of 1 and 0"),
    "polarity of mult": (mult(), "polarity", r"train\['classification_labels'\] is missing"),
    "polarity high": (mmsa(train__classification_labels=np.full(24, 5)), "polarity", "holds 5 at index 0, expected"),
    "length high": (mmsa(train__audio_lengths=[10] * 24), "auto", r"audio_lengths'\] holds 10 at index 0.* 0 to 9"),
    "lengths few": (mmsa(train__audio_lengths=[1] * 23), "auto", "holds 23 numbers, expected 24"),
    "lengths text": (mmsa(train__audio_lengths=["a"] * 24), "auto", "is not a list of numbers"),
    "no sample": (mult(train={k: v[:0] for k, v in mult()["train"].items()}), "auto", "train split is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, case) -> None:
    held, target, expected = WRONG[case]
    with pytest.raises(DataError, match=expected) as caught:
        open_path(put(tmp_path, held), {"target": target})
    assert str(caught.value).startswith("mosi")
    assert "\n" not in str(caught.value)


def test_a_format_has_its_own_settings(tmp_path) -> None:
    with pytest.raises(ConfigError, match="pickled has no setting 'emotion'; it has: target"):
        open_path(put(tmp_path, mult()), {"emotion": "happy"})
    with pytest.raises(ConfigError, match="target"):
        open_path(put(tmp_path, mult()), {"target": "joy"})


@pytest.mark.parametrize("method", ["joint", "cggm"])
def test_a_pickle_is_trained_on(tmp_path, method) -> None:
    config = RunConfig.from_dict(
        {
            "dataset": str(put(tmp_path, mult("pairs"), "iemocap.pkl")),
            "dataset_params": {"target": "sad"},
            "method": method,
            "model_params": {"width": 8, "layers": 1, "heads": 2},
            "training": {"epochs": 1, "batch_size": 8, "device": "cpu", "threads": 1},
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer, rows = trained(config)
    assert trainer.config.model == "late_fusion"
    assert len(rows.steps) == 3
