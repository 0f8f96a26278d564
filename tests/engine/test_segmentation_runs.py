"""Segmentation from data to exported table: every series, the default model, real slices."""

import json
from pathlib import Path

import numpy as np
import pytest

from cggm_core.config import RunConfig
from cggm_core.engine import worker
from cggm_core.names import EVERY_RUN, METRICS, MetricKey
from cggm_core.store import create_run, open_reader
from tests.engine.test_recorded_numbers import check, exported
from tests.support.training import tiny_masks, trained

CONTRASTS = ["flair", "t1", "t1ce", "t2"]
SETTINGS = [("joint", ""), ("cggm", "paper"), ("cggm", "released"), ("cggm", "stable")]
DICE = {f"dice{part}" for part in ("", "_wt", "_tc", "_et", "_mean")}


def slices(source: Path, target: Path, counts: tuple[int, int, int] = (12, 4, 4)) -> Path:
    """A few slices of a real file, the ones with the largest masks."""
    with np.load(source, allow_pickle=False) as held:
        split, area = held["split"], (held["y"] > 0).sum((1, 2))
        rows = [np.flatnonzero(split == part)[np.argsort(-area[split == part])[:n]] for part, n in enumerate(counts)]
        kept = np.concatenate(rows)
        np.savez(target, **{name: held[name] if name == "meta" else held[name][kept] for name in held.files})
    return target


@pytest.mark.parametrize(("method", "preset"), SETTINGS)
def test_every_series_is_exported(method: str, preset: str, runs_root: Path) -> None:
    config = RunConfig.from_dict({**tiny_masks(method).to_dict(), "preset": preset, "method_params": {}})
    steps, table = exported(config, runs_root)
    everywhere = {name: METRICS[name] for name in EVERY_RUN}
    assert set(everywhere) <= set(table["metric"])
    for name, metric in everywhere.items():
        found = {modality for one, modality in steps.columns if one == name}
        assert found == {
            "fused": {""}, "modality": set(CONTRASTS), "both": {"", *CONTRASTS},
            "pair": {f"{a}|{b}" for i, a in enumerate(CONTRASTS) for b in CONTRASTS[i + 1 :]},
        }[metric.scope]  # fmt: skip
    names = {"loss", "score", "unimodal_score"} | DICE
    assert {f"val_{n}" for n in names} | {f"test_{n}" for n in names} <= set(table["metric"])
    assert np.isfinite(table["value"].astype(float)).all()
    last = table[(table["metric"] == "val_dice_mean")]["value"].tolist()
    assert last == table[(table["metric"] == "val_score") & (table["modality"] == "")]["value"].tolist()


def test_coefficient_and_direction_loss_follow_from_the_csv(runs_root: Path) -> None:
    steps, _ = exported(tiny_masks("cggm", epochs=4), runs_root)
    check(steps, CONTRASTS, 1.3)
    total = steps[("task_loss", "")] + 0.15 * steps[("direction_loss", "")]
    np.testing.assert_allclose(steps[("loss", "")], total, rtol=1e-6)


@pytest.mark.slow
def test_the_phantom_is_learnt() -> None:
    made = {"dataset.samples": 320, "dataset.size": 32, "epochs": 8, "model.width": 16, "lr": 5e-3}
    _, rows = trained(tiny_masks(**made), readers=False, measure=False)
    dice = [row[MetricKey("val_dice")] for row in rows.epochs.values()]
    assert dice[-1] > 0.6
    assert dice[-1] > dice[0]


def test_parts_of_a_split_do_not_change_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = worker.prepare(tiny_masks()).trainer
    whole = trainer.validate()
    monkeypatch.setattr("cggm_core.engine.trainer._EVALUATED_VALUES", 1)
    parts = trainer.validate()
    assert parts.keys() == whole.keys()
    assert all(parts[key] == pytest.approx(whole[key], abs=2e-3 if "dice" in str(key) else 1e-3) for key in whole)


@pytest.mark.data
@pytest.mark.parametrize(("method", "preset"), SETTINGS)
@pytest.mark.parametrize(
    ("name", "modalities"),
    [("lgg_mri", ["t1pre", "flair", "t1post"]), ("open_ms3", ["flair", "t1", "t1post", "t2"])],
)
def test_real_slices_train_without_a_model_being_named(
    name: str, modalities: list[str], method: str, preset: str, runs_root: Path, data_folder: Path, tmp_path: Path
) -> None:
    path = slices(data_folder / f"{name}.npz", tmp_path / f"{name}.npz")
    config = RunConfig.from_dict({
        "dataset": str(path), "method": method, "preset": preset,
        "training": {"epochs": 1, "batch_size": 4, "threads": 1, "device": "cpu"},
    })  # fmt: skip
    assert config.model == "auto"
    prepared = worker.prepare(config)
    assert prepared.config.model == "segmentation_fusion"
    run_id = create_run(runs_root, prepared.config.to_json())
    assert worker.run(prepared, runs_root / run_id) == "finished"
    reader = open_reader(runs_root / run_id)
    found = set(reader.keys())
    everywhere = {name: METRICS[name] for name in EVERY_RUN}
    for metric in everywhere.values():
        wanted = {"fused": [""], "modality": modalities, "both": ["", *modalities], "pair": []}[metric.scope]
        assert {(metric.name, m) for m in wanted} <= found
    assert {("val_dice", ""), ("test_dice", "")} <= found
    assert json.loads((runs_root / run_id / "config.json").read_text())["model"] == "segmentation_fusion"
