"""The exchange format: what is read, how it is understood, and one clear sentence for what is not."""

import contextlib
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cggm_core.datasets._npz import load_npz, write_npz
from cggm_core.errors import DataError
from cggm_core.protocols.data import ModalitySpec, TaskSpec
from cggm_core.protocols.tasks import make_task
from tests.datasets.files import N, arrays, header_bytes, meta, npy_bytes, raw_zip, save


def test_a_valid_file_is_read(tmp_path):
    data = load_npz(save(tmp_path))
    assert data.name == "mine"
    assert (data.task.name, data.task.outputs) == ("classification", 3)
    assert data.modalities == {
        "image": ModalitySpec("image", (1, 8, 8)), "audio": ModalitySpec("sequence", (5, 3)),
    }  # fmt: skip
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [18, 6, 6]
    assert data.splits["val"].ids.tolist() == list(range(18, 24))
    assert data.splits["val"].target.tolist() == [i % 3 for i in range(18, 24)]
    assert data.splits["train"].target.dtype == torch.int64
    audio = data.splits["train"].inputs["audio"]
    assert audio.dtype == torch.float32
    assert audio.is_contiguous()
    assert torch.allclose(audio.mean((0, 1)), torch.zeros(3), atol=1e-6)
    assert torch.allclose(audio.std((0, 1), correction=0), torch.ones(3), atol=1e-5)


