"""Methods that predict otherwise than the model: the recorded head gradient is the one there is."""

import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.names import MetricKey
from tests.support.training import Rows, tiny_config, tiny_data, trained

FUSED = MetricKey("head_gradient_norm")


@pytest.mark.parametrize("method", ["qmf", "ume", "mla"])
def test_a_head_that_the_task_loss_does_not_reach_has_no_gradient(method: str) -> None:
    _, rows = trained(tiny_config(method, epochs=1))
    assert {row[FUSED] for row in rows.steps.values()} == {0.0}
    assert all(row[MetricKey("direction_cosine", "m1")] == 0.0 for row in rows.steps.values())


def test_a_head_shared_by_all_modalities_has_the_gradient_of_backward() -> None:
    config = tiny_config("reconboost", epochs=2, **{"method.alone_epochs": 1})
    trainer, rows, norms = Trainer(config, tiny_data(config)), Rows(), {}
    plain = trainer.method.on_gradients

    def look(step) -> None:
        norms[step.index] = float(torch.linalg.vector_norm(trainer.model.head.weight.grad))
        plain(step)

    trainer.method.on_gradients = look  # type: ignore[method-assign]
    trainer.fit(rows)  # type: ignore[arg-type]
    together = [index for index in rows.steps if index >= trainer.batches]
    for index in together:
        assert rows.steps[index][FUSED] == pytest.approx(norms[index], rel=1e-5)
    assert all(rows.steps[index][FUSED] == 0.0 for index in rows.steps if index not in together)
