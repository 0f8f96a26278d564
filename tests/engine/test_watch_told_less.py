"""A watch that is told less than it could use, or something it cannot use: it says so, and the training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cggm_core
from cggm_core.errors import CapabilityError, DataError
from tests.support.watching import TwoTowers, batches, built, encoders, info, loop, notes, series


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=1e-2)


def stepped(watch: cggm_core.Watch, net: Any, *, told: bool) -> None:
    audio, text, target = next(batches(1))
    loss = nn.functional.cross_entropy(net(audio, text), target)
    loss.backward()
    watch.step(loss, target if told else None)


def test_a_method_needs_the_target_of_the_first_step(runs_root: Path) -> None:
    net = built()
    told: dict[str, Any] = {"head": net.head, "task": "classification", "method": "cggm", "runs": runs_root}
    with (
        pytest.raises(DataError, match=r"watch.step\(loss, target\)"),
        cggm_core.watch(encoders(net), **told) as watch,
    ):
        stepped(watch, net, told=False)


@pytest.mark.parametrize(
    ("head", "outputs", "how", "said"),
    [(True, 0, "no target", "the first step gave no target"), (False, 0, "", "give head= or outputs=")],
)
def test_a_task_that_lacks_what_it_needs_is_left_out_and_said(
    head: bool, outputs: int, how: str, said: str, runs_root: Path
) -> None:
    net = built()
    given = net.head if head else None
    with cggm_core.watch(encoders(net), head=given, outputs=outputs, task="classification", runs=runs_root) as watch:
        stepped(watch, net, told=how != "no target")
        loop(net, adam(net), watch, 2)
    assert info(watch).state == "finished"
    assert len(series(watch, "gradient_norm", "text")) == 3
    assert sum(said in note for note in notes(watch.folder)) == 1


def test_how_many_numbers_are_predicted_the_first_target_tells(runs_root: Path) -> None:
    net = built(lambda: TwoTowers(1))
    with cggm_core.watch(encoders(net), task="regression", runs=runs_root) as watch:
        loop(net, adam(net), watch, 3, "regression")
    assert len(series(watch, "unimodal_score", "text")) == 3
    assert not any("left out" in note for note in notes(watch.folder))


@pytest.mark.parametrize("where", ["validate", "end_epoch", "step"])
def test_what_fails_outside_a_step_ends_the_watch_alone(where: str, runs_root: Path) -> None:
    net = built()
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root)
    loop(net, adam(net), watch, 2)
    audio, text, target = next(batches(1))
    loss = nn.functional.cross_entropy(net(audio, text), target)
    if where == "validate":
        watch.validate(target - 100)
    elif where == "end_epoch":
        watch.end_epoch({"my_metric": "much"})  # type: ignore[dict-item]
    else:
        watch.step(loss, target - 100)
    loop(net, adam(net), watch, 2)
    assert info(watch).state == "failed"


@pytest.mark.parametrize("rate", [1, torch.tensor(0.5)])
def test_a_learning_rate_of_any_kind_is_recorded(rate: Any, runs_root: Path) -> None:
    net = built()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    optimiser.param_groups[0]["lr"] = rate
    with cggm_core.watch(encoders(net), optimiser=optimiser, runs=runs_root) as watch:
        loop(net, optimiser, watch, 2)
    assert series(watch, "learning_rate") == [float(rate)] * 2


def test_sparse_gradients_are_refused(runs_root: Path) -> None:
    words, sound, head = nn.EmbeddingBag(9, 8, sparse=True), nn.Linear(6, 8), nn.Linear(8, 3)
    with cggm_core.watch({"words": words, "sound": sound}, runs=runs_root) as watch:
        loss = head(words(torch.randint(9, (4, 5))) + sound(torch.randn(4, 6))).square().mean()
        loss.backward()
        with pytest.raises(CapabilityError, match="encoder 'words' has sparse gradients"):
            watch.step(loss)
