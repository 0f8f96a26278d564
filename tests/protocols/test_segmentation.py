"""Segmentation: derivatives against autograd, Dice by hand and against scikit-learn, parts against the whole."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from cggm_core.errors import DataError
from cggm_core.measures.directions import cosines, head_gradient
from cggm_core.measures.scores import dice, region_counts
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.segmentation import BRATS_REGIONS, BRATS_WEIGHTS
from cggm_core.protocols.tasks import make_task

BRATS = {"class_weights": BRATS_WEIGHTS, "regions": BRATS_REGIONS}
SETTINGS = [(2, {}), (5, {}), (4, BRATS), (3, {"class_weights": (0.1, 1.0, 7.0)})]
law = pytest.mark.parametrize(("classes", "options"), SETTINGS)


def case(classes, options, batch=4, size=(7, 5), seed=0):
    torch.manual_seed(seed)
    task = make_task(TaskSpec("segmentation", classes, options=options))
    return task, 2 * torch.randn(batch, classes, *size), torch.randint(0, classes, (batch, *size))


@law
def test_the_closed_derivative_is_autograds(classes, options):
    task, logits, target = case(classes, options)
    logits.requires_grad_()
    (autograd,) = torch.autograd.grad(task.loss(logits, target), logits)
    torch.testing.assert_close(task.logit_gradient(logits, target), autograd, rtol=1e-5, atol=1e-7)


@law
def test_the_closed_derivative_holds_where_classes_are_missing(classes, options):
    task, logits, target = case(classes, options)
    logits.requires_grad_()
    for only in (torch.zeros_like(target), torch.full_like(target, classes - 1)):
        (autograd,) = torch.autograd.grad(task.loss(logits, only), logits)
        torch.testing.assert_close(task.logit_gradient(logits, only), autograd, rtol=1e-5, atol=1e-7)


@law
def test_the_heads_gradient_and_its_derivative_are_those_of_double_backward(classes, options):
    """G_F in closed form, and what the direction term sends through it into whatever came before."""
    task, _, target = case(classes, options)
    before, head = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, classes, 1)
    x, reference = torch.randn(4, 2, 7, 5), torch.randn(1, classes * 6)
    parameters = [*before.parameters(), *head.parameters()]

    def found(closed):
        fused = before(x).tanh()
        logits = head(fused)
        derivative = task.logit_gradient(logits, target) if closed else None
        made = head_gradient(head, fused, derivative, task.loss(logits, target))
        return made, torch.autograd.grad(cosines(made.flatten(), reference).sum(), parameters, allow_unused=True)

    (closed, first), (double, second) = found(True), found(False)
    torch.testing.assert_close(closed, double, rtol=1e-5, atol=1e-6)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_loss_by_hand():
    """Two pixels, p = (1/2, 1/2) each, truth background and foreground: D = (2 * 0.5 + 1) / (1 + 1 + 1) = 2/3."""
    task, _, _ = case(2, {})
    loss = task.loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    assert loss.item() == pytest.approx(1 - 2 / 3 + math.log(2))


def test_class_weights_weigh_pixels_and_their_scale_does_not_matter():
    logits, target = torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]]]]), torch.tensor([[[1, 0]]])
    one, two, even = (
        make_task(TaskSpec("segmentation", 2, options={"class_weights": w} if w else {})).loss(logits, target)
        for w in ((1.0, 3.0), (2.0, 6.0), ())
    )
    softened = math.log(1 + math.exp(-2))
    assert one.item() == pytest.approx(two.item())
    assert (one - even).item() == pytest.approx((3 * math.log(2) + softened) / 4 - (math.log(2) + softened) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_dice_is_scikit_learns_f1(seed):
    task, logits, target = case(4, BRATS, batch=3, size=(9, 8), seed=seed)
    found, predicted = task.metrics(logits, target), logits.argmax(1).numpy().ravel()
    truth, single = target.numpy().ravel(), {}
    for name, labels in {**BRATS_REGIONS, "": (1, 2, 3)}.items():
        single[name] = f1_score(np.isin(truth, labels), np.isin(predicted, labels))
    assert found["dice"] == pytest.approx(single.pop(""), abs=1e-6)
    assert found["dice_wt"] == found["dice"]
    assert {n: found[f"dice_{n}"] for n in single} == pytest.approx(single, abs=1e-6)
    assert found["dice_mean"] == pytest.approx(sum(single.values()) / 3, abs=1e-6)
    assert task.score(logits, target).item() == pytest.approx(found["dice_mean"], abs=1e-12)


def test_without_regions_the_score_is_the_mean_over_foreground_classes():
    task, logits, target = case(5, {})
    wanted = f1_score(target.ravel(), logits.argmax(1).ravel(), labels=[1, 2, 3, 4], average="macro")
    assert task.score(logits, target).item() == pytest.approx(wanted, abs=1e-6)
    assert set(task.metrics(logits, target)) == {"dice", "dice_mean"}
    two, logits, target = case(2, {})
    assert two.metrics(logits, target) == {"dice": two.score(logits, target).item()}


def test_a_region_that_is_nowhere_counts_as_found():
    members = torch.tensor([[False, True, False], [False, False, True], [False, True, True]])
    nothing, one = torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([[[1, 0], [0, 0]]])
    assert dice(region_counts(nothing, nothing, members)).tolist() == [1, 1, 1]
    assert dice(region_counts(one, nothing, members)).tolist() == [0, 1, 0]
    assert dice(region_counts(one, one, members)).tolist() == [1, 1, 1]


@law
def test_parts_add_up_to_the_whole(classes, options):
    task, logits, target = case(classes, options, batch=11)
    tally = task.tally()
    for z, y in zip(logits.split(4), target.split(4), strict=True):
        tally.add(z, y)
    assert tally.loss().item() == pytest.approx(task.loss(logits, target).item(), abs=1e-6)
    assert tally.score().item() == task.score(logits, target).item()
    assert tally.metrics() == task.metrics(logits, target)


def test_scores_carry_no_gradient_and_are_exact():
    task, logits, target = case(3, {})
    score = task.score(logits.requires_grad_(), target)
    assert score.dtype == torch.float64
    assert not score.requires_grad
    assert task.chance == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weights": (1.0, 2.0)}, "expected 3 numbers above 0"),
        ({"class_weights": (1.0, 0.0, 2.0)}, "expected 3 numbers above 0"),
        ({"regions": {"wt": (1, 3)}}, "labels from 0 to 2"),
        ({"regions": {"wt": ()}}, "labels from 0 to 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        make_task(TaskSpec("segmentation", 3, options=options))


@pytest.mark.parametrize("task", ["classification"])
def test_the_plain_tally_asks_the_task_once(task):
    torch.manual_seed(0)
    made, logits, target = make_task(TaskSpec(task, 4)), torch.randn(30, 4), torch.randint(0, 4, (30,))
    tally = made.tally()
    for z, y in zip(logits.split(8), target.split(8), strict=True):
        tally.add(z, y)
    assert tally.loss() == made.loss(logits, target)
    assert tally.score() == made.score(logits, target)
    assert tally.metrics() == made.metrics(logits, target)
