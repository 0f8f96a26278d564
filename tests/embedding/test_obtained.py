"""A map for somebody who waits: made once, kept, and given up when the one who waits gives up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cggm_core.embedding import jobs
from cggm_core.embedding.gradients import collect
from cggm_core.embedding.obtained import obtained
from cggm_core.embedding.project import project
from cggm_core.errors import StoreError
from tests.embedding.making import paired


def test_a_map_is_what_its_process_makes_and_is_kept(tmp_path: Path) -> None:
    vectors = collect(paired(0.5, batches=4, snapshots=2, dim=30)).vectors
    points = obtained(tmp_path, vectors, "pca")
    assert np.allclose(points, project(vectors, "pca"))
    kept = next((tmp_path / jobs.FOLDER).glob("*.map"))
    before = kept.stat().st_mtime_ns
    assert np.array_equal(obtained(tmp_path, vectors, "pca"), points)
    assert kept.stat().st_mtime_ns == before


def test_who_gives_up_leaves_no_process(tmp_path: Path) -> None:
    vectors = collect(paired(0.5)).vectors

    def stop(stage: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtained(tmp_path, vectors, "tsne", tell=stop)
    assert jobs.look(tmp_path, jobs.key_of(vectors, "tsne", 0)).state == "absent"


def test_a_folder_that_holds_no_maps_is_said(tmp_path: Path) -> None:
    (tmp_path / jobs.FOLDER).write_text("in the way")
    with pytest.raises(StoreError, match="no map can be made"):
        obtained(tmp_path, collect(paired(0.5)).vectors, "pca")
