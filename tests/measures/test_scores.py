"""Scores of regression on the device, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, mean_absolute_error

from cggm_core.measures.scores import negative_mae, sign_accuracy


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn(seed: int, outputs: int) -> None:
    random = np.random.default_rng(seed)
    prediction, truth = random.normal(size=(2, 57, outputs)).astype(np.float32)
    truth[::7] = 0
    ours = negative_mae(torch.tensor(prediction), torch.tensor(truth))
    assert ours.dtype == torch.float64
    assert float(ours) == pytest.approx(-mean_absolute_error(truth, prediction), abs=1e-6)
    signs = accuracy_score((truth > 0).ravel(), (prediction > 0).ravel())
    assert float(sign_accuracy(torch.tensor(prediction), torch.tensor(truth))) == pytest.approx(signs, abs=1e-12)


def test_zero_is_not_positive_on_either_side() -> None:
    prediction, truth = torch.tensor([[0.0], [-1.0], [0.1], [0.0]]), torch.tensor([[0.0], [0.0], [0.0], [2.0]])
    assert float(sign_accuracy(prediction, truth)) == 0.5


def test_a_small_error_of_large_labels_is_not_lost() -> None:
    truth = torch.full((1000, 1), 16_777_216.0)
    assert float(negative_mae(truth + 2, truth)) == -2.0