def test_compressed_and_plain_files_are_the_same_data(tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", **arrays())
    assert load_npz(tmp_path / "packed.npz").fingerprint == load_npz(save(tmp_path)).fingerprint


@pytest.mark.parametrize("change", ["x_audio", "y", "split"])
def test_the_fingerprint_sees_every_array(tmp_path, change):
    first = load_npz(save(tmp_path)).fingerprint
    changed = arrays()[change].copy()
    changed[[0, 1]] = changed[[1, 0]] if change != "split" else [1, 0]
    assert load_npz(save(tmp_path, **{change: changed})).fingerprint != first


@pytest.mark.parametrize(
    ("shape", "dtype", "stated", "expected"),
    [
        ((8, 9), np.uint8, None, ("image", (1, 8, 9))),
        ((8, 9, 3), np.uint8, None, ("image", (3, 8, 9))),
        ((3, 8, 9), np.uint8, None, ("image", (3, 8, 9))),
        ((4, 8, 3), np.uint8, None, ("image", (3, 4, 8))),
        ((2, 8, 9), np.float32, None, ("image", (2, 8, 9))),
        ((7,), np.uint8, None, ("vector", (7,))),
        ((7,), np.float64, None, ("vector", (7,))),
        ((7,), np.int16, None, ("vector", (7,))),
        ((7,), np.bool_, None, ("vector", (7,))),
        ((8, 9), np.float16, None, ("sequence", (8, 9))),
        ((8, 9), np.float32, "image", ("image", (1, 8, 9))),
        ((8, 9), np.uint8, "sequence", ("sequence", (8, 9))),
    ],
)
def test_kinds(tmp_path, shape, dtype, stated, expected):
    values = np.random.default_rng(1).integers(0, 2, (N, *shape)).astype(dtype)
    kinds = {"a": stated} if stated else {}
    data = load_npz(save(tmp_path, x_a=values, meta=meta(kinds=kinds)))
    assert data.modalities["a"] == ModalitySpec(*expected)
    assert data.splits["train"].inputs["a"].shape[1:] == expected[1]


def test_channels_move_with_their_pixels(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (N, 6, 5, 3), np.uint8)
    last = load_npz(save(tmp_path, x_image=colour)).splits["train"].inputs["image"]
    first = load_npz(save(tmp_path, x_image=np.moveaxis(colour, 3, 1))).splits["train"].inputs["image"]
    assert torch.equal(last, first)


def test_constant_features_become_zero_in_every_split(tmp_path):
    values = np.full((N, 2), 1e8, np.float32)
    values[:, 1] = np.arange(N)
    values[20:, 0] = 3.0
    data = load_npz(save(tmp_path, x_audio=values))
    for split in data.splits.values():
        assert torch.equal(split.inputs["audio"][:, 0], torch.zeros(len(split)))
        assert torch.isfinite(split.inputs["audio"]).all()


def test_a_class_may_be_missing_from_train_and_test_may_be_empty(tmp_path):
    y = np.where(np.arange(N) < 18, np.arange(N) % 2, 2)
    split = np.repeat([0, 1], [18, 12])
    data = load_npz(save(tmp_path, y=y, split=split))
    assert data.task.outputs == 3
    assert len(data.splits["test"]) == 0


def test_the_number_of_classes_is_inferred_where_meta_says_nothing(tmp_path):
    assert load_npz(save(tmp_path, meta=np.array('{"task": "classification"}'))).task.outputs == 3
    names = np.array(json.dumps({"task": "classification", "class_names": list("abcd")}))
    assert load_npz(save(tmp_path, meta=names)).task.class_names == ("a", "b", "c", "d")


def test_classes_may_be_given_by_name(tmp_path):
    task = load_npz(save(tmp_path, meta=meta(classes=["cat", "dog", "cow"]))).task
    assert (task.outputs, task.class_names) == (3, ("cat", "dog", "cow"))


def test_aux_arrays_are_left_alone_and_declared_order_holds(tmp_path):
    path = save(tmp_path, aux_speaker=np.arange(4), meta=meta(modalities=["audio", "image"]))
    assert tuple(load_npz(path).modalities) == ("audio", "image")


def test_regression(tmp_path):
    task = np.array(json.dumps({"task": "regression", "unit": "points"}))
    one = load_npz(save(tmp_path, y=np.linspace(-3, 3, N), meta=task))
    assert (one.task.name, one.task.outputs, one.task.unit) == ("regression", 1, "points")
    assert one.splits["train"].target.shape == (18, 1)
    assert one.splits["train"].target.dtype == torch.float32
    two = load_npz(save(tmp_path, y=np.ones((N, 2), np.float16), meta=task))
    assert two.splits["val"].target.shape == (6, 2)


def test_segmentation(tmp_path):
    masks = np.random.default_rng(0).integers(0, 2, (N, 8, 8), np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (N, 8, 8), np.uint8)
    task = np.array('{"task": "segmentation", "classes": 2}')
    data = load_npz(save(tmp_path, y=masks, x_audio=None, x_t1=other, meta=task))
    assert data.splits["train"].target.shape == (18, 8, 8)
    assert data.splits["train"].target.dtype == torch.int64
    with pytest.raises(DataError, match=r"masks of 8x8, but modality 'audio' is sequence"):
        load_npz(save(tmp_path, y=masks, meta=task))


MASKED = {"task": "segmentation", "classes": 4}


def masked(folder, **values):
    masks = np.random.default_rng(0).integers(0, 4, (N, 8, 8), np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (N, 8, 8), np.uint8)
    return save(folder, y=masks, x_audio=None, x_t1=other, meta=np.array(json.dumps({**MASKED, **values})))


def test_regions_and_weights_reach_loss_and_metrics(tmp_path):
    regions, weights = {"wt": [1, 2, 3], "tc": [1, 3], "et": [3]}, [0.2, 0.3, 0.25, 0.25]
    plain, data = load_npz(masked(tmp_path)), load_npz(masked(tmp_path, regions=regions, class_weights=weights))
    assert plain.task.options == {}
    assert plain.fingerprint != data.fingerprint
    known = make_task(TaskSpec("segmentation", 4, options={"regions": regions, "class_weights": weights}))
    task, unweighted = make_task(data.task), make_task(plain.task)
    logits, target = torch.randn(3, 4, 8, 8), data.splits["train"].target[:3]
    assert torch.equal(task.loss(logits, target), known.loss(logits, target))
    assert task.loss(logits, target) != unweighted.loss(logits, target)
    found = task.metrics(logits, target)
    assert list(found) == ["dice_wt", "dice_tc", "dice_et", "dice_mean", "dice"]
    assert "dice_wt" not in unweighted.metrics(logits, target)
    split = np.repeat([0, 1], [20, 10])
    images = np.zeros((N, 8, 8), np.uint8)
    path = write_npz(
        tmp_path / "w.npz", {"a": images, "b": images}, np.arange(N)[:, None, None] % 4 + np.zeros((8, 8), int), split,
        task="segmentation", regions={"et": (3,)}, class_weights=(1, 2, 3, 4),
    )  # fmt: skip
    assert load_npz(path).task.options == {"regions": {"et": (3,)}, "class_weights": (1.0, 2.0, 3.0, 4.0)}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"class_weights": [1, 2]}, r"class_weights in meta is \[1, 2\], expected a list of 4 numbers above 0"),
        ({"class_weights": []}, r"class_weights in meta is \[\]"),
        ({"class_weights": [1, 1, 1, 0]}, r"expected a list of 4 numbers above 0"),
        ({"class_weights": [1, 1, 1, True]}, r"expected a list of 4 numbers above 0"),
        ({"class_weights": [1, 1, 1, 1e400]}, r"expected a list of 4 numbers above 0"),
        ({"class_weights": "1,1,1,1"}, r"class_weights in meta is '1,1,1,1'"),
        ({"regions": [1]}, r"regions in meta is \[1\], expected an object"),
        ({"regions": {}}, r"regions in meta is {}, expected an object"),
        ({"regions": {"wt": [1, 4]}}, r"region 'wt' in meta is \[1, 4\], expected a list of labels from 1 to 3"),
        ({"regions": {"wt": [0, 1]}}, r"from 1 to 3, each once \(0 is the background\)"),
        ({"regions": {"wt": [1, 1]}}, r"each once"),
        ({"regions": {"wt": []}}, r"region 'wt' in meta is \[\]"),
        ({"regions": {"wt": 1}}, r"region 'wt' in meta is 1"),
        ({"regions": {"wt": [True]}}, r"region 'wt' in meta is \[True\]"),
        ({"regions": {"mean": [1]}}, r"region 'mean' in meta cannot be a metric's name"),
        ({"regions": {"Whole tumour": [1]}}, r"region 'Whole tumour' in meta cannot be"),
        ({"regions": {"": [1]}}, r"region '' in meta cannot be"),
    ],
)
def test_regions_and_weights_are_checked(tmp_path, values, expected):
    with pytest.raises(DataError, match=expected) as caught:
        load_npz(masked(tmp_path, **values))
    assert str(caught.value).startswith("mine.npz: ")
    with pytest.raises(DataError, match=r"which only segmentation uses, but task classification"):
        load_npz(save(tmp_path, meta=meta(**values)))


