"""A watch at work: what happens around each backward of a loop that is not ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from cggm_core.engine import watch_run
from cggm_core.engine.watch_bridges import Bridge, Bridges
from cggm_core.engine.watch_checks import check_called, check_gradients, check_samples
from cggm_core.engine.watch_gear import STEP_SECONDS, Gear, Plan, in_full_precision, unscale
from cggm_core.engine.watch_hooks import Ears, Heard
from cggm_core.engine.watch_run import LOG, End, Requests
from cggm_core.engine.watch_step import Part, WatchedStep, settled_target
from cggm_core.errors import CapabilityError, CggmError, DataError
from cggm_core.names import MetricKey
from cggm_core.store import RunWriter


class Watch:
    """Made by `cggm_core.watch`; see there.

    Attributes:
        run_id: of the run; "" in a process that only helps (rank above 0) and records nothing.
        folder: of the run.
    """

    def __init__(
        self, plan: Plan, folder: Path | None, writer: RunWriter | None, ears: Ears | None, also: Sequence[Bridge]
    ) -> None:
        self._plan, self.folder, self._ears = plan, folder, ears
        self.run_id = folder.name if folder else ""
        self._parts: list[Part] = []
        self._step: WatchedStep | None = None  # begun by `loss`, waits for backward
        self._gathered = False  # whether `step` was called since the last update
        self._pending: tuple[WatchedStep, dict[MetricKey, float]] | None = None  # waits for the update
        self._index = self._epoch = 0
        self._gear: Gear | None = None
        self._open = writer is not None
        self._ended = time.perf_counter()
        if writer is not None and folder is not None:
            self._writer = writer
            self._bridges = Bridges(also, self.run_id)
            self._requests = Requests(folder, writer, plan.card, plan.method)
            if plan.steps or plan.epochs:
                writer.progress(plan.steps, plan.epochs)

    @property
    def stop_requested(self) -> bool:
        """Whether the app asked for a stop; the loop ends itself, `if watch.stop_requested: break`.

        Where several processes train together a stop is refused in the run's events, and this stays False.
        """
        return self._open and self._requests.stop

    @property
    def is_open(self) -> bool:
        """Whether it still records: from its making until its end, in the process that records."""
        return self._open

    @property
    def balances(self) -> bool:
        """Whether a method was named."""
        return self._plan.method is not None

    def planned(self, steps: int, epochs: int) -> None:
        """Say how much is planned in all, for the progress bar; 0 is unknown."""
        if self._open:
            self._writer.progress(steps, epochs)

    def loss(self, loss: Tensor, target: Tensor | None = None) -> Tensor:
        """The loss with a method's own terms, for methods that add any: a line before backward.

        CGGM's direction needs it: lam L_gm depends on the features and logits of this very batch, and after backward
        their graph is gone. Without this line such terms are left out, and the run says so.

        Args:
            loss: of this batch, a mean, a scalar, with its graph; not multiplied by a scaler.
            target: of this batch; `step` then needs none.

        Returns:
            `loss` itself where no method is named, else its sum with every term.

        Raises:
            CapabilityError: under accumulation, where no micro-batch knows the coefficient of the whole step.
            DataError: for a target that does not fit.
        """
        if not self._open or self._plan.method is None:
            return loss
        if self._plan.accumulate > 1 or self._gathered:
            raise CapabilityError(
                "a step of several micro-batches has one coefficient, known after the last of them; its loss terms "
                "cannot be added to the first: leave watch.loss() out, or take one batch a step"
            )
        self._finish()
        self._parts = [self._part(loss, target, open_loss=True)]
        with in_full_precision():
            self._step = self._begin(loss.reshape(()), open_loss=True)
            return self._step.loss

    def step(self, loss: Tensor | float, target: Tensor | None = None, *, update: bool | None = None) -> None:
        """After `backward()` and `scaler.unscale_`, before clipping, the optimiser's step and `zero_grad`.

        Args:
            loss: what backward ran on, a mean over the (micro-)batch, not multiplied by a scaler; under
                accumulation the run records the mean of those given.
            target: of the batch; needed where a task is told and `loss` was not called.
            update: whether the optimiser steps next; None: every `accumulate`-th call.

        Raises:
            CapabilityError: if an encoder was not called or got no gradient, at the first step.
            DataError: for a loss that is no scalar, or a target that does not fit, at the first step.
        """
        if not self._open:
            return
        with self._guarded():
            if self._step is None:
                self._parts.append(self._part(loss, target, open_loss=False))
            else:
                self._parts[0] = Part(self._parts[0].heard, self._parts[0].target, _scalar(loss))
            self._gathered = True
            if update if update is not None else len(self._parts) >= self._plan.accumulate:
                self._act()

    def update(self) -> None:
        """The optimiser steps next: act on what `step(..., update=False)` gathered; nothing where that is nothing."""
        if self._open and self._parts:
            with self._guarded():
                self._act()

    def validate(self, target: Tensor) -> None:
        """After a forward pass on validation data: count its predictions, for `end_epoch`.

        Raises:
            DataError: for a target that does not fit.
        """
        if self._open and self._gear is not None and self._ears is not None:
            with self._guarded(), in_full_precision(), torch.no_grad():
                self._gear.validate(self._ears.take_still(), target)
            self._ended = time.perf_counter()

    def end_epoch(self, values: Mapping[str, float] | None = None) -> None:
        """A pass over the data is over: record what `validate` counted, and numbers of your own.

        Args:
            values: metric -> number, such as `{"val_accuracy": 0.8}`.
        """
        if self._open:
            with self._guarded():
                self._end_epoch(values or {})
        self._ended = time.perf_counter()

    def _end_epoch(self, values: Mapping[str, float]) -> None:
        self._finish()
        found = {MetricKey(str(name)): float(value) for name, value in values.items()}
        if self._gear is not None:
            found = self._gear.counted() | found
            self._gear.recorder.epoch(max(0, self._index - 1), self._epoch, found)
            self._gear.record_costs(self._index, self._epoch)
            self._bridges.values(max(0, self._index - 1), found)
        if self._plan.method is not None:
            self._plan.method.on_epoch_end(self._epoch, {str(key): value for key, value in found.items()})
        self._epoch += 1
        if self._plan.method is not None:
            self._plan.method.on_epoch_start(self._epoch)

    def close(self) -> None:
        """The loop is over: record the last step, seal the run, take every hook away. A second call does nothing."""
        self.end("finished", "")

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(*(watch_run.why(error) if error is not None else ("finished", "")))

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            LOG.warning("run %s was dropped without close() and is stopped", self.run_id)
            self.end("stopped", "the watch was dropped without close()")

    def end(self, state: End, reason: str) -> None:
        """End the run in a state of its own; `close` is `end("finished", "")`."""
        if not self._open:
            return
        try:
            with contextlib.suppress(Exception):  # the rows before it count more than the last one
                self._finish()
                if self._gear is not None:
                    self._gear.record_costs(self._index, self._epoch)
            if self._gear is not None:
                self._gear.recorder.catch_up()
                if self._gear.snapshots is not None:
                    self._gear.snapshots.catch_up()
            if state == "failed":
                self._writer.event(max(0, self._index - 1), "error", reason)
            self._bridges.close()
        finally:
            self._let_go()
            self._writer.finish(state, reason)

    def forked(self) -> None:
        """Fall silent in a forked child, whose parent records the run."""
        self._let_go()

    def shares(self, other: Watch) -> bool:
        """Whether another watch listens to a module of this one."""
        mine = {id(module) for modules in self._plan.model.encoders.values() for module in modules}
        return any(id(module) in mine for modules in other._plan.model.encoders.values() for module in modules)

    def _let_go(self) -> None:
        self._open = False
        if self._ears is not None:
            self._ears.close()
        self._parts, self._step, self._pending = [], None, None
        watch_run.ended(self)

    def _part(self, loss: Tensor | float, target: Tensor | None, *, open_loss: bool) -> Part:
        heard = self._ears.take() if self._ears is not None else Heard()
        first = self._gear is None
        if first:
            self._plan = self._plan.settled(target)
        plan = self._plan
        heard = heard if open_loss else heard.detached()
        needs_head = plan.task is not None and plan.model.has_head
        check_called(plan.model, heard, missing=plan.missing, first=first, needs_head=needs_head)
        if plan.task is None:
            return Part(heard, torch.empty(0), _scalar(loss))
        device = next(iter(heard.features.values())).device
        settled = settled_target(plan.task, target, heard.logits, device, look=first)
        check_samples(heard, settled)
        return Part(heard, settled, _scalar(loss))

    def _begin(self, loss: Tensor, *, open_loss: bool) -> WatchedStep:
        if self._gear is None:
            self._gear = Gear(self._plan, self._writer, self._bridges, self._parts[0], self._index, self._epoch)
            self._requests.snapshot = self._gear.snapshots.ask if self._gear.snapshots else None
        return self._gear.begin(self._parts, self._index, self._epoch, loss, open_loss=open_loss)

    def _act(self) -> None:
        """Measure, balance, measure again; the row is complete once the optimiser has stepped."""
        self._finish()
        self._requests.answer(self._index)
        plan = self._plan
        with in_full_precision():
            if plan.scaler is not None:
                for optimiser in plan.optimisers:
                    unscale(plan.scaler, optimiser)
            if self._index == 0:
                check_gradients(plan.model, self._parts)
            device = next(iter(self._parts[0].heard.features.values())).device
            loss = torch.stack([part.loss.to(device, non_blocking=True) for part in self._parts]).mean()
            step = self._step or self._begin(loss, open_loss=False)
            step.settle(loss)
            assert self._gear is not None  # made by the first `_begin`
            self._gear.balance(step)
        samples = sum(len(next(iter(part.heard.features.values()))) for part in self._parts)
        self._pending = step, self._host(samples)
        self._parts, self._step, self._gathered = [], None, False
        self._index += 1

    def _finish(self) -> None:
        """Record the step whose update is over by now."""
        if self._pending is not None and self._gear is not None:
            (step, host), self._pending = self._pending, None
            self._gear.finish(step, host)

    def _host(self, samples: int) -> dict[MetricKey, float]:
        """Numbers of the step that are on the host already."""
        now = time.perf_counter()
        seconds, self._ended = now - self._ended, now
        found = {STEP_SECONDS: seconds, MetricKey("samples_per_second"): samples / max(seconds, 1e-9)}
        rate = self._plan.optimisers[0].param_groups[0]["lr"] if self._plan.optimisers else None
        if rate is None or (isinstance(rate, Tensor) and rate.device.type != "cpu"):
            return found  # a rate that lives on a GPU would have to be waited for
        return {MetricKey("learning_rate"): float(rate), **found}

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """After a first step that went well, looking never ends a training: what fails ends the watch alone."""
        try:
            yield
        except Exception as error:
            if self._index == 0 or self._plan.method is not None:
                raise
            state, reason = watch_run.why(error)
            said = str(error) if isinstance(error, CggmError) else reason
            LOG.warning("run %s is watched no more, training goes on: %s", self.run_id, said)
            self.end(state, said)


def _scalar(loss: Tensor | float) -> Tensor:
    if not isinstance(loss, Tensor):
        return torch.tensor(float(loss))
    if loss.numel() != 1:
        raise DataError(f"the loss has shape {tuple(loss.shape)}, expected one number: give its mean, loss.mean()")
    return loss.detach().reshape(())
