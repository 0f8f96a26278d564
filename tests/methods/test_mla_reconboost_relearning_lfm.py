"""MLA, ReconBoost, diagnosing and re-learning, and LFM against numbers worked out on paper."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.errors import ConfigError
from cggm_core.methods.lfm import Lfm, alignment, blend, divergence
from cggm_core.methods.mla import gates, projector
from cggm_core.methods.reconboost import boosting_loss, stage
from cggm_core.methods.relearning import Relearning, purity, reset_share
from cggm_core.names import MetricKey
from tests.support.training import bits, tiny_config, tiny_data, trained


def with_entropy(h: float) -> torch.Tensor:
    """Logits of two classes with entropy h, by bisection."""
    low, high = 0.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        p = 1 / (1 + math.exp(-middle))
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        low, high = (middle, high) if entropy > h else (low, middle)
    return torch.tensor([low, 0.0], dtype=torch.float64)


def test_mla_gates() -> None:
    found = gates(torch.stack([with_entropy(0.2), with_entropy(0.5)])[:, None])
    assert found.flatten().tolist() == pytest.approx([0.574443, 0.425557], abs=1e-6)


def test_mla_projector_takes_out_the_direction_it_saw() -> None:
    found = projector(torch.eye(2, dtype=torch.float64), torch.tensor([2.0, 0.0], dtype=torch.float64), 0.1)
    # k = (2, 0), k k^T / (0.1 + 4): the first diagonal entry is 1 - 4/4.1
    expected = torch.tensor([[1 - 4 / 4.1, 0.0], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected / expected.norm())


def test_mla_never_trains_the_fusion_and_the_head_takes_a_step_a_modality() -> None:
    config = tiny_config("mla")
    trainer, _ = trained(config)
    steps = {name: trainer.optimiser.state[p].get("step") for name, p in trainer.model.named_parameters()}
    head = {id(p) for p in trainer.model.head.parameters()}
    modal = {id(p) for own in trainer.parameters.values() for p in own}
    for name, p in trainer.model.named_parameters():
        taken = steps[name]
        if id(p) in head:
            assert int(taken) == 3 * trainer.steps
        elif id(p) in modal:
            assert int(taken) == trainer.steps
        else:
            assert taken is None, name


@pytest.mark.parametrize(
    ("own", "others", "loss", "gradient"),
    [((0.0, 0.0), (0.0, 0.0), 1.559581, (-1.125, 1.125)), ((1.0, 0.0), (2.0, 0.0), 0.645194, None)],
)
def test_reconboost_loss(
    own: tuple[float, float], others: tuple[float, float], loss: float, gradient: tuple[float, float] | None
) -> None:
    z = torch.tensor([own], requires_grad=True)
    found, weight = boosting_loss(z, torch.tensor([others]), torch.tensor([0]), 5.0, 1.0)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert 4.0 <= weight.item() <= 5.0
    found.backward()
    if gradient:
        assert z.grad is not None
        assert z.grad[0].tolist() == pytest.approx(gradient)


def test_reconboost_stages() -> None:
    assert [stage(e, 1, 1, 3) for e in range(7)] == [
        (0, True), (0, False), (1, True), (1, False), (2, True), (2, False), (0, True),
    ]  # fmt: skip
    assert [stage(e, 2, 0, 2) for e in range(5)] == [(0, True), (0, True), (1, True), (1, True), (0, True)]


def test_reconboost_refuses_to_unlearn() -> None:
    config = tiny_config("reconboost", **{"method.agree": 1.0, "method.residual": 2.0})
    with pytest.raises(ConfigError, match=r"residual is 2.0, but must not be above agree, 1.0"):
        Trainer(config, tiny_data(config))


def test_reconboost_alone_moves_one_encoder_and_the_head() -> None:
    config = tiny_config("reconboost", epochs=1, weight_decay=0.0)
    fresh = Trainer(config, tiny_data(config))
    before = bits(fresh.model)
    fresh.fit()
    learning = sorted(fresh.model.modalities)[0]
    owners = {id(p): m for m, own in fresh.parameters.items() for p in own}
    head = {id(p) for p in fresh.model.head.parameters()}
    after = bits(fresh.model)
    for name, p in fresh.model.named_parameters():
        moves = owners.get(id(p)) == learning or id(p) in head
        assert (after[name] != before[name]) == moves, name


def test_relearning_share_and_purity() -> None:
    assert reset_share(0.2, 3.0) == pytest.approx(0.537050, abs=1e-6)
    assert reset_share(0.0, 3.0) == 0.0
    groups = np.repeat(np.array([[0.0, 1.0], [5.0, 1.0]]), 10, axis=0) + np.linspace(0, 0.1, 20)[:, None]
    assert purity(groups, np.repeat([0, 1], 10), 2, 0) == 1.0
    assert purity(groups, np.tile([0, 1], 10), 2, 0) == pytest.approx(0.5)
    assert purity(groups[:1], np.array([1]), 3, 0) == 1.0


def test_relearning_clusters_tokens_that_are_there() -> None:
    """Features by which classes part, of sequences of any length: padding must not move them."""
    config = tiny_config("relearning", modalities=2, **{"dataset.length": 4})
    data = tiny_data(config)
    method = Trainer(config, data).method
    assert isinstance(method, Relearning)
    target = data.splits["train"].target[torch.arange(32)]
    lengths = 1 + torch.arange(32) % 4

    class Padded(torch.nn.Module):
        def encode(self, inputs: object) -> dict[str, torch.Tensor]:
            there = torch.arange(4)[None] < lengths[:, None]
            value = (1.0 + target[:, None]) * there
            return dict.fromkeys(data.modalities, value[..., None].expand(32, 4, 2))

    method.context = replace(method.context, model=Padded())  # type: ignore[arg-type]
    method.knobs = {**method.knobs, "samples": 32}  # type: ignore[misc]
    assert method._purities("train") == dict.fromkeys(data.modalities, 1.0)


def test_relearning_takes_every_encoder_back_by_its_share_and_resumes(tmp_path) -> None:
    config = tiny_config("relearning", epochs=4, **{"method.every": 1, "method.times": 2})
    trainer = Trainer(config, tiny_data(config))
    first = {m: [p.detach().clone() for p in own] for m, own in trainer.parameters.items()}
    seen: list[dict[str, list[torch.Tensor]]] = []
    plain = trainer.method.on_epoch_end

    def around(epoch: int, report: object) -> None:
        before = {m: [p.detach().clone() for p in own] for m, own in trainer.parameters.items()}
        plain(epoch, report)  # type: ignore[arg-type]
        for m, own in trainer.parameters.items():
            share = trainer.method.state_dict()["shares"][m] if epoch < 2 else 0.0
            for now, was, start in zip(own, before[m], first[m], strict=True):
                torch.testing.assert_close(now.detach(), share * start + (1 - share) * was)
        seen.append(before)

    trainer.method.on_epoch_end = around  # type: ignore[method-assign]
    trainer.fit()
    assert len(seen) == 4
    assert any(share > 0 for share in trainer.method.state_dict()["shares"].values())
    half = Trainer(config, tiny_data(config))
    half.fit(between=lambda place: place.step < 17)
    torch.save(half.state_dict(), tmp_path / "state")
    resumed = Trainer(config, tiny_data(config))
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    resumed.fit()
    assert bits(resumed.model) == bits(trainer.model)


def test_lfm_divergence_and_blend() -> None:
    p, q = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert float(divergence(p, q)) == pytest.approx(0.053300, abs=1e-6)
    assert float(divergence(p, p)) == pytest.approx(0.0, abs=1e-7)
    assert float(alignment([p, q, q])) == pytest.approx(2 * 0.0533 / 3, abs=1e-5)
    assert float(blend(torch.tensor(3.0), torch.tensor(1.0), 0.5)) == pytest.approx(4.0)
    assert float(blend(torch.tensor(3.0), torch.tensor(1.0), 0.95)) == pytest.approx(2.2)


def test_lfm_moves_its_weight_and_stays_inside_the_range() -> None:
    trainer, rows = trained(tiny_config("lfm", epochs=3, **{"method.eta": 1.0, "method.alpha": 0.5}))
    found = {row[MetricKey("loss_weight")] for row in rows.steps.values()}
    assert len(found) == 3
    assert isinstance(trainer.method, Lfm)
    wild, _ = trained(tiny_config("lfm", epochs=3, **{"method.eta": 1e6, "method.alpha": 0.5}))
    assert isinstance(wild.method, Lfm)
    assert wild.method.alpha in (0.05, 0.95)
