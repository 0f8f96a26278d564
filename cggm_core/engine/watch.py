"""Three lines on one's own loop: watch a model that is not ours, and balance it where a method is named.

    watch = cggm_core.watch({"audio": net.audio, "text": net.text}, head=net.head, task="classification", run="mine")
    watch.step(loss, target)     # after backward()
    watch.close()

It uses the measures, classifiers, methods and store of the lab's own trainer: no number has a second definition.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cggm_core.cards import Value
from cggm_core.config import Training
from cggm_core.engine.watch_bridges import Bridge
from cggm_core.engine.watch_gear import Plan
from cggm_core.engine.watch_hooks import Accessor, Ears
from cggm_core.engine.watch_model import Fusion, WatchedModel
from cggm_core.engine.watch_run import balancing, make_run, opened, place_among_processes
from cggm_core.engine.watcher import Watch
from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.task import Task
from cggm_core.protocols.tasks import TASKS, make_task

Encoders = Mapping[str, nn.Module | Sequence[nn.Module]]


def watch(
    encoders: Encoders, *, head: nn.Linear | nn.Conv2d | None = None, task: str | Task | None = None, run: str = "",
    method: str | None = None, preset: str = "", knobs: Mapping[str, Value] | None = None,
    runs: str | os.PathLike[str] | None = None,
    optimiser: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
    scaler: torch.amp.GradScaler | None = None, accumulate: int = 1, missing: bool = False,
    features: Mapping[str, Accessor] | None = None, fuse: Fusion | None = None, outputs: int = 0, steps: int = 0,
    epochs: int = 0, seed: int | None = None,
    classifier_lr: float = 5e-4, data: str = "own loop", settings: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (), also: Sequence[Bridge] = (),
) -> Watch:  # fmt: skip
    """Watch a model in a training loop of one's own.

    Encoders alone give losses, gradient norms and update ratios; a task that lacks what it needs (a target, the number
    of outputs) is left out, and the run says so, unless a method needs it. `task` and a target at each step add a
    classifier a modality on its detached features: unimodal scores and losses. `head` adds the fused score, last-layer
    gradients and their directions. Parameters, buffers and random state keep every bit, unless a method is named.

    Args:
        encoders: modality -> module that your forward pass calls; or a list of modules, whose parameters all feed
            the modality and the last of which gives its features. Parameters of two modalities belong to neither.
        head: the last layer, `nn.Linear` or a 1x1 `nn.Conv2d`; fused features to logits.
        task: classification, regression or segmentation, or a `Task` of your own with its derivative.
        run: name of the run, for people.
        method: a balancing method that needs no more than this; None only looks.
        preset: of the method; "" is its first.
        knobs: of the method, values that leave the preset.
        runs: folder of all runs; None is `$CGGM_RUNS`, else `runs/`.
        optimiser: one or several, for the learning rate (of the first), with a scaler to unscale gradients, and for a
            method that scales updates.
        scaler: of mixed precision; given, `step` unscales the optimisers' gradients that are not unscaled yet, so
            leave `unscale_` out after it. Not given, call `scaler.unscale_` before `step`.
        accumulate: micro-batches a step; `step` is called after each backward and acts on every last one.
        missing: whether batches may lack a modality. Without it an encoder that the first step does not call is an
            error; with it the modality keeps its last score while it is absent.
        features: modality -> function from the encoder's output to its features, where the rule of
            `watch_hooks.tensor_of` does not fit.
        fuse: module of your model, or a method of one, from features by modality (as found by the rule) to the head's
            input; unlocks gradient snapshots for the gradient map, and methods that ask for predictions with
            modalities absent (OGM-GE).
        outputs: classes or numbers predicted; read off the head where there is one, and for regression without a head
            off the first target.
        steps: planned in all, for the progress bar; 0 is unknown.
        epochs: planned in all; 0 is unknown.
        seed: yours, which the classifiers take too. Runs that tell it and differ in nothing else are averaged.
        classifier_lr: learning rate of the classifiers, above 0; too high makes their scores noisy.
        data: what the loop trains on, in words; runs of one data set are compared.
        settings: whatever decides the run (learning rate, width ...), as JSON types.
        tags: words for the runs page.
        also: loggers of other kinds that get the same readings (`cggm_core.integrations.bridges`).

    Returns:
        The watch; `step` after each backward, `close` at the end, or use it as a context.

    Raises:
        ConfigError: for a setting outside its range.
        CapabilityError: for modules that cannot be watched, or a method that needs more than the loop offers.
        StoreError: if no run can be made.
    """
    if accumulate < 1:
        raise ConfigError(f"accumulate is {accumulate}, expected the number of micro-batches a step, 1 or more")
    model = WatchedModel(encoders, head, fuse)
    optimisers = (optimiser,) if isinstance(optimiser, torch.optim.Optimizer) else tuple(optimiser)
    left_out = _unread(task, head, outputs) if method is None else ""
    numbers = method is None and task == "regression" and head is None and not outputs
    settled = None if left_out or numbers else _task(task, head, outputs)
    offered = {"encoder_gradients", *(("unimodal_scores",) if settled else ())}
    if settled and model.has_head:
        offered |= {"head_gradients", *(("subset_forward",) if model.has_fusion else ())}
    granted = frozenset(offered)
    name = settled.spec.name if settled else "regression" if numbers else ""
    card, preset, balancer = balancing(method, preset, knobs or {}, name, len(model.modalities), granted)
    if card is not None and "subset_forward" in card.requires and missing:
        raise CapabilityError(f"{card.title} asks for predictions without a modality; it needs batches that have all")
    if balancer is not None:
        for modality in model.modalities:
            if model.frozen(modality):
                raise CapabilityError(f"encoder {modality!r} is frozen: a coefficient would scale nothing")
        if balancer.knobs.get("scales") == "update" and not optimisers:
            raise CapabilityError(
                f"{method} with these settings scales what the optimiser changes: give optimiser=, or "
                "knobs={'scales': 'gradient'}"
            )
    if unknown := sorted(set(features or {}) - set(model.modalities)):
        raise ConfigError(f"features= names {unknown[0]!r}, which is no encoder; there are: {', '.join(encoders)}")
    rank, world = place_among_processes()
    if world > 1 and balancer is not None:
        raise CapabilityError(
            f"{world} processes train this model together; balancing needs one coefficient for all of them, which a "
            "watch does not agree upon: watch without a method, or train in one process"
        )
    training = Training(seed=seed or 0, classifier_lr=classifier_lr)
    plan = Plan(
        model, settled, card, balancer, granted, training, accumulate, missing, optimisers, scaler, steps, epochs,
        (left_out,) if left_out else (), numbers,
    )  # fmt: skip
    if rank > 0:
        return Watch(plan, None, None, None, ())
    config = {
        "name": run, "tags": list(tags), "dataset": data, "model": _described_model(model),
        "method": method or "joint", "preset": preset, "method_params": dict(balancer.knobs) if balancer else {},
        "training": {"classifier_lr": training.classifier_lr, **({} if seed is None else {"seed": training.seed})},
        "watch": {"modalities": list(model.modalities), "task": name, "accumulate": accumulate,
                  "settings": dict(settings or {})},
    }  # fmt: skip
    folder, writer = make_run(runs, config)
    ears = Ears(model.encoders, head, features or {}, model.frozen)
    made = Watch(plan, folder, writer, ears, also)
    opened(made, made.shares)
    return made


def _unread(task: str | Task | None, head: nn.Linear | nn.Conv2d | None, outputs: int) -> str:
    """Why a task that was named cannot be read, for the run to say; "" where it can."""
    if task not in TASKS or head is not None or task == "regression":
        return ""
    if task == "segmentation":
        return "task='segmentation' is left out: it needs head=, the 1x1 convolution that gives a class for each pixel"
    return "" if outputs else f"task={task!r} is left out: how many outputs it has is not known; give head= or outputs="


def _task(task: str | Task | None, head: nn.Linear | nn.Conv2d | None, outputs: int) -> Task | None:
    if task is None or isinstance(task, Task):
        return task
    if task not in TASKS:
        raise ConfigError(f"task is {task!r:.80}, expected one of {', '.join(TASKS)}, or None to watch without one")
    found = 0
    if isinstance(head, nn.Linear):
        found = head.out_features
    elif isinstance(head, nn.Conv2d):
        found = head.out_channels
    if found and outputs and found != outputs:
        raise ConfigError(f"outputs is {outputs}, but the head has {found}; leave outputs out")
    count = found or outputs
    fewest = 1 if task == "regression" else 2
    if count < fewest:
        what = f"the head has {count}" if found else "give head=, or outputs="
        raise ConfigError(f"{task} needs {fewest} outputs or more{', one a class' if fewest > 1 else ''}: {what}")
    if task == "segmentation" and isinstance(head, nn.Linear):
        raise CapabilityError("segmentation needs a 1x1 nn.Conv2d as head, found nn.Linear")
    if task != "segmentation" and isinstance(head, nn.Conv2d):
        raise CapabilityError(f"{task} needs nn.Linear as head, found nn.Conv2d; for masks take task='segmentation'")
    if task == "segmentation" and head is None:
        raise CapabilityError("segmentation needs head=, the 1x1 convolution that gives a class for every pixel")
    return make_task(TaskSpec(task, count))  # type: ignore[arg-type]


def _described_model(model: WatchedModel) -> str:
    kinds = [type(modules[-1]).__name__ for modules in model.encoders.values()]
    return " + ".join(dict.fromkeys(kinds))[:200]


__all__ = ["Watch", "watch"]
