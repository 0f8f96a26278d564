"""Forms made from cards: a new plug-in or knob appears without an edit here."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from cggm_core.cards import DatasetCard, MethodCard, ModelCard, Param, Value
from cggm_core.config import TRAINING_PARAMS, RunConfig, Training
from cggm_core.errors import ConfigError
from cggm_core.ui.safe import md, plain

MOST_SEEDS, CELL_WIDTH = 100, 150
_TITLES = {"rho": "ρ (rho)", "lam": "λ (lam)", "lr": "learning rate (lr)"}
# Free text on its card, because `cuda:N` has no end; these are what people take.
_USUAL = {"device": ("auto", "cpu", "cuda", "mps")}


def title(param: Param) -> str:
    """A knob's name as a label."""
    return _TITLES.get(param.name, param.name.replace("_", " "))


def help_text(param: Param) -> str:
    """What a knob does, what both ends mean, its range and its default, escaped for Markdown."""
    sentence = param.text[:1].upper() + param.text[1:] if param.text else title(param)
    default = f"{param.default:g}" if _is_number(param.default) else str(param.default).lower()
    parts = [
        sentence,
        _range(param),
        f"Default {default}" + (", can be changed while training" if param.live else ""),
    ]
    return md(". ".join(part for part in parts if part) + ".", 900)


def knob(param: Param, key: str, value: Value) -> Any:
    """One widget for one knob.

    Args:
        param: from a card.
        key: of the widget; it must name everything the starting value depends on.
        value: shown at first.

    Returns:
        What the widget holds: of the knob's type, or None for an emptied number. The widget does not enforce
        the range: a value outside it is answered below it by the sentence of the card, which says the range.
    """
    held = _widget(param, key, value)
    try:
        param.check(held)
    except ConfigError as error:
        st.markdown(f":red[{md(error, 300)}]")
    return held


def _widget(param: Param, key: str, value: Value) -> Any:
    label, about = title(param), help_text(param)
    if isinstance(param.default, bool):
        return st.toggle(label, value=bool(value), key=key, help=about)
    if isinstance(param.default, str):
        choices = list(param.choices or _USUAL.get(param.name, ()))
        if not choices:
            return st.text_input(label, value=str(value), key=key, help=about)
        index = choices.index(str(value)) if value in choices else 0
        return st.selectbox(label, choices, index=index, key=key, help=about, accept_new_options=not param.choices)
    if isinstance(param.default, int):
        return st.number_input(label, value=int(value), step=1, key=key, help=about)
    return st.number_input(
        label, value=float(value), step=_stride(float(param.default)), format="%.6g", key=key, help=about
    )


def knobs(params: Iterable[Param], prefix: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """Widgets for several knobs: switches in a first row, the others in rows that wrap on a narrow page.

    Args:
        params: from a card.
        prefix: of the widgets' keys.
        values: shown at first.

    Returns:
        What the widgets hold, by name.
    """
    listed = list(params)
    found: dict[str, Any] = {}
    for switches in (True, False):
        row = [param for param in listed if isinstance(param.default, bool) is switches]
        if not row:
            continue
        with st.container(horizontal=True, gap="medium" if switches else "small"):
            for param in row:
                with st.container(width="content" if switches else CELL_WIDTH, gap="small"):
                    found[param.name] = knob(param, f"{prefix}.{param.name}", values[param.name])
    return {param.name: found[param.name] for param in listed}


def parse_seeds(text: str) -> list[int]:
    """Seeds out of `0, 1, 2` or `0-4` or both, without repetitions, in the order given.

    Raises:
        ConfigError: naming the part that is no seed.
    """
    seeds: list[int] = []
    for part in (piece for piece in re.split(r"[,;\s]+", text.strip()) if piece):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part)
        if not match:
            raise ConfigError(f"seeds must be whole numbers such as 0, 1, 2 or 0-4, not {part[:40]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MOST_SEEDS:
            raise ConfigError(f"seeds {part!r} must go upwards and hold at most {MOST_SEEDS} numbers, for example 0-4")
        seeds += range(first, last + 1)
    unique = list(dict.fromkeys(seeds))
    if not 1 <= len(unique) <= MOST_SEEDS:
        raise ConfigError(f"give 1 to {MOST_SEEDS} seeds, for example 0, 1, 2; found {len(unique)}")
    return unique


def misfit(dataset: DatasetCard | None, model: ModelCard | None, method: MethodCard) -> str:
    """Why a data set, a model and a method do not go together, in one sentence; "" if they do."""
    if dataset is None:
        return ""
    if model is not None and dataset.task not in model.tasks:
        return f"{model.title} has no head for {dataset.task}, the task of {dataset.title}; choose another model"
    if dataset.task not in method.tasks:
        return f"{method.title} is not sound for {dataset.task}; choose another method or data set"
    fewest, most = method.modalities
    count = len(dataset.modalities)
    if count and (count < fewest or (most is not None and count > most)):
        wanted = f"{fewest} or more" if most is None else f"{fewest} to {most}"
        return f"{method.title} takes {wanted} modalities, {dataset.title} has {count}; choose another data set"
    return ""


def command_line(config: RunConfig) -> str:
    """The command that starts the same run; only settings that differ from the defaults are named."""
    words = ["python", "-m", "cggm_core", "train", "--dataset", config.dataset, "--method", config.method]
    if config.preset:
        words += ["--preset", config.preset]
    named = {"dataset": config.dataset, "method": config.method, "preset": config.preset}
    # As the command line goes about it: knobs of the data decide the task, and the task the model.
    base = RunConfig.from_dict({**named, "dataset_params": config.dataset_params})
    if config.model != base.model:
        words += ["--model", config.model]
        base = RunConfig.from_dict({**named, "model": config.model})
    base = replace(base, dataset_params={})
    training, before = vars_of(config.training), vars_of(base.training)
    words += ["--seed", str(training.pop("seed"))]
    settings = {k: v for k, v in training.items() if v != before[k]}
    for part in ("dataset", "model", "method"):
        now, was = getattr(config, f"{part}_params"), getattr(base, f"{part}_params")
        settings |= {f"{part}.{k}": v for k, v in now.items() if v != was.get(k)}
    if config.name:
        words += ["--name", config.name]
    for name, value in settings.items():
        words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join(words)


def vars_of(training: Training) -> dict[str, Value]:
    """Training settings by name."""
    return {param.name: getattr(training, param.name) for param in TRAINING_PARAMS}


def split_tags(text: str) -> tuple[str, ...]:
    """Tags out of a comma separated text, without repetitions."""
    return tuple(dict.fromkeys(tag for tag in (plain(part, 60) for part in text.split(",")) if tag))


def grouped(params: Sequence[Param], first: Collection[str]) -> tuple[list[Param], list[Param]]:
    """Knobs named in `first`, in that order, and all others, in the card's order."""
    by_name = {param.name: param for param in params}
    return [by_name[name] for name in first], [p for p in params if p.name not in first]


def _range(param: Param) -> str:
    if not _is_number(param.default) or (param.low is None and param.high is None):
        return ""
    low = "" if param.low is None else f"{'above' if param.low_open else 'from'} {param.low:g}"
    high = "" if param.high is None else f"{'up ' if param.low_open else ''}to {param.high:g}"
    return f"Range: {low} {high}".strip()


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stride(default: float) -> float:
    """Step of the plus and minus buttons: a tenth of the default's magnitude, a power of ten."""
    return 10.0 ** (math.floor(math.log10(abs(default))) - (abs(default) < 1)) if default else 0.01
