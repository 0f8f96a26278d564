"""Another split that a file brings, chosen by name."""

from pathlib import Path

import numpy as np
import pytest

from cggm_core.config import RunConfig
from cggm_core.datasets._npz import load_npz
from cggm_core.engine.worker import build_data
from cggm_core.errors import DataError
from tests.support.data import write_npz

OTHER = np.repeat(np.array([0, 1, 2], np.int8), [40, 10, 10])


def test_the_named_split_is_taken_in_place_of_the_usual_one(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "x.npz", aux_split_official=OTHER)
    usual, other = load_npz(path), load_npz(path, "official")
    assert [len(other.splits[name]) for name in ("train", "val", "test")] == [40, 10, 10]
    assert len(usual.splits["train"]) == 30
    assert usual.fingerprint != other.fingerprint
    config = RunConfig(dataset=str(path), dataset_params={"split": "official"})
    assert build_data(config).fingerprint == other.fingerprint


def test_a_split_that_is_not_there_or_does_not_fit_is_named(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "x.npz", aux_split_official=OTHER, aux_split_short=OTHER[:5])
    with pytest.raises(DataError, match="there is no aux_split_speaker; other splits in the file: official, short"):
        load_npz(path, "speaker")
    with pytest.raises(DataError, match="aux_split_short has 5 entries, y has 60"):
        load_npz(path, "short")
