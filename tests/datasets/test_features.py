"""Folders of image and text features, in every form that is read; wrong ones are said in one sentence."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from cggm_core.config import RunConfig
from cggm_core.datasets._paths import format_of, open_path
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.errors import DataError
from cggm_core.protocols.data import ModalitySpec
from tests.support.training import Rows

SIZES = {"train": 60, "val": 10, "test": 20}


def arrays(part: str, *, tokens: bool = False, **changes) -> dict[str, np.ndarray]:
    random, n = np.random.default_rng(len(part)), SIZES[part]
    made = {
        "image": random.normal(size=(n, 6)).astype("f4"),
        "text": random.normal(size=(n, 4, 5) if tokens else (n, 5)).astype("f4"),
        "labels": np.arange(n) % 5,
    }
    return {k: v for k, v in {**made, **changes}.items() if v is not None}


def put(folder: Path, form: str, parts=("train", "val", "test"), **changes) -> Path:
    """A folder in one of the forms; a change `test__text` is of that array, None leaves it out."""
    folder.mkdir(exist_ok=True)
    for part in parts:
        mine = {k.removeprefix(f"{part}__"): v for k, v in changes.items() if k.startswith(f"{part}__")}
        held = arrays(part, tokens=changes.get("tokens", False), **mine)
        if form == "npz":
            np.savez(folder / f"{part}.npz", **held)
        elif form == "pkl":
            (folder / f"{part}.pkl").write_bytes(pickle.dumps({**held, "files": [f"{i}.jpg" for i in range(3)]}))
        else:
            for name, values in held.items():
                path = folder / f"{part}_{name}.npy" if form == "npy" else folder / part / f"{name}.npy"
                path.parent.mkdir(exist_ok=True)
                np.save(path, values)
    return folder


@pytest.mark.parametrize("form", ["npz", "pkl", "npy", "folders"])
def test_every_form_is_the_same_data(tmp_path: Path, form: str) -> None:
    folder = put(tmp_path / "food", form)
    assert format_of(folder) == "features"
    data = open_path(folder, {})
    assert (data.name, data.task.name, data.task.outputs) == ("food", "classification", 5)
    assert data.modalities == {"image": ModalitySpec("vector", (6,)), "text": ModalitySpec("vector", (5,))}
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [60, 10, 20]
    assert data.splits["test"].target.tolist() == [i % 5 for i in range(20)]
    raw = arrays("train")["image"]
    scaled = (raw - raw.mean(0)) / raw.std(0)
    np.testing.assert_allclose(data.splits["train"].inputs["image"], scaled, atol=1e-5)
    assert data.fingerprint == open_path(put(tmp_path / "other", "npz"), {}).fingerprint


def test_a_tenth_of_train_validates_where_nothing_else_does(tmp_path: Path) -> None:
    folder = put(tmp_path / "food", "npy", ("train", "test"), tokens=True)
    data, other = open_path(folder, {}), open_path(folder, {"split_seed": 1})
    assert data.modalities["text"] == ModalitySpec("sequence", (4, 5))
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [55, 5, 20]
    assert sorted(data.splits["val"].target.tolist()) == [0, 1, 2, 3, 4]
    assert data.splits["val"].ids.tolist() != other.splits["val"].ids.tolist()
    assert data.splits["test"].ids.tolist() == list(range(60, 80))


def test_labels_may_be_names(tmp_path: Path) -> None:
    dishes = np.array(["waffles", "apple_pie", "sushi"])
    folder = put(tmp_path / "food", "npz", **{f"{part}__labels": dishes[np.arange(n) % 3] for part, n in SIZES.items()})
    data = open_path(folder, {})
    assert data.task.class_names == ("apple_pie", "sushi", "waffles")
    assert data.splits["train"].target[:3].tolist() == [2, 0, 1]


WRONG = {
    "no test": ({"parts": ("train",)}, r"food: found no test split, expected test.npz"),
    "one modality": ({"train__text": None}, r"train holds image, labels, expected two modalities"),
    "modality missing": ({"test__text": None}, r"test has no 'text' \(found image, labels\), train has"),
    "no labels": ({"val__labels": None}, r"val has no labels \(found image, text\)"),
    "labels twice": ({"val__y": np.arange(10)}, r"val has labels and y"),
    "widths differ": ({"test__image": np.ones((20, 7))}, r"'image' has samples of \[7\] in test, but \[6\] in train"),
    "counts differ": ({"test__image": np.ones((19, 6))}, r"test has 19 samples of 'image', but 20 labels"),
    "four axes": ({"train__image": np.ones((60, 2, 2, 2))}, r"'image' of train is float64 of shape \[60, 2, 2, 2\]"),
    "text as feature": ({"train__image": np.full((60, 6), "a")}, r"'image' of train is <U1"),
    "NaN": ({"train__image": np.full((60, 6), np.nan)}, r"array 'image' holds 360 values that are NaN"),
    "label of floats": ({"train__labels": np.zeros(60)}, r"labels of train are float64 of shape \[60\]"),
    "label negative": ({"val__labels": np.arange(10) - 1}, r"labels of val hold -1, expected 0 to"),
    "label unseen": ({"test__labels": np.arange(20) % 6}, r"test has label 5, but the highest of train is 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("form", ["npz", "npy"])
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, case: str, form: str) -> None:
    changes, expected = WRONG[case]
    with pytest.raises(DataError, match=expected) as caught:
        open_path(put(tmp_path / "food", form, **changes), {})
    assert str(caught.value).startswith("food: ")
    assert "\n" not in str(caught.value)


def test_hostile_and_cut_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "food", "npy")
    np.save(folder / "train_image.npy", np.array([{}] * 60), allow_pickle=True)
    with pytest.raises(DataError, match=r"food: train_image.npy is damaged, or holds Python objects, which are never"):
        open_path(folder, {})
    content = (put(folder, "npy") / "train_image.npy").read_bytes()
    (folder / "train_image.npy").write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"food: train_image.npy is damaged"):
        open_path(folder, {})
    (put(tmp_path / "pickled", "pkl") / "test.pkl").write_bytes(
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."
    )
    with pytest.raises(DataError, match=r"pickled: test.pkl: asks for os.system, which could run code"):
        open_path(tmp_path / "pickled", {})
    names = np.array(["a", "b"])
    unseen = put(tmp_path / "names", "npz", **{f"{p}__labels": names[np.arange(n) % 2] for p, n in SIZES.items()})
    np.savez(unseen / "test.npz", **arrays("test", labels=np.full(20, "c")))
    with pytest.raises(DataError, match="test has label 'c', which train has not"):
        open_path(unseen, {})


def test_features_are_trained_on(tmp_path: Path) -> None:
    config = RunConfig.from_dict(
        {
            "dataset": str(put(tmp_path / "food", "npz", tokens=True)),
            "method": "cggm",
            "training": {"epochs": 1, "batch_size": 20, "device": "cpu", "threads": 1},
        }
    )
    rows = Rows()
    Trainer(config, build_data(config)).fit(rows)
    assert len(rows.steps) == 3
