"""Training in plain sight: epochs of steps, validation, checkpoints, and a word from outside between two steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core import catalog
from cggm_core.cards import MethodCard, Value
from cggm_core.config import RunConfig
from cggm_core.engine.beside import Beside, Stage, Stopped
from cggm_core.engine.costs import Costs, clock_of
from cggm_core.engine.devices import Precision, choose_device
from cggm_core.engine.evaluate import evaluate
from cggm_core.engine.looks import Looks
from cggm_core.engine.measuring import Measuring
from cggm_core.engine.missing import missing_curve
from cggm_core.engine.optimisers import SHARED, build_optimiser, rate_factor, set_rate
from cggm_core.engine.pretraining import Pretraining
from cggm_core.engine.readers import UnimodalReaders
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.seeding import order, random_state, restore_random_state, seed_everything
from cggm_core.engine.train_step import Parts, train_step
from cggm_core.engine.trial import Trials
from cggm_core.errors import CapabilityError
from cggm_core.measures.costs import Size, size_of
from cggm_core.measures.gradients import measure_dtype
from cggm_core.names import MetricKey
from cggm_core.protocols.data import DataBundle, Split, take
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import ModelBuilder, MultimodalModel, encoder_parameters
from cggm_core.protocols.step import CAPABILITIES, Step
from cggm_core.protocols.tasks import make_task

_EVALUATED_VALUES = 2**22  # input values predicted together: large images in smaller parts


@dataclass
class Place:
    """Where training stands: the next step to take.

    Attributes:
        step: optimiser step, from 0.
        epoch: pass over the data, from 0.
        batch: batch inside the epoch, from 0.
        beside: what trains beside the run before that step (teachers, trials), and how far it is; else None.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    beside: Stage | None = None


def check_method(config: RunConfig, data: DataBundle) -> None:
    """Whether the method fits the data.

    Raises:
        CapabilityError: before the first step, with what would fit.
    """
    card = catalog.card("method", config.method)
    low, high = card.modalities
    count = len(data.modalities)
    if count < low or (high is not None and count > high):
        raise CapabilityError(
            f"{card.title} works with {_counted(low, high)} modalities, {data.name} has {count}{_because(card)}"
        )
    if data.task.name not in card.tasks:
        raise CapabilityError(
            f"{card.title} is not sound for {data.task.name}; it is for: {', '.join(card.tasks)}{_because(card)}"
        )
    if missing := set(card.requires) - set(CAPABILITIES):
        raise CapabilityError(f"{card.title} needs {', '.join(sorted(missing))}, which no model here offers")


def _counted(low: int, high: int | None) -> str:
    return f"{low} or more" if high is None else f"exactly {low}" if low == high else f"{low} to {high}"


def _because(card: MethodCard) -> str:
    return f" ({card.limits})" if card.limits else ""


