"""Maps: seeded, the same again, aligned; and a table of gradients that loses no partner."""

from __future__ import annotations

import numpy as np
import pytest

from cggm_core.embedding.align import aligned, laid_onto
from cggm_core.embedding.gradients import collect
from cggm_core.embedding.project import components, project
from cggm_core.errors import ConfigError
from cggm_core.store import Snapshot
from tests.embedding.making import paired

GRADIENTS = collect(paired(0.6, snapshots=5))
SMALL = GRADIENTS.chosen(last=100)


@pytest.mark.parametrize("method", ["tsne", "pca", pytest.param("umap", marks=pytest.mark.slow)])
def test_same_seed_same_picture_and_modalities_apart(method) -> None:
    told: list[float] = []
    found = project(SMALL.vectors, method, seed=3, tell=lambda stage, done: told.append(done))
    assert found.shape == (len(SMALL), 2)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, project(SMALL.vectors, method, seed=3))
    assert len(told) >= (1 if method == "pca" else 2)
    assert all(0 <= done <= 1 for done in told)
    if method == "tsne":
        assert len(told) > 5, "iterations are no longer heard"
    audio = SMALL.modality == "audio"
    apart = np.linalg.norm(found[audio].mean(0) - found[~audio].mean(0))
    assert apart > found[audio].std()


def test_pca_by_hand() -> None:
    rows = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(np.abs(components(rows, 2)), np.abs(rows), atol=1e-12)


@pytest.mark.parametrize(("count", "method", "words"), [(3, "tsne", "needs 4 points"), (9, "star", "not 'star'")])
def test_what_cannot_be_mapped_is_said(count: int, method, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        project(np.ones((count, 5)), method)


def test_a_turned_mirrored_moved_and_scaled_copy_is_laid_back() -> None:
    rng = np.random.default_rng(0)
    onto = rng.normal(size=(20, 2))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) @ np.diag([1.0, -1.0])
    np.testing.assert_allclose(aligned(3 * onto @ turn + 7, onto), onto, atol=1e-9)
    assert aligned(np.zeros((3, 2)), onto[:3]).shape == (3, 2)


def test_a_later_map_is_laid_onto_the_one_before() -> None:
    early = GRADIENTS.chosen(last=300)
    before = project(early.vectors, "pca")
    turned = project(GRADIENTS.vectors, "pca") @ np.array([[0.0, 1.0], [1.0, 0.0]]) * 5 + 3
    after = laid_onto(turned, GRADIENTS, before, early)
    shared = np.flatnonzero(GRADIENTS.start <= 300)
    near, far = (np.linalg.norm(points[shared] - before, axis=1).mean() for points in (after, turned))
    assert near < 0.2 * far
    # One turn for all: distances keep their proportions, also of what the earlier map did not hold.
    ratio = np.linalg.norm(after[1:] - after[:-1], axis=1) / np.linalg.norm(turned[1:] - turned[:-1], axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    np.testing.assert_array_equal(laid_onto(turned, GRADIENTS, before[:2], early.part(np.arange(2))), turned)


def test_a_table_keeps_pairs_and_leaves_out_what_has_no_direction() -> None:
    shots = [*paired(0.5, snapshots=3), Snapshot(0, 0, "fused", "", np.ones((2, 150)), {}),
             Snapshot(1, 1, "fused", "", np.zeros(300), {}), Snapshot(2, 2, "fused", "", np.full(300, np.nan), {}),
             Snapshot(3, 3, "fused", "", np.ones(7), {}), Snapshot(0, 0, "other", "", np.ones(300), {})]  # fmt: skip
    table = collect(shots)
    assert (table.kind == "fused").sum() == 1
    np.testing.assert_allclose(np.linalg.norm(table.vectors, axis=1), 1, rtol=1e-5)
    assert table.starts().tolist() == [0, 100, 200]
    part = table.chosen(kinds=("classifier", "fused"), modalities=("text",), first=0, last=100)
    assert set(part.modality) == {"text", ""}
    assert part.starts().tolist() == [0, 100]
    thin = table.thinned(20)
    assert len(thin) <= 24
    for modality in ("audio", "text"):
        cheap, true, steps, start = thin.pairs(modality)
        assert len(cheap) == len(true) == len(steps) == len(start) >= 4
    assert len(collect(())) == 0
