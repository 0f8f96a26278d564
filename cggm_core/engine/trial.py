"""Trial trainings: a copy of everything learns another objective for some epochs, and the run keeps every bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from cggm_core.config import Training
from cggm_core.engine.beside import Beside, Stage
from cggm_core.engine.devices import Precision
from cggm_core.engine.optimisers import build_optimiser
from cggm_core.engine.seeding import order
from cggm_core.protocols.data import DataBundle, take
from cggm_core.protocols.method import Objective, TrialLosses
from cggm_core.protocols.model import MultimodalModel

_SEED_SHIFT = 104_729  # a trial must not repeat the order in which the run sees its samples

Learning = tuple[MultimodalModel, Mapping[str, nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True)
class Trials:
    """Where and with what trials are trained: as the run is, from where it stands, optimiser state included.

    Args:
        data: training split to learn from, validation split to measure on.
        settings: kind of optimiser, batch size, clipping, seed, precision.
        device: where the run trains.
        precision: number format of forward passes.
        learning: gives the run's model, the method's modules and the optimiser, when a trial begins.
        beside: who listens meanwhile. A trial that is stopped leaves nothing behind; it is made anew after a resume.
    """

    data: DataBundle
    settings: Training
    device: torch.device
    precision: Precision
    learning: Callable[[], Learning]
    beside: Beside

    def run(self, objective: Objective, epochs: int) -> TrialLosses:
        """Train a copy on `objective` for `epochs` passes; the objective's mean before and after, on both splits.

        Costs the time of that training. Random state, weights and optimiser of the run are as before.

        Raises:
            Stopped: if the run is told to stop meanwhile.
        """
        course = self._course(epochs)
        with self.beside.apart():
            model, modules, optimiser = self._copied()
            before = self._means(objective, model, modules, course)
            self._train(objective, epochs, model, modules, optimiser, course)
            after = self._means(objective, model, modules, course)
        return TrialLosses(before[0], after[0], before[1], after[1])

    def _course(self, epochs: int) -> Iterator[Stage]:
        """Every batch of a trial, its two evaluations included."""
        batches = {name: -(-len(self.data.splits[name]) // self.settings.batch_size) for name in ("train", "val")}
        steps = epochs * batches["train"] + 2 * sum(batches.values())
        return (Stage("trial training beside the run", step, steps) for step in range(steps))

    def _copied(self) -> Learning:
        model, modules, optimiser = self.learning()
        memo: dict[int, object] = {}
        twin, parts = copy.deepcopy((model, dict(modules)), memo)
        groups = {group["name"]: [memo[id(p)] for p in group["params"]] for group in optimiser.param_groups}
        made = build_optimiser(groups, self.settings, self.settings.lr)  # type: ignore[arg-type]
        made.load_state_dict(copy.deepcopy(optimiser.state_dict()))
        return twin, parts, made

    def _train(
        self, objective: Objective, epochs: int, model: MultimodalModel, modules: Mapping[str, nn.Module],
        optimiser: torch.optim.Optimizer, course: Iterator[Stage],
    ) -> None:  # fmt: skip
        settings, split = self.settings, self.data.splits["train"]
        scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        chosen = [p for group in optimiser.param_groups for p in group["params"]]
        _mode(model, modules, training=True)
        for epoch in range(epochs):
            for index in order(settings.seed + _SEED_SHIFT, epoch, len(split)).split(settings.batch_size):
                self.beside.ask(next(course))
                optimiser.zero_grad(set_to_none=True)
                with self.precision.forward():
                    loss = objective(model, modules, take(split, index, self.device))
                scaler.scale(loss).backward()
                scaler.unscale_(optimiser)
                if settings.gradient_clip > 0:
                    nn.utils.clip_grad_norm_(chosen, settings.gradient_clip)
                scaler.step(optimiser)
                scaler.update()

    @torch.no_grad()
    def _means(
        self, objective: Objective, model: MultimodalModel, modules: Mapping[str, nn.Module], course: Iterator[Stage]
    ) -> tuple[float, float]:
        """Means of the objective over the samples of the training and of the validation split."""
        _mode(model, modules, training=False)
        found = []
        for name in ("train", "val"):
            split, total = self.data.splits[name], torch.zeros((), device=self.device)
            for index in torch.arange(len(split)).split(self.settings.batch_size):
                self.beside.ask(next(course))
                with self.precision.forward():
                    total += objective(model, modules, take(split, index, self.device)).float() * len(index)
            found.append(float(total) / len(split))
        return found[0], found[1]


def _mode(model: nn.Module, modules: Mapping[str, nn.Module], *, training: bool) -> None:
    for module in (model, *modules.values()):
        module.train(training)
