"""What a watch works with: classifiers, measuring, method and recorder, on the parts of one step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cggm_core.cards import MethodCard
from cggm_core.config import Training
from cggm_core.engine import watch_run
from cggm_core.engine.costs import Costs
from cggm_core.engine.measuring import Measuring
from cggm_core.engine.readers import UnimodalReaders
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.snapshots import SnapshotTaker
from cggm_core.engine.watch_bridges import Bridges
from cggm_core.engine.watch_hooks import Heard
from cggm_core.engine.watch_model import WatchedModel
from cggm_core.engine.watch_step import Part, WatchedStep, joined, read, settled_target, together
from cggm_core.errors import CapabilityError
from cggm_core.measures.costs import Size, size_of
from cggm_core.measures.gradients import measure_dtype
from cggm_core.names import MetricKey
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Phase
from cggm_core.protocols.task import Tally, Task
from cggm_core.protocols.tasks import make_task
from cggm_core.store import RunWriter

STEP_SECONDS = MetricKey("step_seconds")


@dataclass(frozen=True)
class Plan:
    """What a watch was told; each field as the argument of `watch` of that name."""

    model: WatchedModel
    task: Task | None
    card: MethodCard | None
    method: BalanceMethod | None
    granted: frozenset[str]
    training: Training
    accumulate: int
    missing: bool
    optimisers: tuple[torch.optim.Optimizer, ...]
    scaler: torch.amp.GradScaler | None
    steps: int
    epochs: int
    notes: tuple[str, ...] = ()  # what was told and is left out, for the run to say
    numbers: bool = False  # regression whose count of numbers the first target tells

    def settled(self, target: Tensor | None) -> Plan:
        """The plan once the first target is seen: a task it tells the width of, or none where there is no target."""
        if self.numbers and self.task is None and isinstance(target, Tensor):
            width = target[:1].numel() if target.dim() > 1 else 1
            offered = self.granted | {"unimodal_scores"}
            return replace(self, task=make_task(TaskSpec("regression", width)), granted=offered)
        if target is None and self.method is None and (self.task is not None or self.numbers):
            name = self.task.spec.name if self.task is not None else "regression"
            left_out = f"task={name!r} is left out: the first step gave no target, which watch.step(loss, target) takes"
            return replace(self, task=None, notes=(*self.notes, left_out))
        return self


class Gear:
    """Made at the first step, when devices and the width of features are known.

    Args:
        plan: what the watch was told.
        writer: of the run.
        bridges: loggers of other kinds.
        first: the first micro-batch.
        index, epoch: where the loop stands.

    Raises:
        CapabilityError: if the method asks for what a loop does not tell, or a modality is absent at once.
    """

    def __init__(
        self, plan: Plan, writer: RunWriter, bridges: Bridges, first: Part, index: int, epoch: int
    ) -> None:  # fmt: skip
        self._plan, self._writer, self._bridges = plan, writer, bridges
        self._said: set[str] = set()
        self._scores: dict[str, Tensor] = {}
        self._tallies: dict[str, Tally] = {}
        self.device = next(iter(first.heard.features.values())).device
        self.recorder = Recorder(writer, self.device)
        self.readers = self._readers(first.heard)
        self._trained = self._trainable()
        self._measuring = self._measure()
        self.snapshots = self._taker(first.heard)
        self._costs, self._costs_at = Costs(self.device), -1
        if plan.method is not None:
            plan.method.setup(_context(plan, self.device))
            plan.method.on_epoch_start(epoch)
        self._start(first, index)

    def begin(self, parts: Sequence[Part], index: int, epoch: int, loss: Tensor, *, open_loss: bool) -> WatchedStep:
        """The step up to its loss, of its micro-batches."""
        plan, task = self._plan, self._plan.task
        if self._trained != self._trainable():
            self._trained, scores = self._trainable(), self._measuring.state_dict()
            self._measuring = self._measure()
            self._measuring.load_state_dict(scores)
            self._writer.event(index, "note", f"{sum(self._trained)} parameter tensors of the encoders train now")
        target = torch.cat([part.target for part in parts]) if len(parts) > 1 else parts[0].target
        step = WatchedStep(
            index, epoch, target, plan.model, task, plan.granted, loss, open_loss=open_loss, optimisers=plan.optimisers
        )
        step._fill(Phase.LOSS)
        quiet = contextlib.nullcontext() if open_loss else torch.no_grad()
        if task is not None and self.readers is not None:
            found = together(parts)
            step._fill(Phase.FEATURES, features=found, encoded=found, autocast=contextlib.nullcontext)
            for modality in read(parts, self.readers, step, self._scores):
                self.once(index, f"absent {modality}", f"a batch had no {modality}: its score stays at its last value")
            self._scores = step.unimodal_scores
            if plan.model.has_head:
                step._fill(Phase.LOSS, **joined(parts))
                with quiet:
                    step._fill(Phase.LOSS, task_loss=task.loss(step.logits, target))
        with contextlib.nullcontext() if open_loss else torch.no_grad():
            if plan.method is not None:
                plan.method.on_loss(step)
        if self.snapshots is not None and len(step.features) == len(plan.model.modalities):
            self.snapshots.look(step)
        return step

    def balance(self, step: WatchedStep) -> None:
        """Gradients are there: measure them, let the method change them, measure again."""
        self._measuring.before(step)
        if self._plan.method is not None:
            self._plan.method.on_gradients(step)
            self._check_terms(step)
        self._measuring.after(step)
        if self.readers is not None:
            self.readers.update()

    def finish(self, step: WatchedStep, host: Mapping[MetricKey, float]) -> None:
        """The update is over: record the step's row."""
        step.over()
        step._fill(Phase.UPDATED)
        if self._plan.method is not None:
            self._plan.method.on_step_end(step)
        self._measuring.finish(step)
        self._costs.step(host[STEP_SECONDS])
        row = self._measuring.columns, self._measuring.vector, host
        self.recorder.step(step.index, step.epoch, *row)
        self._bridges.step(step.index, *row)

    def record_costs(self, index: int, epoch: int) -> None:
        """Record what a step costs, as far as a loop that is not ours tells: the whole model is not known."""
        if index in (0, self._costs_at):
            return  # nothing new: the end of a loop that has ended its epoch
        self._costs_at, readers = index, self.readers
        sizes = {
            "classifier": size_of([readers.modules], readers.optimiser) if readers else Size(0, 0),
            "method": Size(0, 0),  # a method with parts of its own cannot balance a watched loop
        }
        found = self._costs.readings(sizes)
        self.recorder.costs(max(0, index - 1), epoch, found)
        self._bridges.values(max(0, index - 1), found)

    def validate(self, heard: Heard, target: Tensor) -> None:
        """Count the predictions of one batch that is not learnt from."""
        task = self._plan.task
        if task is None or self.readers is None or not heard.features:
            return
        settled = settled_target(task, target, heard.logits, self.device)
        found = self.readers.predict(heard.features)
        if heard.logits is not None:
            found = {"": heard.logits.float(), **found}
        for modality, logits in found.items():
            self._tallies.setdefault(modality, task.tally()).add(logits.detach(), settled)

    def counted(self) -> dict[MetricKey, float]:
        """What `validate` counted since the last call."""
        tallies, self._tallies = self._tallies, {}
        found: dict[MetricKey, float] = {}
        if whole := tallies.pop("", None):
            found = {MetricKey("val_loss"): float(whole.loss()), MetricKey("val_score"): float(whole.score())}
            found |= {MetricKey(f"val_{name}"): value for name, value in whole.metrics().items()}
        return found | {MetricKey("val_unimodal_score", m): float(t.score()) for m, t in tallies.items()}

    def once(self, index: int, key: str, text: str) -> None:
        """Say something at its first time only."""
        if key not in self._said:
            self._said.add(key)
            self._writer.event(index, "note", text)

    def _readers(self, heard: Heard) -> UnimodalReaders | None:
        plan, model = self._plan, self._plan.model
        if plan.task is None:
            return None
        if absent := [m for m in model.modalities if m not in heard.features]:
            raise CapabilityError(
                f"the first batch has no {absent[0]}, so the width of its features is not known; begin with a batch "
                "that has every modality"
            )
        model.plan(heard.features, plan.task.spec.outputs, heard.logits)
        return UnimodalReaders(model, plan.task, plan.training, self.device)

    def _taker(self, heard: Heard) -> SnapshotTaker | None:
        """What keeps gradients for the map; None where the fusion is not told.

        Raises:
            CapabilityError: if the fusion told does not give the head's input.
        """
        plan, model = self._plan, self._plan.model
        if plan.task is None or not (model.has_head and model.has_fusion) or heard.fused is None:
            return None
        model.eval()
        try:
            with torch.no_grad():
                found = model.fuse({m: value.detach() for m, value in heard.features.items()})
        finally:
            model.train()
        if found.shape != heard.fused.shape:
            raise CapabilityError(
                f"fuse gives {tuple(found.shape)}, the head was given {tuple(heard.fused.shape)}; name what takes the "
                "features by modality to the head's input"
            )
        return SnapshotTaker(self._writer, self.device, plan.training, plan.steps)

    def _trainable(self) -> tuple[bool, ...]:
        return tuple(p.requires_grad for own in self._plan.model.own.values() for p in own)

    def _measure(self) -> Measuring:
        model, task = self._plan.model, self._plan.task
        own = {m: [p for p in model.own[m] if p.requires_grad] for m in model.modalities}
        fused = task is not None and model.has_head
        return Measuring(own, self.device, readers=task is not None, fused=fused)

    def _start(self, first: Part, index: int) -> None:
        """Say in the run what it is."""
        plan, model, task = self._plan, self._plan.model, self._plan.task
        self._writer.state("running")
        said: dict[str, Any] = {"modalities": list(model.modalities), "shared_parameters": model.shared}
        if task is not None:
            said |= {"task": task.spec.name, "score": task.score_name, "unit": task.spec.unit}
            said |= {"chance": task.chance} if math.isfinite(task.chance) else {}
        what = f"balancing with {plan.card.title}" if plan.card else "watching"
        text = f"{what} starts on {self.device}"
        self._writer.event(index, "start", text, watch_run.described(self.device) | said)
        for told in plan.notes:
            self.once(index, told, told)
        for modality, count in model.shared.items():
            text = f"{count} parameter tensors of {modality} feed another modality too and count for neither"
            self.once(index, f"shared {modality}", text)
        for modality in model.modalities:
            if model.frozen(modality):
                self.once(index, f"frozen {modality}", f"encoder {modality} is frozen: its gradient is 0")
        if task is not None and first.heard.logits is not None:
            own, given = float(task.loss(first.heard.logits.detach(), first.target)), float(first.loss)
            if not math.isclose(own, given, rel_tol=1e-3, abs_tol=1e-6):
                self.once(index, "loss", f"the loop's loss ({given:.4g}) is not the task's own ({own:.4g}): task loss, "
                          "head gradient and directions are those of the task's own")  # fmt: skip

    def _check_terms(self, step: WatchedStep) -> None:
        """A method that acts through the loss alone does nothing where its terms come too late."""
        plan = self._plan
        if not step.untaken or plan.method is None or plan.card is None:
            return
        line = "loss = watch.loss(loss, target) before backward()"
        if "on_gradients" not in vars(type(plan.method)):
            raise CapabilityError(f"{plan.card.title} acts through the loss: add the line {line}")
        text = f"the {' and '.join(step.untaken)} term of {plan.card.title} is left out: it needs {line}"
        self.once(step.index, "terms", text)


def in_full_precision() -> contextlib.ExitStack:
    """No autocast inside, whatever context the loop calls from: what is measured is the ruler."""
    stack = contextlib.ExitStack()
    for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def unscale(scaler: torch.amp.GradScaler, optimiser: torch.optim.Optimizer) -> None:
    """Divide an optimiser's gradients by the loss scale, unless the loop has done so."""
    try:
        scaler.unscale_(optimiser)
    except RuntimeError as error:
        if "already been called" not in str(error):
            raise


def _context(plan: Plan, device: torch.device) -> Any:
    """What a method's `setup` is given; it has no data, and no plan where none was told."""

    class Told(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            title = plan.card.title if plan.card else "the method"
            raise CapabilityError(f"{title} asks for {name}, which a watched loop does not tell")

    known: dict[str, Any] = {
        "model": plan.model, "task": plan.task, "device": device, "measure_dtype": measure_dtype(device),
        "seed": plan.training.seed,
    }  # fmt: skip
    if plan.epochs:
        known["epochs"] = plan.epochs
        known |= {"steps_per_epoch": plan.steps // plan.epochs} if plan.steps else {}
    return Told(**known)
