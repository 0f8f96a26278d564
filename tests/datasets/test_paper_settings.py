"""The paper's four settings on files in the form that the field passes around: from a path to a finished run."""

from pathlib import Path

import numpy as np
import pytest

from cggm_core import cli
from cggm_core.names import MetricKey
from cggm_core.store import open_reader
from tests.datasets import test_brats, test_features, test_speech

SETTINGS = {
    "mosi": (
        lambda folder: test_speech.put(folder, test_speech.mult(), protocol=2),
        {"text", "audio", "vision"},
        "mae",
    ),
    "iemocap": (lambda folder: test_speech.put(folder, test_speech.mult("pairs")), {"text", "audio", "vision"}, "f1"),
    "food101": (lambda folder: test_features.put(folder / "food", "npz"), {"image", "text"}, "accuracy"),
    "brats": (lambda folder: brats(folder / "brats"), {"flair", "t1", "t1ce", "t2"}, "dice_et"),
}


def brats(root: Path) -> Path:
    for i in range(3):
        test_brats.put_case(root, f"BraTS2021_0000{i}", test_brats.volumes(i))
    return root


@pytest.mark.parametrize("preset", SETTINGS)
def test_a_preset_trains_on_the_fields_own_files(
    tmp_path: Path, runs_root: Path, preset: str, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("CGGM_CACHE", str(tmp_path / "cache"))
    make, modalities, metric = SETTINGS[preset]
    given = ("--epochs", "2", "--set", "warmup_epochs=0", "--set", "threads=1", "--device", "cpu")
    command = ["train", "--dataset", str(make(tmp_path)), "--preset", preset, "--method", "cggm", *given]
    assert cli.main([*command, "--runs", str(runs_root)]) == 0
    run_id = capsys.readouterr().out.splitlines()[0]
    reader = open_reader(runs_root / run_id)
    keys = set(reader.keys())
    assert {("balance_coefficient", m) for m in modalities} <= keys
    assert (f"test_{metric}", "") in keys
    found = reader.series([MetricKey("val_loss")])[MetricKey("val_loss")].value
    assert len(found) == 2
    assert np.isfinite(found).all()
