"""Every preset on every kind of data: the training ends well, and the table it exports has every series."""

import math
from pathlib import Path

import numpy as np
import pytest

from cggm_core import catalog
from cggm_core.config import RunConfig
from cggm_core.names import EVERY_RUN, METRICS
from tests.engine.test_recorded_numbers import exported
from tests.engine.test_segmentation_runs import slices

RUN_PRESETS = list(catalog.all_cards("preset"))
EVERY = [("joint", ""), *(("joint", name) for name in RUN_PRESETS)]
EVERY += [("cggm", name) for name in ("paper", "released", "stable", *RUN_PRESETS)]
ITS_OWN = [("joint", "brats"), ("cggm", "brats"), ("joint", "mosi"), ("cggm", "mosi")]
PER_EPOCH = {
    "classification": ("accuracy", "f1"),
    "regression": ("mae", "corr", "acc2", "acc7", "f1"),
    "segmentation": ("dice",),
}
EMBEDDED = {
    "diabetes": ("regression", ("body", "serum"), {}),
    "phantom": ("segmentation", ("flair", "t1", "t1ce", "t2"), {"samples": 40, "size": 32}),
    "synthetic": ("classification", ("m1", "m2", "m3"), {"samples": 200}),
}


def run(dataset: str, method: str, preset: str, root: Path, **dataset_params: object) -> tuple[RunConfig, set, object]:
    """One epoch; the configuration, (metric, modality) of every row that was exported, and the rows."""
    config = RunConfig.from_dict(
        {"dataset": dataset, "dataset_params": dataset_params, "method": method, "preset": preset}
    )
    config = config.with_settings({"epochs": 1, "threads": 1, "device": "cpu"})
    _, table = exported(config, root)
    return config, set(zip(table["metric"], table["modality"].fillna(""), strict=True)), table


def every_series(task: str, modalities: tuple[str, ...]) -> set[tuple[str, str]]:
    """What an export must hold: each step's series for each modality and pair, and the epoch's and the test's."""
    pairs = [f"{a}|{b}" for i, a in enumerate(modalities) for b in modalities[i + 1 :]]
    of = {"fused": [""], "modality": modalities, "both": ["", *modalities], "pair": pairs}
    found = {(name, m) for name in EVERY_RUN for m in of[METRICS[name].scope]}
    for part in ("val_", "test_"):
        found |= {(part + name, "") for name in ("loss", "score", *PER_EPOCH[task])}
        found |= {(f"{part}unimodal_score", m) for m in modalities}
    return found


@pytest.mark.parametrize(("method", "preset"), ITS_OWN)
@pytest.mark.parametrize("dataset", EMBEDDED)
def test_embedded_data(dataset: str, method: str, preset: str, runs_root: Path) -> None:
    task, modalities, knobs = EMBEDDED[dataset]
    config, found, table = run(dataset, method, preset, runs_root, **knobs)
    assert every_series(task, modalities) <= found
    values = table[~table["metric"].str.endswith(("acc2", "acc7", "corr", "f1"))]["value"].astype(float)
    assert values.map(math.isfinite).all()
    assert config.preset == preset


@pytest.mark.data
@pytest.mark.parametrize(("method", "preset"), EVERY)
def test_sentiment_in_three_modalities(method: str, preset: str, runs_root: Path, data_folder: Path) -> None:
    _, found, table = run(str(data_folder / "cmu_mosi.npz"), method, preset, runs_root)
    assert every_series("regression", ("text", "audio", "video")) <= found
    assert np.isfinite(table["value"].astype(float)).all()


@pytest.mark.data
@pytest.mark.parametrize(("method", "preset"), [("cggm", "paper"), *ITS_OWN])
def test_six_modalities(method: str, preset: str, runs_root: Path, data_folder: Path) -> None:
    _, found, table = run(str(data_folder / "mfeat.npz"), method, preset, runs_root)
    assert every_series("classification", ("pix", "fou", "fac", "zer", "kar", "mor")) <= found
    assert np.isfinite(table["value"].astype(float)).all()


@pytest.mark.data
@pytest.mark.parametrize(("method", "preset"), ITS_OWN)
@pytest.mark.parametrize(
    ("name", "modalities"),
    [("lgg_mri", ("t1pre", "flair", "t1post")), ("open_ms3", ("flair", "t1", "t1post", "t2"))],
)
def test_slices(
    name: str, modalities: tuple[str, ...], method: str, preset: str, runs_root: Path, data_folder: Path, tmp_path: Path
) -> None:
    path = slices(data_folder / f"{name}.npz", tmp_path / f"{name}.npz", (8, 3, 3))
    _, found, table = run(str(path), method, preset, runs_root)
    assert every_series("segmentation", modalities) <= found
    assert np.isfinite(table["value"].astype(float)).all()
