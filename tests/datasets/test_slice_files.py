"""Folders of slices: one `.npz` each, whatever the contrasts; wrong ones are said in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cggm_core.datasets._paths import format_of, open_path
from cggm_core.errors import DataError
from cggm_core.protocols.data import ModalitySpec, take


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CGGM_CACHE", str(tmp_path / "cache"))


def arrays(seed: int, *, highest: int = 2, names=("ct", "pet"), **changes) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.zeros((10, 12), np.uint8)
    mask[2:6, 3:7], mask[3:5, 4:6] = 1, highest
    made = {name: random.normal(100, 20, (10, 12)).astype(np.float32) for name in names} | {"seg": mask}
    return {k: v for k, v in {**made, **changes}.items() if v is not None}


def put(path: Path, **changes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays(len(path.name), **changes))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for patient in range(4):
        for number in range(3):
            put(tmp_path / "slices" / f"p{patient}" / f"s{number}.npz")
    return tmp_path / "slices"


def test_patients_are_kept_together(folder: Path) -> None:
    assert format_of(folder) == "slices"
    data = open_path(folder, {})
    assert (data.task.name, data.task.outputs, data.task.options) == ("segmentation", 3, {})
    assert data.modalities == {m: ModalitySpec("image", (1, 10, 12)) for m in ("ct", "pet")}
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [6, 3, 3]
    patients = [set((split.ids // 3).tolist()) for split in data.splits.values()]
    assert patients[0].isdisjoint(patients[1] | patients[2])
    batch = take(data.splits["train"], torch.arange(6), torch.device("cpu"))
    assert abs(float(batch.inputs["ct"].mean())) < 1e-5
    assert sorted(batch.target.unique().tolist()) == [0, 1, 2]


def test_folders_may_say_the_split(tmp_path: Path) -> None:
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        for patient in range(count):
            put(tmp_path / "s" / part / f"{part}{patient}" / "a.npz")
    data = open_path(tmp_path / "s", {"split_seed": 5})
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [2, 1, 1]
    put(tmp_path / "s" / "other" / "p" / "a.npz")
    with pytest.raises(DataError, match="patient 'p' is in none of train, val and test"):
        open_path(tmp_path / "s", {})
    (tmp_path / "s" / "other" / "p" / "a.npz").unlink()
    put(tmp_path / "s" / "val" / "train0" / "a.npz")
    with pytest.raises(DataError, match="patient 'train0' is in two splits"):
        open_path(tmp_path / "s", {})


@pytest.mark.parametrize("highest", [3, 4])
def test_brats_is_known_by_its_contrasts_and_labels(tmp_path: Path, highest: int) -> None:
    for patient in range(2):
        put(tmp_path / "s" / f"p{patient}" / "a.npz", highest=highest, names=("flair", "t1", "t1ce", "t2"))
    data = open_path(tmp_path / "s", {})
    assert data.task.outputs == 4
    assert set(data.task.options["regions"]) == {"wt", "tc", "et"}
    assert data.splits["train"].target[torch.tensor([0])].unique().tolist() == [0, 1, 3]


WRONG = {
    "no mask": ({"seg": None}, r"p1/s1.npz holds ct, pet, but p0/s0.npz ct, pet, seg; expected the same arrays"),
    "a contrast less": ({"pet": None}, r"p1/s1.npz holds ct, seg, but p0/s0.npz"),
    "shapes differ": ({"pet": np.ones((9, 12))}, r"arrays of p1/s1.npz differ in shape .*pet \[9, 12\]"),
    "another size": (dict.fromkeys(("ct", "pet", "seg"), np.zeros((4, 4), int)), r"p1/s1.npz is \[4, 4\], but p0"),
    "mask of floats": ({"seg": np.zeros((10, 12))}, r"expected numbers, and whole ones in seg"),
    "label low": ({"seg": np.full((10, 12), -1)}, r"p1/s1.npz holds label -1, expected 0 to 255"),
    "label high": ({"seg": np.full((10, 12), 256)}, r"p1/s1.npz holds label 256, expected 0 to 255"),
    "NaN": ({"ct": np.full((10, 12), np.nan)}, r"p1/s1.npz: array 'ct' holds 120 values that are NaN"),
    "objects": ({"ct": np.array([[None] * 12] * 10)}, r"p1/s1.npz: array 'ct' holds Python objects"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(folder: Path, case: str) -> None:
    changes, expected = WRONG[case]
    put(folder / "p1" / "s1.npz", **changes)
    with pytest.raises(DataError, match=expected) as caught:
        open_path(folder, {})
    assert "\n" not in str(caught.value)


def test_other_faults(tmp_path: Path, folder: Path) -> None:
    content = (folder / "p1" / "s1.npz").read_bytes()
    (folder / "p1" / "s1.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"p1/s1.npz: the archive is truncated"):
        open_path(folder, {})
    put(tmp_path / "one" / "p" / "a.npz")
    with pytest.raises(DataError, match="one: found 1 patient, expected two"):
        open_path(tmp_path / "one", {})
    put(tmp_path / "one" / "a.npz")
    with pytest.raises(DataError, match=r"a.npz lies in no patient's folder, expected <patient>/<slice>.npz"):
        open_path(tmp_path / "one", {})
    for patient in "ab":
        put(tmp_path / "none" / patient / "a.npz", seg=np.zeros((10, 12), int))
    with pytest.raises(DataError, match="every mask is 0"):
        open_path(tmp_path / "none", {})
    for patient in "ab":
        put(tmp_path / "mono" / patient / "a.npz", pet=None)
    with pytest.raises(DataError, match="holds ct, seg, expected two contrasts at least"):
        open_path(tmp_path / "mono", {})