def test_written_files_are_read_back(tmp_path):
    given = arrays()
    inputs = {"audio 1": given["x_audio"], "image.2": given["x_image"]}
    path = write_npz(
        tmp_path / "w.npz", inputs, given["y"], given["split"],
        task="classification", class_names=["a", "b", "c"], kinds={"audio 1": "image"}, name="Mine",
    )  # fmt: skip
    data = load_npz(path)
    assert data.name == "Mine"
    assert {m: s.kind for m, s in data.modalities.items()} == {"audio 1": "image", "image.2": "image"}
    assert data.task.class_names == ("a", "b", "c")


def test_an_invalid_file_is_not_left_behind(tmp_path):
    path = save(tmp_path)
    before = path.read_bytes()
    given = arrays()
    with pytest.raises(DataError, match=r"^mine.npz: .*one modality"):
        write_npz(path, {"a": given["x_audio"]}, given["y"], given["split"], task="classification")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["mine.npz"]


_NAN = arrays()["x_audio"].copy()
_NAN[4, 1, 2] = np.nan
_NAN[7, 0, 0] = np.inf
_WIDE = np.ones((N, 2))
_WIDE[3, 1] = 1e300
BROKEN = {
    "no y": ({"y": None}, r"'y' is missing"),
    "no split": ({"split": None}, r"'split' is missing"),
    "no meta": ({"meta": None}, r"'meta' is missing"),
    "no modality": ({"x_image": None, "x_audio": None}, r"no x_ array.*at least two"),
    "one modality": ({"x_image": None}, r"one modality \('audio'\).*at least two"),
    "unknown array": ({"z": np.ones(N)}, r"found array 'z'.*expected x_<modality>"),
    "bad name": ({"x_a|b": np.ones((N, 2))}, r"'x_a\|b'.*cannot be used"),
    "empty name": ({"x_": np.ones((N, 2))}, r"'x_'.*cannot be used"),
    "clashing names": ({"x_Audio": np.ones((N, 2))}, r"'audio' and 'Audio' differ in letter case"),
    "counts differ": ({"x_audio": np.ones((N - 1, 2))}, r"samples differ .*x_audio 29"),
    "y without axis": ({"y": np.array(1)}, r"y no axis"),
    "meta not text": ({"meta": np.array([1])}, r"meta is int64 of shape \[1\], expected one text"),
    "meta not JSON": ({"meta": np.array("{task")}, r"meta is not valid JSON"),
    "meta deep": ({"meta": np.array("[" * 100_000)}, r"meta is not valid JSON"),
    "meta a list": ({"meta": np.array("[]")}, r"found list in meta, expected an object with task"),
    "no task": ({"meta": np.array("{}")}, r"task None in meta, expected .*classification, regression"),
    "unknown task": ({"meta": meta(task=["a"])}, r"task \['a'\]"),
    "declared, absent": ({"meta": meta(modalities={"text": 1})}, r"declares modality 'text', but"),
    "declared badly": ({"meta": meta(modalities=3)}, r"modalities in meta is 3"),
    "kinds of nothing": ({"meta": meta(kinds={"text": "vector"})}, r"kinds in meta .*by modality \(image"),
    "unknown kind": ({"meta": meta(kinds={"audio": "sound"})}, r"kind of 'x_audio' is 'sound'"),
    "unhashable kind": ({"meta": meta(kinds={"audio": {}})}, r"kind of 'x_audio' is {}"),
    "kind against rank": ({"meta": meta(kinds={"audio": "vector"})}, r"a vector, but .*\[5, 3\]; expected 1"),
    "split of 3": ({"split": np.arange(N) % 4}, r"split holds 3 at index 3, expected 0"),
    "split negative": ({"split": np.arange(N) % 2 - 1}, r"split holds -1 at index 0"),
    "split float": ({"split": np.zeros(N)}, r"split is float64"),
    "no train": ({"split": np.ones(N, int)}, r"no 0, so the train split is empty"),
    "no validation": ({"split": np.zeros(N, int)}, r"no 1, so the validation split is empty"),
    "label high": ({"y": np.arange(N) % 4}, r"label 3 .*\(7 of 30 outside\), expected 0 to 2"),
    "label negative": ({"y": np.arange(N) % 3 - 1}, r"label -1 at index \[0\]"),
    "label NaN": ({"y": np.full(N, np.nan)}, r"float64 with 30 NaN, expected whole"),
    "label text": ({"y": np.full(N, "cat")}, r"y is <U3, expected whole-number labels"),
    "label shape": ({"y": np.zeros((N, 2), int)}, r"y has shape \[30, 2\], expected \[samples\]"),
    "classes silly": ({"meta": meta(classes=10**9)}, r"1000000000 classes in meta"),
    "classes text": ({"meta": meta(classes="3")}, r"'3' classes in meta"),
    "class names": ({"meta": meta(class_names=["a"])}, r"1 class_names, expected 3"),
    "class names odd": ({"meta": meta(class_names=[1, 2, 3])}, r"expected a list of texts"),
    "NaN": ({"x_audio": _NAN}, r"'x_audio' holds 2 values .*the first \(nan\) at index \[4, 1, 2\]"),
    "beyond float32": ({"x_audio": _WIDE}, r"'x_audio' holds 1 values .*beyond float32.*\[3, 1\]"),
    "complex": ({"x_audio": np.ones((N, 2), complex)}, r"'x_audio' is complex128, expected integers"),
    "text modality": ({"x_audio": np.full((N, 2), "a")}, r"'x_audio' is <U1"),
    "four axes": ({"x_audio": np.ones((N, 2, 2, 2, 2))}, r"of shape \[2, 2, 2, 2\], expected"),
    "no axis in a sample": ({"x_audio": np.ones(N)}, r"samples of shape \[\], expected"),
    "empty axis": ({"x_audio": np.ones((N, 0))}, r"samples of shape \[0\]"),
    "far from train": (
        {"x_audio": np.where(np.arange(N) < 18, np.arange(N) * 1e-30, 1e30)[:, None]}, r"too far from its",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_contents(tmp_path, case):
    changes, expected = BROKEN[case]
    with pytest.raises(DataError, match=expected) as caught:
        load_npz(save(tmp_path, **changes))
    assert str(caught.value).startswith("mine")
    assert "\n" not in str(caught.value)


def test_regression_labels_are_checked(tmp_path):
    task = np.array('{"task": "regression"}')
    for y, expected in (
        (np.full(N, np.nan, np.float16), r"'y' holds 30 values"),
        (np.full(N, "a"), r"y is <U1, expected numbers"),
        (np.ones((N, 1, 1)), r"expected \[samples\] or \[samples, outputs\]"),
        (np.ones((N, 0)), r"0 outputs a sample"),
    ):
        with pytest.raises(DataError, match=expected):
            load_npz(save(tmp_path, y=y, meta=task))


def test_what_is_not_an_archive(tmp_path):
    whole = save(tmp_path).read_bytes()
    found = tmp_path / "other.npz"
    for content, expected in (
        (b"", "is empty"), (whole[: len(whole) // 2], "truncated"), (b"\x93NUMPY\x01", "single .npy array"),
        (pickle.dumps([1]), "pickle, which is never loaded"), (b"hello", "something else"),
    ):  # fmt: skip
        found.write_bytes(content)
        with pytest.raises(DataError, match=expected):
            load_npz(found)
    with pytest.raises(DataError, match=r"absent.npz: found nothing at .*expected an .npz file"):
        load_npz(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="found a folder"):
        load_npz(tmp_path)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, (os.environ["BOMB"],))


@pytest.mark.parametrize("name", ["x_audio", "y", "meta", "aux_note"])
def test_python_objects_are_refused_and_never_loaded(tmp_path, monkeypatch, name):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    hostile = npy_bytes(np.array([Bomb()] * N, dtype=object))
    with pytest.raises(DataError, match=rf"'{name}' holds Python objects.*never loaded"):
        load_npz(raw_zip(tmp_path, {name: hostile}))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("shape", "descr"), [((10**9, 10**6), "<f4"), ((30, 2), "<f4"), ((-1, 4), "<f4"), ((10**12,), "<U0")]
)
def test_a_header_that_promises_more_than_there_is(tmp_path, shape, descr):
    with pytest.raises(DataError, match=r"'x_audio'.*(needs|header|differ)"):
        load_npz(raw_zip(tmp_path, {"x_audio": header_bytes(shape, descr) + b"\0" * 16}))


def test_a_member_size_that_lies(tmp_path):
    path = raw_zip(tmp_path, {"x_audio": header_bytes((10**6, 10**4))})
    with zipfile.ZipFile(path) as archive:
        real = archive.getinfo("x_audio.npy").file_size
    content = path.read_bytes()
    start = content.rindex(b"PK\x01\x02", 0, content.rindex(b"x_audio.npy"))
    forged = content[: start + 24] + (2**32 - 2).to_bytes(4, "little") + content[start + 28 :]
    assert real < 1000
    path.write_bytes(forged)
    with pytest.raises(DataError, match=r"'x_audio' promises 4294967294 bytes, but the file has \d+"):
        load_npz(path)


def test_more_than_memory_takes(tmp_path, monkeypatch):
    little = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    with pytest.raises(DataError, match=r"GB of memory are free; take fewer samples"):
        load_npz(save(tmp_path))


def test_damaged_bytes(tmp_path):
    path = save(tmp_path)
    content = bytearray(path.read_bytes())
    body = arrays()["x_audio"].tobytes()
    content[content.index(body) + 20] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"'x_audio' is damaged \(Bad CRC"):
        load_npz(path)


def test_odd_members(tmp_path):
    for replaced, expected in (
        ({"notes.txt": b"hi"}, r"an entry 'notes.txt', expected NumPy arrays"),
        ({"x_audio": b"nothing"}, r"'x_audio' has no readable header"),
        ({"x_audio": npy_bytes(np.ones((N, 2)))[:8] + b"\xff" * 40}, r"'x_audio' has no readable header"),
    ):
        with pytest.raises(DataError, match=expected):
            load_npz(raw_zip(tmp_path, replaced))
    path = save(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("y.npy", npy_bytes(np.zeros(N)))
    with pytest.raises(DataError, match=r"a second array 'y.npy'"):
        load_npz(path)
    packed = tmp_path / "lzma.npz"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("y.npy", npy_bytes(np.zeros(N)))
    with pytest.raises(DataError, match="packed in an unknown way"):
        load_npz(packed)


def test_any_cut_or_flipped_byte_is_a_data_error_or_nothing(tmp_path):
    small = {"x_image": np.zeros((N, 2), np.uint8), "x_audio": np.arange(N)[:, None].astype(np.float16)}
    content = save(tmp_path, **small).read_bytes()
    rng = np.random.default_rng(0)
    path = Path(tmp_path / "fuzz.npz")
    for _ in range(300):
        broken = bytearray(content[: rng.integers(0, len(content))] if rng.random() < 0.2 else content)
        for place in rng.integers(0, max(1, len(broken)), 3):
            if broken:
                broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        with contextlib.suppress(DataError):
            load_npz(path)
