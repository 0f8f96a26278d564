"""Folders of BraTS volumes: slices cut once and read from disk; one sentence for what is wrong, and nothing left."""

import errno
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import psutil
import pytest
import torch

from cggm_core import cli
from cggm_core.config import RunConfig
from cggm_core.datasets import _slices
from cggm_core.datasets._paths import format_of, open_path
from cggm_core.datasets._slices import patients_split
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.errors import DataError
from cggm_core.names import MetricKey
from cggm_core.protocols.data import ModalitySpec, take
from tests.support.training import Rows

NAMES = {"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2", "seg": "_seg"}
NEW_NAMES = {"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "seg": "-seg"}
SHAPE = (16, 16, 9)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("CGGM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def volumes(seed: int, shape=SHAPE) -> dict[str, np.ndarray]:
    """One patient: int16 intensities, 0 around the head; tumour in slices 2 to 6."""
    random = np.random.default_rng(seed)
    inside = np.zeros(shape, bool)
    inside[2:-2, 2:-2] = True
    seg = np.zeros(shape, np.uint8)
    seg[4:10, 4:10, 2:7], seg[5:8, 5:8, 2:7], seg[6:8, 6:8, 3:6] = 2, 1, 4
    made = {}
    for i, m in enumerate(("flair", "t1", "t1ce", "t2")):
        image = random.normal(100 * (i + 1) + 50 * seed, 20, shape) + 40 * (seg > 0)
        made[m] = np.where(inside, image.clip(1), 0).astype(np.int16)
    return {**made, "seg": seg}


def put_case(root: Path, name: str, held: dict[str, np.ndarray], names=NAMES, ending=".nii.gz") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for m, values in held.items():
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{name}{names[m]}{ending}")
    return folder


@pytest.fixture
def brats(tmp_path: Path) -> Path:
    root = tmp_path / "BraTS2021"
    for i in range(5):
        put_case(root, f"BraTS2021_0000{i}", volumes(i))
    (root / "README.txt").write_text("from elsewhere")
    return root


def listing(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


def everything(split) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    batch = take(split, torch.arange(len(split)), torch.device("cpu"))
    return dict(batch.inputs), batch.target


def test_a_folder_becomes_slices_with_nested_regions(brats: Path) -> None:
    assert format_of(brats) == "brats"
    data = open_path(brats, {})
    assert data.modalities == {m: ModalitySpec("image", (1, 16, 16)) for m in ("flair", "t1", "t1ce", "t2")}
    assert (data.task.name, data.task.outputs) == ("segmentation", 4)
    assert data.task.options["regions"] == {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [15, 5, 5]  # five slices with tumour a patient
    inputs, target = everything(data.splits["train"])
    for x in inputs.values():
        assert (x.shape, x.dtype) == ((15, 1, 16, 16), torch.float32)
        assert abs(float(x.double().mean())) < 1e-4
        assert abs(float(x.double().std(correction=0)) - 1) < 1e-3
    assert target.dtype == torch.int64
    assert sorted(target.unique().tolist()) == [0, 1, 2, 3]
    assert (target > 0).flatten(1).any(1).all()
    expected = volumes(0)["seg"].astype(int)
    assert torch.equal(target[0], torch.from_numpy(np.where(expected == 4, 3, expected)[:, :, 2]))


def test_volumes_are_scaled_each_by_its_brain(brats: Path) -> None:
    inputs, _ = everything(open_path(brats, {}).splits["train"])
    flair = inputs["flair"][:, 0]
    air = flair[:, 0, 0]
    assert torch.allclose(air, air[0].expand_as(air))  # what is not brain has one value in all patients
    brains = flair.reshape(3, 5, 16, 16)[:, :, 2:-2, 2:-2].mean((1, 2, 3))
    assert float(brains.max() - brains.min()) < 0.2  # intensities of patients were 50 apart, spread 20


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_names_of_2023_and_deeper_folders_are_the_same_data(tmp_path: Path, brats: Path, ending: str) -> None:
    for i in range(5):
        held = volumes(i)
        held["seg"] = np.where(held["seg"] == 4, 3, held["seg"])
        put_case(tmp_path / "new" / "a" / "b", f"BraTS2021_0000{i}", held, NEW_NAMES, ending)
    assert open_path(tmp_path / "new", {}).fingerprint == open_path(brats, {}).fingerprint


def test_patients_are_never_shared_and_the_seed_decides(brats: Path) -> None:
    parts = [open_path(brats, {"split_seed": seed}) for seed in range(4)]
    for data in parts:
        ids = [set((split.ids // 5).tolist()) for split in data.splits.values()]
        assert ids[0] | ids[1] | ids[2] == set(range(5))
        assert sum(map(len, ids)) == 5
    assert len({tuple(data.splits["val"].ids.tolist()) for data in parts}) > 1
    assert parts[0].fingerprint == open_path(brats, {"split_seed": 0}).fingerprint
    assert [int((patients_split(n, 0) == 1).sum()) for n in (2, 3, 40)] == [1, 1, 4]


def test_fewer_slices_and_a_crop(brats: Path) -> None:
    data = open_path(brats, {"per_patient": 2, "crop": 8})
    assert data.modalities["t1"].shape == (1, 8, 8)
    assert len(data.splits["train"]) == 6
    seg = volumes(0)["seg"].astype(int)
    expected = np.where(seg == 4, 3, seg)[4:12, 4:12][:, :, [2, 6]]  # the first and the last with tumour
    assert np.array_equal(everything(data.splits["train"])[1][:2], np.moveaxis(expected, 2, 0))


def test_slices_are_cut_once_and_nothing_is_written_beside_the_users_files(
    brats: Path, cache: Path, monkeypatch
) -> None:
    before = listing(brats)
    first = open_path(brats, {})
    kept = listing(cache)
    with monkeypatch.context() as patch:
        patch.setattr(_slices, "_write", lambda *_: pytest.fail("cut again"))
        assert open_path(brats, {}).fingerprint == first.fingerprint
    assert listing(brats) == before
    assert listing(cache) == kept
    assert not list(cache.rglob("*.part"))
    assert all(isinstance(x, np.memmap) for x in (np.load(p, mmap_mode="r") for p in cache.rglob("image*.npy")))
    os.utime(brats / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz", (1, 1))
    assert open_path(brats, {}).fingerprint == first.fingerprint  # the same content
    assert len(list((cache / "slices").iterdir())) == 2  # yet looked at again


def test_a_changed_volume_is_other_data(brats: Path) -> None:
    first = open_path(brats, {}).fingerprint
    put = brats / "BraTS2021_00001" / "BraTS2021_00001_t2.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volumes(9)["t2"], np.eye(4)), put)
    assert open_path(brats, {}).fingerprint != first


def test_memory_does_not_grow_with_patients(tmp_path: Path) -> None:
    shape, peaks = (48, 48, 40), []
    for count in (2, 3, 12):
        root = tmp_path / f"of{count}"
        for i in range(count):
            put_case(root, f"p{i}", volumes(i, shape))
        tracemalloc.start()
        try:
            data = open_path(root, {"per_patient": 0})
            batch = take(data.splits["train"], torch.tensor([0, 1]), torch.device("cpu"))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert batch.inputs["t1"].shape == (2, 1, 48, 48)
    whole = 12 * 5 * np.prod(shape) * 4
    # The first also paid for imports.
    assert peaks[2] < 1.2 * peaks[1], peaks
    assert peaks[2] < whole / 3, peaks


@pytest.mark.parametrize("method", ["joint", "cggm"])
def test_slices_on_disk_are_trained_on(brats: Path, method: str) -> None:
    config = RunConfig.from_dict(
        {
            "dataset": str(brats),
            "dataset_params": {"per_patient": 4},
            "method": method,
            "model_params": {"width": 8},
            "training": {"epochs": 2, "batch_size": 6, "device": "cpu", "threads": 1},
        }
    )
    rows, trainer = Rows(), Trainer(config, build_data(config))
    trainer.fit(rows)
    assert trainer.config.model == "segmentation_fusion"
    assert len(rows.steps) == 4
    assert {MetricKey(f"val_dice_{r}") for r in ("wt", "tc", "et", "mean")} <= set(rows.epochs[1])
    assert np.isfinite(rows.epochs[1][MetricKey("val_loss")])


def drop(root: Path) -> None:
    (root / "BraTS2021_00002" / "BraTS2021_00002_t1ce.nii.gz").unlink()


def cut(root: Path) -> None:
    path = root / "BraTS2021_00002" / "BraTS2021_00002_t1.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_plain(root: Path) -> None:
    folder = root / "BraTS2021_00002"
    (folder / "BraTS2021_00002_t1.nii.gz").unlink()
    path = folder / "BraTS2021_00002_t1.nii"
    nibabel.save(nibabel.Nifti1Image(volumes(2)["t1"], np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:2000])


def empty(root: Path) -> None:
    (root / "BraTS2021_00002" / "BraTS2021_00002_t2.nii.gz").write_bytes(b"")


def nonsense(root: Path) -> None:
    (root / "BraTS2021_00002" / "BraTS2021_00002_t2.nii.gz").write_bytes(gzip.compress(b"hello" * 200))


def replace(name: str, make):
    def fault(root: Path) -> None:
        path = root / "BraTS2021_00002" / f"BraTS2021_00002_{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(make(volumes(2)[name]), np.eye(4)), path)

    return fault


def label(value: int):
    def made(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[0, 0, 0] = value
        return values

    return replace("seg", made)


def promise(root: Path) -> None:
    """A header that asks for 10 GB."""
    path = root / "BraTS2021_00002" / "BraTS2021_00002_flair.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([1700, 1700, 1800], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def not_finite(values: np.ndarray) -> np.ndarray:
    made = values.astype(np.float32)
    made[3, 3, 3] = np.nan
    return made


def everywhere(make) -> None:
    def fault(root: Path) -> None:
        for path in root.rglob("*_seg.nii.gz"):
            nibabel.save(nibabel.Nifti1Image(make(np.zeros(SHAPE, np.uint8)), np.eye(4)), path)

    return fault


FAULTS = {
    "missing contrast": (drop, r"case BraTS2021_00002 has no t1ce \(found .*; expected BraTS2021_00002_t1ce.nii.gz or"),
    "truncated": (cut, r"BraTS2021_00002_t1.nii.gz is truncated or no NIfTI volume"),
    "truncated, not packed": (cut_plain, r"BraTS2021_00002_t1.nii promises 4608 bytes of volume, but the file"),
    "empty file": (empty, r"BraTS2021_00002_t2.nii.gz is truncated or no NIfTI volume"),
    "no volume": (nonsense, r"BraTS2021_00002_t2.nii.gz is truncated or no NIfTI volume"),
    "10 GB promised": (promise, r"BraTS2021_00002_flair.nii.gz promises 10404000000 bytes of volume, but the file has"),
    "an axis too long": (
        replace("t1", lambda v: np.zeros((1025, 16, 9), np.int16)),
        r"_t1.nii.gz has shape \[1025, 16, 9\], expected at most 1024 voxels",
    ),
    "shapes differ": (
        replace("t2", lambda v: v[:, :, :-1]), r"case BraTS2021_00002 differ in shape \(.*t1ce 16x16x9, t2 16x16x8"
    ),
    "four axes": (replace("t2", lambda v: v[..., None].repeat(2, 3)), r"_t2.nii.gz is int16 of shape \[16, 16, 9, 2\]"),
    "label 7": (label(7), r"BraTS2021_00002_seg.nii.gz holds label 7, expected 0, 1, 2 and 4"),
    "labels 3 and 4": (label(3), r"holds label 3 beside 4"),
    "NaN": (replace("t1", not_finite), r"BraTS2021_00002_t1.nii.gz holds 1 values that are NaN or infinite"),
    "no tumour anywhere": (everywhere(lambda v: v), r"no slice of any case shows a tumour"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(
    brats: Path, cache: Path, runs_root: Path, case: str, capsys
) -> None:
    fault, expected = FAULTS[case]
    fault(brats)
    before = listing(brats)
    with pytest.raises(DataError, match=expected):
        open_path(brats, {})
    assert cli.main(["train", "--dataset", str(brats), "--runs", str(runs_root)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: BraTS2021: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert [name for name in os.listdir(runs_root) if name != ".catalogue.db"] == []
    assert listing(brats) == before
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_other_faults(tmp_path: Path, brats: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match="crop is 17, but slices are 16x16"):
        open_path(brats, {"crop": 17})
    put_case(tmp_path / "one", "p0", volumes(0))
    with pytest.raises(DataError, match=r"one: found one case \(p0\), expected two at least"):
        open_path(tmp_path / "one", {})
    put_case(tmp_path / "one", "p1", volumes(1, (18, 16, 9)))
    with pytest.raises(DataError, match=r"slices of case p1 are 18x16, those of p0 16x16; .*dataset.crop"):
        open_path(tmp_path / "one", {})
    assert len(open_path(tmp_path / "one", {"crop": 16}).splits["train"]) == 5
    put_case(tmp_path / "one" / "again", "p0", volumes(0))
    with pytest.raises(DataError, match="case p0 is there twice"):
        open_path(tmp_path / "one", {})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CGGM_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be kept in .*name another folder in CGGM_CACHE"):
        open_path(brats, {})


def test_a_volume_that_no_memory_holds_is_refused_from_its_header(brats: Path, monkeypatch) -> None:
    """A file of 0.2 MB whose volume of zeros has 38 MB is not unpacked where there is no room for it."""
    for path in (brats / "BraTS2021_00000").iterdir():
        nibabel.save(nibabel.Nifti1Image(np.zeros((320, 300, 400), np.uint8), np.eye(4)), path)
        assert path.stat().st_size < 200_000
    little = psutil.virtual_memory()._replace(available=1 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"takes 1.2 GB to read, but 1.1 GB of memory are free"):
            open_path(brats, {})
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.npy", b""),
        ("image0.npy", b"\x93NUMPY"),
        ("index.json", b"[]"),
        ("index.json", b""),
        ("patient.npy", None),
    ],
)
def test_a_damaged_cache_is_made_again(brats: Path, cache: Path, name: str, content: bytes | None) -> None:
    before = open_path(brats, {}).fingerprint
    (path,) = cache.rglob(name)
    if content is None:
        np.save(path, np.zeros(3, np.int64))
    else:
        path.write_bytes(content)
    again = open_path(brats, {})
    assert again.fingerprint == before
    assert len(again.splits["train"].inputs["t1"][torch.arange(2)]) == 2


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_cache(brats: Path, monkeypatch) -> None:
    def broken(self: object) -> object:
        raise OSError(errno.EIO, "Input/output error", "scan.nii")
        yield

    monkeypatch.setattr("cggm_core.datasets._volumes.Volumes.blocks", broken)
    with pytest.raises(DataError, match=r"BraTS2021: scan.nii cannot be read \(Input/output error\)"):
        open_path(brats, {})


def test_a_full_disk_leaves_nothing_half_made(brats: Path, cache: Path, monkeypatch) -> None:
    written = []

    def full(path: Path, values: np.ndarray) -> bytes:
        written.append(path)
        if len(written) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return b""

    with monkeypatch.context() as patch:
        patch.setattr(_slices, "_append", full)
        with pytest.raises(DataError, match=r"cannot be kept in .* \(No space left on device\); make room there"):
            open_path(brats, {})
    assert not [p for p in cache.rglob("*") if p.is_file() or p.suffix == ".part"]
    assert len(open_path(brats, {}).splits["train"]) == 15


def test_several_who_cut_at_once_end_with_one_whole_set(brats: Path, cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: open_path(brats, {}).fingerprint, range(4)))
    assert len(set(made)) == 1
    assert len(list((cache / "slices").iterdir())) == 1


def test_cases_may_be_links_and_a_link_that_leads_back_is_no_trap(tmp_path: Path, brats: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for case in brats.glob("BraTS2021_*"):
        (linked / case.name).symlink_to(case)
    (linked / "back").symlink_to(linked)
    assert open_path(linked, {}).fingerprint == open_path(brats, {}).fingerprint


def test_check_tells_what_a_folder_holds(brats: Path, capsys) -> None:
    assert cli.main(["check", "--dataset", str(brats), "--set", "dataset.crop=8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["modalities"]["flair"] == {"kind": "image", "shape": [1, 8, 8]}
    assert found["samples"] == {"train": 15, "val": 5, "test": 5}


def test_volumes_bring_no_torch() -> None:
    code = "import sys, nibabel; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
