"""Our losses, scores and metrics against scikit-learn, torchmetrics and MONAI, on random input.

Why ours are our own all the same: a score is taken of every batch and every classifier in the middle of a step, and
the libraries' versions check their input on the host or keep a state, which makes the device wait; the metrics at the
end of an epoch are scikit-learn's and scipy's already.
"""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from cggm_core.measures.scores import accuracy, dice, negative_mae, region_counts, sign_accuracy
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.regression import regression_metrics
from cggm_core.protocols.segmentation import BRATS_REGIONS, BRATS_WEIGHTS
from cggm_core.protocols.tasks import make_task

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries' own imports
    from monai.losses import DiceLoss
    from monai.metrics import compute_dice
    from torchmetrics.functional import (
        accuracy as library_accuracy,
    )
    from torchmetrics.functional import (
        f1_score as library_f1,
    )
    from torchmetrics.functional import (
        mean_absolute_error,
        pearson_corrcoef,
    )
    from torchmetrics.functional.segmentation import dice_score

close = {"abs": 1e-6}
seeds = pytest.mark.parametrize("seed", range(4))


@pytest.fixture(autouse=True)
def _their_warnings():
    """A library's own deprecations are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@seeds
def test_classification(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    classes = 2 + 3 * seed
    logits, target = torch.randn(211, classes, generator=random), torch.randint(classes, (211,), generator=random)
    task, said = make_task(TaskSpec("classification", classes)), logits.argmax(1)
    found = task.metrics(logits, target)
    form = {"task": "multiclass", "num_classes": classes}
    for ours in (found["accuracy"], float(accuracy(logits, target)), float(task.score(logits, target))):
        assert ours == pytest.approx(accuracy_score(target, said), **close)
        assert ours == pytest.approx(float(library_accuracy(logits, target, average="micro", **form)), **close)
    assert found["f1"] == pytest.approx(f1_score(target, said, average="weighted", zero_division=0), **close)
    assert found["f1"] == pytest.approx(float(library_f1(logits, target, average="weighted", **form)), **close)
    assert float(task.loss(logits, target)) == pytest.approx(
        float(torch.nn.CrossEntropyLoss()(logits, target)), **close
    )


@seeds
def test_regression(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    truth = (6.8 * torch.rand(211, 1, generator=random, dtype=torch.float64) - 3.4).round(decimals=1)
    said = truth + torch.randn(211, 1, generator=random, dtype=torch.float64)
    truth[::9] = 0
    found = regression_metrics(said.numpy(), truth.numpy())
    assert found["mae"] == pytest.approx(float(mean_absolute_error(said, truth)), **close)
    assert -float(negative_mae(said, truth)) == pytest.approx(float(mean_absolute_error(said, truth)), **close)
    assert found["corr"] == pytest.approx(float(pearson_corrcoef(said[:, 0], truth[:, 0])), **close)
    signed = truth != 0
    right, positive = (truth[signed] > 0).long(), (said[signed] > 0).long()
    assert found["acc2"] == pytest.approx(float(library_accuracy(positive, right, task="binary")), **close)
    weighted = library_f1(positive, right, task="multiclass", num_classes=2, average="weighted")
    assert found["f1"] == pytest.approx(float(weighted), **close)
    seven = [(values.clip(-3, 3).round() + 3).long().ravel() for values in (said, truth)]
    assert found["acc7"] == pytest.approx(
        float(library_accuracy(*seven, task="multiclass", num_classes=7, average="micro")), **close
    )
    whole = [(values > 0).long().ravel() for values in (said, truth)]
    assert float(sign_accuracy(said, truth)) == pytest.approx(float(library_accuracy(*whole, task="binary")), **close)


def masks(seed: int, samples: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    target = torch.randint(4, (samples, 12, 10), generator=random)
    logits = torch.randn(samples, 4, 12, 10, generator=random)
    return logits + torch.nn.functional.one_hot(target, 4).movedim(3, 1), target


@seeds
def test_dice_pooled_and_by_sample(seed: int) -> None:
    logits, target = masks(seed)
    said = logits.argmax(1)
    members = torch.eye(4, dtype=torch.bool)
    pooled = dice(region_counts(said, target, members))
    hot = [torch.nn.functional.one_hot(labels, 4).movedim(3, 1) for labels in (said, target)]
    whole = [one.movedim(1, 0).reshape(1, 4, -1, 1) for one in hot]  # all samples as one image
    by_monai = compute_dice(*whole, include_background=True)[0]
    by_torchmetrics = dice_score(*[w.long() for w in whole], num_classes=4, average=None, input_format="one-hot")[0]
    np.testing.assert_allclose(pooled, by_monai, atol=1e-6)
    np.testing.assert_allclose(pooled, by_torchmetrics, atol=1e-6)
    each = torch.stack([dice(region_counts(said[i : i + 1], target[i : i + 1], members)) for i in range(len(said))])
    np.testing.assert_allclose(each, compute_dice(*hot, include_background=True), atol=1e-6)
    np.testing.assert_allclose(
        each, dice_score(*[h.long() for h in hot], num_classes=4, average=None, input_format="one-hot"), atol=1e-6
    )
    task = make_task(TaskSpec("segmentation", 4, options={"regions": dict(BRATS_REGIONS)}))
    found = task.metrics(logits, target)
    for name, labels in BRATS_REGIONS.items():
        region = [torch.isin(one, torch.tensor(labels)).reshape(1, 1, -1, 1) for one in (said, target)]
        assert found[f"dice_{name}"] == pytest.approx(float(compute_dice(*region)), **close)


def test_dice_of_nothing_is_one_as_monai_has_it() -> None:
    empty = torch.zeros(1, 3, 3, dtype=torch.long)
    ours = dice(region_counts(empty, empty, torch.tensor([[False, True]])))
    assert float(ours) == float(compute_dice(empty[None], empty[None], ignore_empty=False)) == 1.0


@seeds
def test_the_loss_of_masks(seed: int) -> None:
    logits, target = masks(seed)
    task = make_task(TaskSpec("segmentation", 4, options={"class_weights": BRATS_WEIGHTS}))
    soft = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)(
        logits, target[:, None]
    )
    crossed = torch.nn.CrossEntropyLoss(weight=torch.tensor(BRATS_WEIGHTS))(logits, target)
    assert float(task.loss(logits, target)) == pytest.approx(float(soft + crossed), **close)