class Trainer:
    """One run's training, from a configuration and its data.

    Args:
        config: what to train.
        data: built from it.
        readers: whether unimodal classifiers run beside the model.
        measure: whether the per-step series are taken. Neither changes a bit of the model (a law test holds it).
        model: a model already made for this data; None builds the configuration's.
        granted: capabilities the method may read; None grants all, tests narrow it to what the card declares.

    Raises:
        CggmError: if the parts do not fit; nothing was written.
    """

    def __init__(
        self, config: RunConfig, data: DataBundle, *, readers: bool = True, measure: bool = True,
        model: MultimodalModel | None = None, granted: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        config, settings = config.settled(data.task.name), config.training
        check_method(config, data)
        self._card: MethodCard = catalog.card("method", config.method)
        self._granted = frozenset(CAPABILITIES) if granted is None else granted
        self.config, self.data, self.place = config, data, Place()
        self.device = choose_device(settings.device)
        self.precision = Precision(settings.precision, self.device)
        self.task = make_task(data.task, settings.score, settings.class_weights)
        seed_everything(settings.seed)
        if model is None:
            model = catalog.load("model", config.model, ModelBuilder)(**config.model_params).build(data)
        self.model = model.to(self.device)
        self.parameters = encoder_parameters(self.model)
        self.readers = UnimodalReaders(self.model, self.task, settings, self.device) if readers else None
        self.method: BalanceMethod = catalog.load("method", config.method, BalanceMethod)(**config.method_params)
        self.batches = -(-len(data.splits["train"]) // settings.batch_size)
        context = MethodContext(
            data, self.model, self.task, self.device, measure_dtype(self.device), settings.epochs, self.batches,
            settings.seed,
        )  # fmt: skip
        self.beside = Beside(self.device)
        if "trials" in self._card.requires:
            trials = Trials(data, settings, self.device, self.precision, self._learning, self.beside)
            context = replace(context, trial=trials.run)
        self.pretraining = Pretraining(data, settings, self.device, self.precision, self.beside)
        if "pretraining" in self._card.requires:
            context = replace(context, pretrain=self.pretraining.run)
        self.method.setup(context)
        groups = self._groups()
        self.optimiser = build_optimiser(groups, settings, settings.lr)
        self._values = sum(math.prod(spec.shape) for spec in data.modalities.values())
        self.looks = Looks(
            self.model, self.predict, self.task, data.splits["val"], self._evaluated_together(), self.device,
            self.precision, settings,
        )  # fmt: skip
        self.measuring = Measuring(self.parameters, self.device, readers=readers) if measure else None
        self.parts = Parts(
            self.method, self.optimiser, self.precision, self._trainable(), settings.gradient_clip, self.readers,
            self.measuring, "second_pass" in self._card.requires,
        )  # fmt: skip
        self.costs = Costs(self.device, self.parts.clock)

    @property
    def steps(self) -> int:
        """Optimiser steps planned in all."""
        return self.batches * self.config.training.epochs

    def fit(
        self, recorder: Recorder | None = None, between: Callable[[Place], bool] | None = None,
        on_epoch: Callable[[Place, dict[MetricKey, float]], None] | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> bool:  # fmt: skip
        """Train from where it stands to the end.

        Args:
            recorder: takes the series; None trains unrecorded.
            between: called before each step with the step to come, and before each step of what trains beside the
                run; False stops there.
            on_epoch: called after each epoch's validation with its values.
            on_step: called inside each step, once its losses are there and before its graph is gone.

        Returns:
            True when every epoch was done, False when `between` stopped it.
        """
        settings, place = self.config.training, self.place
        self.model.train()
        while place.epoch < settings.epochs:
            batches = order(settings.seed, place.epoch, len(self.data.splits["train"])).split(settings.batch_size)
            ended = time.perf_counter()
            while place.batch < self.batches:
                if between:
                    asked = time.perf_counter()
                    if not between(place):
                        return False
                    ended += time.perf_counter() - asked  # a pause or a checkpoint is no step time
                if place.batch == 0:
                    # After `between`, whose checkpoints a resume starts from; and never inside an epoch, where a
                    # checkpoint has the rates in force and a knob may have changed since they were set.
                    self._set_rates(place.epoch)
                    if not self._between_epochs(partial(self.method.on_epoch_start, place.epoch), between):
                        return False
                    ended = time.perf_counter()
                with self.parts.clock.processor:
                    step = self._one(batches[place.batch], on_step)
                ended = self._record(recorder, step, ended)
                place.step, place.batch = place.step + 1, place.batch + 1
            values = self.validate()
            if recorder:
                recorder.epoch(place.step - 1, place.epoch, values)
                self.looks.after_epoch(recorder, place.step - 1, place.epoch)
                self.record_costs(recorder)
            report = {str(key): value for key, value in values.items()}
            if not self._between_epochs(partial(self.method.on_epoch_end, place.epoch, report), between):
                return False
            place.epoch, place.batch = place.epoch + 1, 0
            if on_epoch:
                on_epoch(place, values)
        return True

    def _between_epochs(self, moment: Callable[[], None], between: Callable[[Place], bool] | None) -> bool:
        """Let the method act before or after an epoch; False where it was stopped in a training beside the run."""
        now = clock_of(self.device)
        began, waited = now(), self.beside.waited
        if between:
            self.beside.listener = lambda stage: between(replace(self.place, beside=stage))
        try:
            moment()
        except Stopped:
            return False
        finally:
            self.beside.listener = None
            self.costs.between(now() - began - (self.beside.waited - waited))
        return True

    def validate(self, split: str = "val") -> dict[MetricKey, float]:
        """Values of one split by key; empty for a split without samples."""
        if split not in self.data.splits or len(self.data.splits[split]) == 0:
            return {}
        found = self._evaluate(self.data.splits[split], f"{split}_", self.readers)
        if "missing_rates" in self._card.requires:
            found[MetricKey(f"{split}_missing_score")] = fmean(self.missing_curve(split))
        return found

    def missing_curve(self, split: str) -> list[float]:
        """Score of a split with parts of every input missing, at each of `measures.missing.RATES`."""
        key = MetricKey(f"{split}_score")
        return missing_curve(lambda thinned: self._evaluate(thinned, f"{split}_", None)[key], self.data.splits[split])

    def _evaluate(self, split: Split, prefix: str, readers: UnimodalReaders | None) -> dict[MetricKey, float]:
        together = self._evaluated_together()
        return evaluate(
            self.model, readers, self.task, split, prefix, together, self.device, self.precision, self.predict
        )

    def predict(self, features: Mapping[str, Tensor]) -> Tensor:
        """The method's fused prediction in evaluation, from the encoders' outputs."""
        return self.method.predict(self.model, features)

    def look(self, recorder: Recorder) -> None:
        """Take a full look at the probe set now, whatever the settings say, and record it."""
        self.looks.full(recorder, max(0, self.place.step - 1), self.place.epoch)

    def record_costs(self, recorder: Recorder) -> None:
        """Record what a step costs as it stands; nothing waits for the device."""
        place = self.place
        recorder.costs(max(0, place.step - 1), place.epoch, self.costs.readings(self.sizes()))

    def sizes(self) -> dict[str, Size]:
        """Parameters and bytes of the model, of the unimodal classifiers, and of the method's own parts."""
        readers = self.readers
        return {
            "model": size_of([self.model], self.optimiser),
            "classifier": size_of([readers.modules], readers.optimiser) if readers else Size(0, 0),
            "method": size_of(self.method.modules().values(), self.optimiser),
        }

    def _evaluated_together(self) -> int:
        return max(self.config.training.batch_size, min(256, _EVALUATED_VALUES // self._values))

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs to reach the same bits on the same device."""
        place = self.place
        return {
            "place": {"step": place.step, "epoch": place.epoch, "batch": place.batch},
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "readers": self.readers.state_dict() if self.readers else {},
            "measuring": self.measuring.state_dict() if self.measuring else {},
            "method": {"knobs": dict(self.method.knobs), "state": self.method.state_dict()},
            "modules": {name: module.state_dict() for name, module in self.method.modules().items()},
            "pretraining": self.pretraining.state_dict(),
            "random": self.beside.random or random_state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.place = Place(**state["place"])
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.precision.scaler.load_state_dict(state["scaler"])
        if self.readers:
            self.readers.load_state_dict(state["readers"])
        if self.measuring:
            self.measuring.load_state_dict(state["measuring"])
        for name, value in state["method"]["knobs"].items():
            self.method.set_knob(name, value)
        self.method.load_state_dict(state["method"]["state"])
        for name, module in self.method.modules().items():
            module.load_state_dict(state["modules"][name])
        self.pretraining.load_state_dict(state["pretraining"])
        restore_random_state(state["random"], self.device)

    def set_knob(self, name: str, value: object) -> Value:
        """Change a live knob of the method between two steps.

        Returns:
            The value as the card's type.

        Raises:
            ConfigError: for an unknown knob or a value outside its range.
            CapabilityError: for a knob that cannot change while training runs.
        """
        param = catalog.card("method", self.config.method).param(name)
        if not param.live:
            raise CapabilityError(f"{name} cannot change while training runs")
        checked = param.check(value)
        self.method.set_knob(name, checked)
        return checked

    def _one(self, index: torch.Tensor, on_step: Callable[[Step], None] | None) -> Step:
        batch = take(self.data.splits["train"], index, self.device)
        step = Step(self.place.step, self.place.epoch, batch, self.model, self.task, self.parameters, self._granted)
        train_step(step, self.parts, on_step)
        return step

    def _record(self, recorder: Recorder | None, step: Step, ended: float) -> float:
        now = time.perf_counter()
        seconds = now - ended
        self.costs.step(seconds)
        if recorder and self.measuring:
            host = {
                MetricKey("learning_rate"): float(self.optimiser.param_groups[0]["lr"]),
                MetricKey("step_seconds"): seconds,
                MetricKey("samples_per_second"): len(step.batch) / seconds,
            }
            recorder.step(step.index, step.epoch, self.measuring.columns, self.measuring.vector, host)
        return now

    def _set_rates(self, epoch: int) -> None:
        factor = rate_factor(self.config.training, epoch)
        own = self.method.rate_factors()
        self._declared("learning_rates", bool(own), "changes learning rates")
        set_rate(self.optimiser, self.config.training.lr * factor, own)
        if self.readers:
            self.readers.set_factor(factor)

    def _groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the optimiser's group: one for the model, unless the method sets rates by modality."""
        everything = self._trainable()
        if "learning_rates" not in self._card.requires:
            return {SHARED: everything}
        modal = {id(p) for group in self.parameters.values() for p in group}
        return {SHARED: [p for p in everything if id(p) not in modal], **self.parameters}

    def _trainable(self) -> list[nn.Parameter]:
        """What the optimiser changes, in the model's order whatever the groups: a norm's bits depend on the order."""
        own = [p for module in self.method.modules().values() for p in module.parameters() if p.requires_grad]
        self._declared("own_modules", bool(own), "has learnable parts of its own")
        return [*(p for p in self.model.parameters() if p.requires_grad), *own]

    def _declared(self, capability: str, used: bool, what: str) -> None:
        if used and capability not in self._card.requires:
            raise CapabilityError(f"{self._card.title} {what} without declaring {capability!r} in its card's requires")

    def _learning(self) -> tuple[MultimodalModel, Mapping[str, nn.Module], torch.optim.Optimizer]:
        """What a trial copies."""
        return self.model, self.method.modules(), self.optimiser
