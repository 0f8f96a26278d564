"""LNLN and the evaluation under missing data, against numbers worked out on paper."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from cggm_core.engine.missing import missing_curve
from cggm_core.engine.trainer import Trainer
from cggm_core.errors import ConfigError
from cggm_core.measures.missing import RATES, area, parts_of, without
from cggm_core.methods._dominant_correction import mixture, reversed_gradient
from cggm_core.names import MetricKey
from cggm_core.protocols.data import Split
from cggm_core.protocols.model import pooled
from tests.support.training import tiny_config, tiny_data, trained

CURVE = (0.80, 0.78, 0.76, 0.73, 0.70, 0.66, 0.62, 0.58, 0.54, 0.50)


def test_what_is_missing_is_nested_in_the_rate() -> None:
    drawn = torch.tensor([[0.05, 0.35, 0.55, 0.75, 0.95]])
    kept = {rate: without(torch.ones(1, 5), torch.tensor([rate]), drawn)[0].tolist() for rate in (0.0, 0.5, 0.7)}
    assert kept == {0.0: [1, 1, 1, 1, 1], 0.5: [0, 0, 1, 1, 1], 0.7: [0, 0, 0, 1, 1]}


@pytest.mark.parametrize(("shape", "parts"), [((6,), (6,)), ((5, 3), (5, 1)), ((2, 4, 3), (1, 4, 3))])
def test_a_part_is_a_number_a_step_or_a_pixel(shape: tuple[int, ...], parts: tuple[int, ...]) -> None:
    assert parts_of(shape) == parts
    thinned = without(torch.ones(8, *shape), torch.full((8,), 0.5), torch.rand(8, *parts))
    gone = (thinned == 0).expand(8, *shape)
    assert torch.equal(gone.any(-1) if len(shape) == 2 else gone, gone.all(-1) if len(shape) == 2 else gone)
    if len(shape) == 3:
        assert torch.equal(gone[:, 0], gone[:, 1])
    assert 0 < gone.float().mean() < 1


def test_area_under_a_curve() -> None:
    assert sum(CURVE) / 10 == pytest.approx(0.667)
    assert area(CURVE) == pytest.approx(0.602)
    assert area(CURVE) / (0.9 * CURVE[0]) == pytest.approx(0.836111, abs=1e-6)


def test_mixture_of_proxy_and_own() -> None:
    found = mixture(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0.8]))
    assert found.flatten().tolist() == pytest.approx([0.2, 0.8])


def test_mixture_leaves_padding_unless_there_is_nothing_else() -> None:
    own = torch.tensor([[[0.0, 0.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = mixture(own, torch.tensor([[1.0, 1.0], [3.0, 3.0]]), torch.tensor([0.5, 0.5]))
    assert found.tolist() == [[[0.0, 0.0], [0.5, 1.5]], [[1.5, 1.5], [1.5, 1.5]]]
    assert pooled(own).tolist() == [[0.0, 2.0], [0.0, 0.0]]


def test_weighed_losses_add_up_as_on_paper() -> None:
    completeness = F.mse_loss(torch.tensor([0.8]), torch.tensor([0.75]))
    adversary = F.cross_entropy(torch.zeros(2, 2), torch.tensor([1, 0]))
    total = 0.9 * completeness + 0.8 * adversary + 0.1 * 0.2 + 0.25
    assert float(total) == pytest.approx(0.826768, abs=1e-6)
    assert float(adversary) == pytest.approx(math.log(2))


def test_gradient_reversal() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reversed_gradient(x)
    assert y.tolist() == [1.0, -2.0]
    (3 * y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-3.0, -3.0]


def test_every_run_meets_the_same_holes_and_keeps_its_random_state() -> None:
    data = tiny_data(tiny_config())
    before, seen = torch.get_rng_state(), []

    def score(split: Split) -> float:
        every = torch.arange(len(split))
        seen.append({m: source[every] == 0 for m, source in split.inputs.items()})
        return float(torch.cat([hole.float().flatten() for hole in seen[-1].values()]).mean())

    shares = missing_curve(score, data.splits["val"])
    assert shares == pytest.approx(RATES, abs=0.08)
    for fewer, more in pairwise(seen):
        assert all(bool((more[m] | ~fewer[m]).all()) for m in fewer)
    first, second, *_ = seen[5].values()
    assert not torch.equal(first, second)
    assert missing_curve(score, data.splits["val"]) == shares
    assert torch.equal(torch.get_rng_state(), before)


def test_the_score_under_missing_data_is_recorded_and_starts_at_the_plain_score() -> None:
    trainer, rows = trained(tiny_config("lnln"))
    curve = trainer.missing_curve("val")
    assert curve[0] == rows.epochs[1][MetricKey("val_score")]
    assert rows.epochs[1][MetricKey("val_missing_score")] == pytest.approx(sum(curve) / 10)
    assert MetricKey("test_missing_score") in trainer.validate("test")
    assert MetricKey("val_missing_score") not in trained(tiny_config())[1].epochs[1]


def test_trained_with_holes_it_stands_holes_better() -> None:
    given = {"epochs": 10, "dataset.samples": 400, "lr": 1e-2}
    found = {}
    for method in ("joint", "lnln"):
        trainer, _ = trained(tiny_config(method, **given))
        found[method] = sum(trainer.missing_curve("test")) / 10
    assert found["lnln"] > found["joint"] + 0.01, found


def test_completeness_is_learnt() -> None:
    _, rows = trained(tiny_config("lnln", epochs=12, lr=5e-3, **{"dataset.dim": 12}))
    key = MetricKey("completeness_error")
    errors = [row[key] for row in rows.steps.values() if key in row]
    assert sum(errors[-20:]) < 0.9 * sum(errors[:20]), (sum(errors[:20]), sum(errors[-20:]))


def test_an_unknown_dominant_modality_is_refused() -> None:
    config = tiny_config("lnln", **{"method.dominant": "smell"})
    with pytest.raises(ConfigError, match="dominant is 'smell', but the modalities are "):
        Trainer(config, tiny_data(config))
