"""Scaling updates: what scaling gradients is under plain descent, and what Adam and clipping cannot undo."""

from typing import Any

import pytest
import torch
from torch import nn

import cggm_core
from cggm_core.engine.trainer import Trainer
from cggm_core.errors import CapabilityError, PhaseError
from cggm_core.names import MetricKey
from tests.support.training import Rows, tiny_config, tiny_data
from tests.support.watching import batches, built, encoders, loop, series


def values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def after(steps: int, **given: Any) -> tuple[Trainer, Rows]:
    config = tiny_config("cggm", **{"method.variant": "stable", "method.direction": False, **given})
    trainer, rows = Trainer(config, tiny_data(config)), Rows()
    trainer.fit(rows, between=lambda place: place.step < steps)  # type: ignore[arg-type]
    return trainer, rows


def test_under_plain_descent_it_is_the_same_as_scaling_the_gradient() -> None:
    plain = {"optimiser": "sgd", "momentum": 0.0, "lr": 0.1}
    (one, rows), (other, again) = (after(15, **plain, **{"method.scales": s}) for s in ("gradient", "update"))
    for name, value in values(one.model).items():
        torch.testing.assert_close(value, values(other.model)[name], rtol=1e-4, atol=1e-6)
    key = MetricKey("balance_coefficient", "m1")
    assert max(abs(row[key] - 1) for row in rows.steps.values()) > 0.02
    assert again.steps[14][key] == pytest.approx(rows.steps[14][key], rel=1e-4)


@pytest.mark.parametrize("given", [{"optimiser": "adam"}, {"optimiser": "sgd", "gradient_clip": 1e-3}, {
    "optimiser": "adamw", "weight_decay": 0.1}])  # fmt: skip
def test_adam_and_clipping_do_not_undo_it(given: dict[str, Any]) -> None:
    """One step of `paper`, whose first coefficients are far from 1, against the same step of joint training."""
    knobs = {"method.variant": "paper", "method.scales": "update", "method.rho": 3.0}
    config = tiny_config(**given)
    joint = Trainer(config, tiny_data(config))
    start = values(joint.model)
    joint.fit(between=lambda place: place.step < 1)
    trainer, rows = after(1, **given, **knobs)
    own = {id(p): m for m, group in trainer.parameters.items() for p in group}
    for name, parameter in trainer.model.named_parameters():
        plain = values(joint.model)[name] - start[name]
        modality = own.get(id(parameter))
        factor = rows.steps[0][MetricKey("balance_coefficient", modality)] if modality else 1.0
        torch.testing.assert_close(parameter.detach() - start[name], factor * plain, rtol=1e-3, atol=1e-7)
    assert all(rows.steps[0][MetricKey("balance_coefficient", m)] > 1.1 for m in trainer.parameters)


def test_gradients_stay_as_they_were_and_the_update_ratio_tells_it() -> None:
    row = after(12, **{"method.scales": "update"})[1].steps[11]
    for m in ("m1", "m2", "m3"):
        assert row[MetricKey("gradient_norm", m)] == row[MetricKey("gradient_norm_raw", m)]
    again = after(12, **{"method.scales": "update", "method.rho": 2.0})[1].steps[0]
    first = after(12, **{"method.scales": "update", "method.rho": 1.0})[1].steps[0]
    for m in ("m1", "m2", "m3"):
        assert again[MetricKey("balance_coefficient", m)] == pytest.approx(2.0)
        assert again[MetricKey("update_ratio", m)] == pytest.approx(2 * first[MetricKey("update_ratio", m)], rel=1e-4)


def test_it_is_asked_for_in_its_own_moment() -> None:
    config = tiny_config()
    trainer = Trainer(config, tiny_data(config))

    def early(step: Any) -> None:
        step.scale_updates({"m1": torch.ones(())})

    with pytest.raises(PhaseError, match="updates can be scaled in on_gradients only"):
        trainer.fit(on_step=early)


def loop_of(runs_root: Any, scales: str, optimisers: Any) -> tuple[nn.Module, Any]:
    net = built()
    made = optimisers(net)
    knobs = {"scales": scales}
    common: dict[str, Any] = {"task": "classification", "method": "cggm", "preset": "stable", "runs": runs_root}
    watch = cggm_core.watch(encoders(net), head=net.head, knobs=knobs, optimiser=made, **common)
    for audio, text, target in batches(12):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(audio, text), target)
        loss.backward()
        watch.step(loss, target)
        for optimiser in made:
            optimiser.step()
    watch.close()
    return net, watch


def two(net: Any) -> list[torch.optim.Optimizer]:
    rest = [p for name, p in net.named_parameters() if not name.startswith("audio")]
    return [torch.optim.SGD(net.audio.parameters(), lr=0.5), torch.optim.SGD(rest, lr=0.5)]


def test_a_watched_loop_scales_what_its_optimisers_do(runs_root: Any) -> None:
    (one, _), (other, watch) = (loop_of(runs_root, scales, two) for scales in ("gradient", "update"))
    for name, value in values(one).items():
        torch.testing.assert_close(values(other)[name], value, rtol=1e-4, atol=1e-6)
    assert max(abs(b - 1) for b in series(watch, "balance_coefficient", "audio")) > 0.01


def test_a_watched_optimiser_that_skips_a_step_scales_nothing_later(runs_root: Any) -> None:
    """As a loss scaler does that saw an infinity: the step after it must not reach back behind it."""
    net = built()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    watch = cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", preset="stable", runs=runs_root,
        optimiser=optimiser, knobs={"rho": 0.5},
    )  # fmt: skip
    for index, (audio, text, target) in enumerate(batches(4)):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(audio, text), target)
        loss.backward()
        watch.step(loss, target)
        if index != 1:
            before = values(net)
            optimiser.step()
            factor = {m: series_now(watch, m) for m in ("audio", "text")}
            for name, p in net.named_parameters():
                expected = factor.get(name.split(".")[0], 1.0) * -0.5 * p.grad
                torch.testing.assert_close(p.detach() - before[name], expected, rtol=1e-3, atol=1e-6)
    watch.close()
    assert not optimiser._optimizer_step_post_hooks


def series_now(watch: Any, modality: str) -> float:
    """The coefficient of the step that is not recorded yet."""
    step, _ = watch._pending
    return float(step.scaled[modality])


def test_a_watch_whose_optimiser_lacks_an_encoder_says_what_is_missing(runs_root: Any) -> None:
    net = built()
    watch = cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", preset="stable", runs=runs_root,
        optimiser=torch.optim.SGD(net.head.parameters(), lr=0.1),
    )  # fmt: skip
    with pytest.raises(CapabilityError, match="in no optimiser the watch was given: add optimiser="):
        loop(net, torch.optim.SGD(net.parameters(), lr=0.1), watch, 2)
