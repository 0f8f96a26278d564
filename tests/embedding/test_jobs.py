"""Maps are made by a process of their own, kept by content, survive damage, and stay inside the runs folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cggm_core.embedding import jobs
from cggm_core.errors import StoreError
from cggm_core.store import identity_of

VECTORS = np.random.default_rng(0).normal(size=(60, 70)).astype(np.float32)


def until(root: Path, key: str, *states: str, seconds: float = 120) -> jobs.Status:
    deadline = time.monotonic() + seconds
    while (status := jobs.look(root, key)).state not in states and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status.state in states, status
    return status


def test_a_map_is_made_kept_and_found_again(tmp_path: Path) -> None:
    key = jobs.start(tmp_path, VECTORS, "pca")
    assert jobs.look(tmp_path, key).state in ("working", "ready")
    until(tmp_path, key, "ready")
    points = jobs.load(tmp_path, key)
    assert points is not None
    assert points.shape == (60, 2)
    stamp = (tmp_path / ".maps" / f"{key}.map").stat().st_mtime_ns
    assert jobs.start(tmp_path, VECTORS, "pca") == key
    assert (tmp_path / ".maps" / f"{key}.map").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [".maps"]


def test_everything_that_decides_a_map_is_in_its_name() -> None:
    other = VECTORS.copy()
    other[3, 4] = np.nextafter(other[3, 4], 9)
    keys = {jobs.key_of(VECTORS, "pca", 0), jobs.key_of(VECTORS, "pca", 1), jobs.key_of(VECTORS, "tsne", 0),
            jobs.key_of(other, "pca", 0), jobs.key_of(VECTORS[:59], "pca", 0)}  # fmt: skip
    assert len(keys) == 5
    assert jobs.key_of(VECTORS, "pca", 0) == jobs.key_of(VECTORS.copy(order="F"), "pca", 0)


def test_a_damaged_map_is_removed_and_made_again(tmp_path: Path) -> None:
    folder = tmp_path / ".maps"
    folder.mkdir()
    key = jobs.key_of(VECTORS, "pca", 0)
    jobs.keep(folder, key, np.zeros((60, 2)))
    whole = (folder / f"{key}.map").read_bytes()
    for raw in (whole[:-1], whole[:40], b"", bytes([whole[0] ^ 1]) + whole[1:], whole[:90] + b"x" + whole[91:]):
        (folder / f"{key}.map").write_bytes(raw)
        assert jobs.load(tmp_path, key) is None
        assert not (folder / f"{key}.map").exists()
    assert jobs.look(tmp_path, key).state == "absent"


def test_a_map_can_be_cancelled(tmp_path: Path) -> None:
    big = np.random.default_rng(1).normal(size=(2000, 60)).astype(np.float32)
    key = jobs.start(tmp_path, big, "tsne")
    until(tmp_path, key, "working")
    jobs.cancel(tmp_path, key)
    assert jobs.look(tmp_path, key).state == "absent"
    assert list((tmp_path / ".maps").glob(f"{key}.*")) == []


def test_a_process_that_makes_no_map_is_never_ended(tmp_path: Path) -> None:
    folder = tmp_path / ".maps"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        jobs.tell(folder, "abc", "t-SNE", 0.5, identity_of(stranger.pid))
        jobs.cancel(tmp_path, "abc")
        assert stranger.poll() is None
        stranger.kill()
    assert list(folder.iterdir()) == []


def test_old_requests_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / ".maps"
    folder.mkdir()
    for name, age in (("old.in", 90_000), ("new.in", 60)):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (time.time() - age,) * 2)
    until(tmp_path, jobs.start(tmp_path, VECTORS, "pca"), "ready")
    assert {path.name for path in folder.glob("???.in")} == {"new.in"}


def test_a_failure_is_told_in_a_sentence_and_may_be_tried_again(tmp_path: Path) -> None:
    key = jobs.start(tmp_path, VECTORS[:3], "tsne")
    assert "needs 4 points" in until(tmp_path, key, "failed").stage
    assert jobs.start(tmp_path, VECTORS[:3], "tsne") == key


def test_a_killed_process_counts_as_failed(tmp_path: Path) -> None:
    folder = tmp_path / ".maps"
    folder.mkdir()
    (folder / "abc.told").write_text('{"stage": "t-SNE", "done": 0.5, "error": "", "who": null}')
    assert jobs.look(tmp_path, "abc").state == "failed"
    (folder / "abc.told").write_text("{half")
    assert jobs.look(tmp_path, "abc").state == "absent"


def test_a_link_out_of_the_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "runs"
    root.mkdir()
    (root / ".maps").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        jobs.start(root, VECTORS, "pca")
    assert list((tmp_path / "elsewhere").iterdir()) == []
