"""On the synthetic family, whose truth is known, the modality built to dominate leads in a joint run of every task."""

import numpy as np
import pytest

from cggm_core import catalog
from cggm_core.config import RunConfig
from cggm_core.names import MetricKey
from tests.support.training import trained

# Not the first one dominates, so that no place in the order can be what leads.
SETTINGS = {
    "classification": {
        "dataset_params": {"informative": "0.3,0.95,0.5", "samples": 1200},
        "model_params": {"width": 16, "layers": 1, "heads": 2},
        "training": {"epochs": 6, "batch_size": 32},
    },
    "regression": {
        "dataset_params": {"informative": "0.3,0.95,0.5", "samples": 1200},
        "model_params": {"width": 16, "layers": 1, "heads": 2},
        "training": {"epochs": 6, "batch_size": 32},
    },
    "segmentation": {
        "dataset_params": {"informative": "0.3,0.95,0.5", "noise": "0.1", "samples": 400, "dim": 16},
        "model_params": {"width": 8},
        "training": {"epochs": 6, "batch_size": 16, "lr": 5e-3, "classifier_lr": 5e-3},
    },
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", SETTINGS)
def test_the_modality_built_to_dominate_leads_in_score_and_gradient(task: str, seed: int) -> None:
    given = SETTINGS[task]
    config = RunConfig.from_dict(
        {
            "dataset": "synthetic",
            "dataset_params": {**given["dataset_params"], "task": task, "seed": seed},
            "model_params": given["model_params"],
            "training": {**given["training"], "device": "cpu", "threads": 1, "seed": seed},
        }
    )
    assert catalog.module("dataset", "synthetic").Synthetic(**config.dataset_params).truth().dominant == "m2"
    trainer, rows = trained(config)
    last = rows.epochs[5]
    half = [row for step, row in rows.steps.items() if step < trainer.steps // 2]
    for other in ("m1", "m3"):
        assert last[MetricKey("val_unimodal_score", "m2")] > last[MetricKey("val_unimodal_score", other)] + 0.1
        for metric in ("unimodal_score", "gradient_norm"):
            lead, follow = (np.mean([row[MetricKey(metric, m)] for row in half]) for m in ("m2", other))
            assert lead > follow, f"{metric}: m2 {lead}, {other} {follow}"
