"""The synthetic family: its truth must be true."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from cggm_core.datasets._truth import ceiling, regression_ceiling, segmentation_ceiling, truth
from cggm_core.datasets.synthetic import SQUARE, Synthetic
from cggm_core.errors import ConfigError


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for one another on busy cores make these small models many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probe(data, modality):
    """Test accuracy of a linear classifier on one modality, which is the best there is for these codes."""
    train, test = data.splits["train"], data.splits["test"]
    read = {name: part.inputs[modality] for name, part in data.splits.items()}
    flat = {name: (x.mean(1) if x.dim() == 3 else x).double().numpy() for name, x in read.items()}
    fitted = LogisticRegression(C=100.0, max_iter=2000).fit(flat["train"], train.target)
    return fitted.score(flat["test"], test.target)


@pytest.mark.parametrize("length", [1, 6])
def test_unimodal_accuracy_follows_informativeness_up_to_the_ceiling(length):
    builder = Synthetic(samples=6000, dim=10, length=length, informative="0.9,0.5,0.0", noise="0.5", seed=3)
    data = builder.build()
    found = {m: probe(data, m) for m in data.modalities}
    assert found["m1"] > found["m2"] + 0.1 > found["m3"] + 0.2
    for m, value in builder.truth().ceilings.items():
        assert value == pytest.approx(found[m], abs=0.04)


def test_speed_leaves_the_ceiling_and_slows_gradient_descent():
    data = Synthetic(modalities=2, samples=6000, informative="1", noise="0.3", speed="1,0.1", seed=1).build()
    assert abs(probe(data, "m1") - probe(data, "m2")) < 0.03
    after = {}
    for m in data.modalities:
        x, y = data.splits["train"].inputs[m], data.splits["train"].target
        head = torch.nn.Linear(x.shape[1], 4)
        torch.nn.init.zeros_(head.weight)
        optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
        for _ in range(30):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(head(x), y)
            loss.backward()
            optimiser.step()
        after[m] = loss.item()
    assert after["m1"] < 0.75 * after["m2"]


def test_the_code_is_as_much_smaller_as_speed_says():
    sizes = []
    for speed in ("1", "0.25"):
        data = Synthetic(modalities=2, samples=20_000, dim=40, informative="1", speed=speed).build()
        x, y = data.splits["train"].inputs["m1"], data.splits["train"].target
        means = torch.stack([x[y == c].mean(0) for c in range(4)])
        sizes.append((means - means.mean(0)).norm().item())
    assert sizes[1] / sizes[0] == pytest.approx(0.25, rel=0.1)


def test_ceilings_by_hand():
    assert ceiling(4, 0.0, 0.3) == pytest.approx(0.25)
    assert ceiling(4, 1.0, 0.0) == 1.0
    assert ceiling(4, 0.6, 0.0) == pytest.approx(0.7)
    two = 0.5 * math.erfc(-(1 / 0.5) / 2)
    assert ceiling(2, 1.0, 0.5) == pytest.approx(two, abs=1e-9)
    assert ceiling(10, 1.0, 1e6) == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize(("length", "speed"), [(1, "1"), (6, "1"), (1, "0.2")])
def test_unimodal_error_of_regression_follows_informativeness_up_to_the_ceiling(length, speed):
    builder = Synthetic(
        task="regression",
        samples=6000,
        dim=10,
        length=length,
        informative="0.95,0.6,0",
        noise="0.4",
        speed=speed,
        seed=3,
    )
    data = builder.build()
    assert data.task.name == "regression"
    for m, best in builder.truth().ceilings.items():
        read = {name: part.inputs[m] for name, part in data.splits.items()}
        flat = {name: (x.mean(1) if x.dim() == 3 else x).double().numpy() for name, x in read.items()}
        fitted = LinearRegression().fit(flat["train"], data.splits["train"].target[:, 0])
        error = np.abs(fitted.predict(flat["test"]) - data.splits["test"].target[:, 0].numpy()).mean()
        assert -error == pytest.approx(best, abs=0.03)
    assert builder.truth().dominant == "m1"


def test_ceilings_of_regression_by_hand():
    blind = -math.sqrt(2 / math.pi)
    assert regression_ceiling(0.0, 0.3) == blind
    assert regression_ceiling(1.0, 0.0) == 0.0
    assert regression_ceiling(0.6, 0.0) == pytest.approx(0.8 * blind)
    assert regression_ceiling(1.0, 1.0) == pytest.approx(math.sqrt(0.5) * blind)


def test_the_truth_of_regression():
    def dominant(informative, speed=(1, 1)):
        by_name = (dict(zip("ab", v, strict=True)) for v in (informative, (0.3, 0.3), speed))
        return truth(
            classes=4, task="regression", **dict(zip(("informative", "noise", "speed"), by_name, strict=True))
        ).dominant

    assert dominant((0.9, 0.5)) == "a"
    assert dominant((0.8, 0.8)) is None
    assert dominant((0.8, 0.8), (0.2, 1)) == "b"
    assert dominant((0.1, 0.0)) is None


def best_dice(values, target):
    """Dice of the best threshold on one number a square."""
    order = np.argsort(-values)
    hits, said = np.cumsum(target[order]), np.arange(1, len(order) + 1)
    return float((2 * hits / (said + target.sum())).max())


@pytest.mark.parametrize("speed", ["1", "0.2"])
def test_unimodal_dice_follows_informativeness_up_to_the_ceiling(speed):
    builder = Synthetic(
        task="segmentation", samples=2000, dim=16, informative="0.95,0.6,0", noise="0.4", speed=speed, seed=3
    )
    data = builder.build()
    assert (data.task.name, data.task.outputs) == ("segmentation", 2)
    test = data.splits["test"]
    target = test.target[:, ::SQUARE, ::SQUARE].flatten().numpy()
    assert target.mean() == pytest.approx(0.25, abs=0.02)
    for m, best in builder.truth().ceilings.items():
        assert test.inputs[m].shape[1:] == (1, 16, 16)
        means = torch.nn.functional.avg_pool2d(test.inputs[m], SQUARE).flatten().double().numpy()
        assert best_dice(means, target) == pytest.approx(best, abs=0.03)
    assert builder.truth().dominant == "m1"


def test_speed_makes_the_code_of_images_as_much_smaller():
    sizes = []
    for speed in ("1", "0.25"):
        split = Synthetic(
            task="segmentation", modalities=2, samples=1000, dim=16, informative="1", speed=speed
        ).build().splits["train"]  # fmt: skip
        x, y = split.inputs["m1"][:, 0], split.target
        sizes.append(float(x[y == 1].mean() - x[y == 0].mean()))
    assert sizes[1] / sizes[0] == pytest.approx(0.25, rel=0.1)


def test_ceilings_of_segmentation_by_hand():
    assert segmentation_ceiling(1.0, 0.0) == 1.0
    assert segmentation_ceiling(0.6, 0.0) == pytest.approx(0.7)  # 0.6 + 0.4 / 4
    assert segmentation_ceiling(0.0, 0.0) == pytest.approx(0.4)  # all foreground
    assert segmentation_ceiling(1.0, 1e6) == pytest.approx(0.4, abs=1e-3)
    assert segmentation_ceiling(1.0, 0.3) < segmentation_ceiling(1.0, 0.2) < 1.0


def verdict(informative, speed=(1, 1), noise=(0.3, 0.3)):
    return truth(
        classes=4, informative=dict(zip("ab", informative, strict=True)),
        noise=dict(zip("ab", noise, strict=True)), speed=dict(zip("ab", speed, strict=True)),
    ).dominant  # fmt: skip


def test_the_truth():
    assert verdict((0.9, 0.5)) == "a"
    assert verdict((0.5, 0.9)) == "b"
    assert verdict((0.9, 0.9)) is None
    assert verdict((0.9, 0.9), speed=(1, 0.2)) == "a"
    assert verdict((0.9, 0.5), speed=(0.2, 1)) == "a"
    assert verdict((0.9, 0.9), noise=(2.0, 0.1)) == "b"
    assert verdict((0.0, 0.0), speed=(1, 0.1)) is None


@pytest.mark.parametrize("task", ["classification", "regression", "segmentation"])
def test_a_further_modality_changes_none_of_the_others(task):
    two, three = (Synthetic(task=task, modalities=n, samples=200).build() for n in (2, 3))
    for m in ("m1", "m2"):
        assert torch.equal(two.splits["train"].inputs[m], three.splits["train"].inputs[m])


def test_lists_repeat_their_last_number_and_ignore_what_is_beyond():
    assert Synthetic(modalities=4, informative="0.5,1").informative == {"m1": 0.5, "m2": 1, "m3": 1, "m4": 1}
    assert Synthetic(modalities=2, noise="0.1, 0.2, 9").noise == {"m1": 0.1, "m2": 0.2}


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"informative": "0.5,much"}, r"informative must be numbers .*at most 1; found 'much' in '0.5,much'"),
        ({"informative": "1.5"}, r"informative .* found '1.5'"),
        ({"informative": ""}, r"informative .* found ''"),
        ({"noise": "-1"}, r"noise .*at least 0; found '-1'"),
        ({"noise": "nan"}, r"noise .* found 'nan'"),
        ({"noise": "inf"}, r"noise .* found 'inf'"),
        ({"speed": "0"}, r"speed .*above 0, at most 1; found '0'"),
        ({"dim": 3}, r"dim is 3, expected at least 4"),
        ({"dim": 4, "speed": "0.5"}, r"dim is 4, expected at least 5.*lowers speed"),
        ({"task": "segmentation", "dim": 18}, r"dim is 18, expected a multiple of 4 from 8"),
        ({"task": "segmentation", "dim": 4}, r"dim is 4, expected a multiple of 4 from 8"),
        ({"classes": 10, "samples": 99}, r"samples is 99, expected at least 100"),
    ],
)
def test_knobs_that_cannot_be_met(knobs, expected):
    with pytest.raises(ConfigError, match=expected):
        Synthetic(**knobs)


def test_the_smallest_and_the_widest_are_built():
    small = Synthetic(modalities=2, classes=2, samples=20, dim=2, informative="0", noise="0").build()
    assert all(torch.isfinite(x).all() for s in small.splits.values() for x in s.inputs.values())
    wide = Synthetic(modalities=8, classes=64, samples=640, dim=65, length=2, speed="0.01").build()
    assert len(wide.modalities) == 8
    assert set(np.unique(wide.splits["val"].target)) == set(range(64))
