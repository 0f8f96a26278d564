"""The plot is the number the method used: Eq. 7 and Eq. 12 recomputed from the exported CSV alone."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cggm_core.config import RunConfig
from cggm_core.engine import worker
from cggm_core.names import EVERY_RUN, METRICS
from cggm_core.store import create_run, open_reader, write_csv
from tests.support.training import tiny_config


def exported(config: RunConfig, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Step series of a finished run as tables: one column a (metric, modality); and the raw table."""
    run_id = create_run(root, config.to_json())
    assert worker.run(worker.prepare(config), root / run_id) == "finished"
    text = StringIO()
    write_csv(open_reader(root / run_id), text)
    text.seek(0)
    table = pd.read_csv(text, keep_default_na=False, na_values=["nan"])
    assert list(table.columns) == ["step", "epoch", "metric", "modality", "value"]
    steps = table[[METRICS[m].cadence == "step" for m in table["metric"]]]
    return steps.pivot(index="step", columns=["metric", "modality"], values="value"), table


def check(steps: pd.DataFrame, modalities: list[str], rho: float) -> None:
    scores = steps["unimodal_score"][modalities].to_numpy()
    gain = np.diff(np.vstack([np.zeros(len(modalities)), scores]), axis=0)
    np.testing.assert_allclose(steps["score_gain"][modalities], gain, rtol=0, atol=1e-12)
    total = gain.sum(axis=1, keepdims=True)
    defined = steps[("coefficient_undefined", "")].to_numpy() == 0
    assert defined.mean() > 0.5
    recorded = steps["balance_coefficient"][modalities].to_numpy()
    again = rho * (total[defined] - gain[defined]) / total[defined]
    np.testing.assert_allclose(recorded[defined], again, rtol=1e-6, atol=1e-5)
    kept = np.flatnonzero(~defined)
    for step in kept[kept > 0]:
        np.testing.assert_array_equal(recorded[step], recorded[step - 1])
    cosine = steps["direction_cosine"][modalities].to_numpy()
    loss = (np.abs(recorded) - recorded * cosine).mean(axis=1)
    np.testing.assert_allclose(steps[("direction_loss", "")], loss, rtol=0, atol=1e-5)
    scale = steps["gradient_norm"][modalities].to_numpy() / steps["gradient_norm_raw"][modalities].to_numpy()
    np.testing.assert_allclose(scale, np.abs(recorded), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("modalities", "rho", "lam"), [(2, 1.3, 0.15), (3, 0.7, 0.2), (5, 1.0, 1.0)])
def test_coefficient_and_direction_loss_follow_from_the_csv(
    modalities: int, rho: float, lam: float, runs_root: Path
) -> None:
    config = tiny_config("cggm", modalities, **{"method.rho": rho, "method.lam": lam, "epochs": 6})
    steps, table = exported(config, runs_root)
    names = [f"m{i + 1}" for i in range(modalities)]
    check(steps, names, rho)
    total = steps[("task_loss", "")] + lam * steps[("direction_loss", "")]
    np.testing.assert_allclose(steps[("loss", "")], total, rtol=1e-6)
    recorded = set(table["metric"])
    wanted = EVERY_RUN | {"coefficient_undefined", "direction_weight"}
    assert wanted | {"val_loss", "val_score", "val_unimodal_score", "val_accuracy", "val_f1"} <= recorded
    assert {"test_accuracy", "test_f1"} <= recorded


@pytest.mark.data
def test_real_audio_and_images(runs_root: Path, data_folder: Path) -> None:
    config = RunConfig.from_dict({
        "dataset": str(data_folder / "avdigits.npz"), "method": "cggm", "preset": "paper",
        "model_params": {"width": 16, "layers": 1}, "training": {"epochs": 1, "threads": 1, "device": "cpu"},
    })  # fmt: skip
    steps, _ = exported(config, runs_root)
    check(steps, ["image", "audio"], 1.3)


def test_one_toggle_alone(runs_root: Path) -> None:
    """Direction only: nothing is scaled, yet L_gm is weighed by B; magnitude only: L_gm is seen, not added."""
    names = ["m1", "m2", "m3"]
    turned, _ = exported(tiny_config("cggm", **{"method.magnitude": False}), runs_root)
    assert (turned["balance_coefficient"][names] == 1).all(axis=None)
    weights = turned["direction_weight"][names].to_numpy()
    assert not (weights == 1).all()
    cosine = turned["direction_cosine"][names].to_numpy()
    np.testing.assert_allclose(
        turned[("direction_loss", "")], (np.abs(weights) - weights * cosine).mean(axis=1), atol=1e-5
    )
    assert (turned["gradient_norm"][names] == turned["gradient_norm_raw"][names]).all(axis=None)
    scaled, _ = exported(tiny_config("cggm", **{"method.direction": False}), runs_root)
    assert (scaled[("loss", "")] == scaled[("task_loss", "")]).all()
    assert (scaled[("direction_loss", "")] > 0).any()


def test_joint_training_reports_neutral_coefficients(runs_root: Path) -> None:
    steps, _ = exported(tiny_config(), runs_root)
    names = ["m1", "m2", "m3"]
    assert (steps["balance_coefficient"][names] == 1).all(axis=None)
    cosine = steps["direction_cosine"][names].to_numpy()
    np.testing.assert_allclose(steps[("direction_loss", "")], (1 - cosine).mean(axis=1), atol=1e-6)
