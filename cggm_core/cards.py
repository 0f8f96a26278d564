"""Cards: what a plug-in says of itself, readable without importing it.

A plug-in file holds one literal `CARD = <Kind>Card(...)`. The catalog evaluates it out of the syntax tree, so
forms, pages and lists never load torch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from cggm_core.errors import CardError, ConfigError

Lever = Literal["none", "data", "features", "fusion", "loss", "gradient", "update", "schedule"]
TaskName = Literal["classification", "regression", "segmentation"]
Value = bool | int | float | str


@dataclass(frozen=True)
class Param:
    """One knob of a plug-in.

    Attributes:
        name: keyword of the plug-in's constructor or builder.
        default: value when nothing is said; its type is the knob's type.
        low: lowest value allowed, or None.
        high: highest value allowed, or None.
        text: what it does and what both ends mean.
        choices: allowed words, for a text knob.
        live: whether it may be changed while training runs.
        low_open: whether `low` itself is refused ("greater than").
    """

    name: str
    default: Value
    low: float | None = None
    high: float | None = None
    text: str = ""
    choices: tuple[str, ...] = ()
    live: bool = False
    low_open: bool = False

    def check(self, value: object) -> Value:
        """`value` in the knob's own type, if it is allowed.

        Raises:
            ConfigError: naming the knob, the value found and what is allowed.
        """
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
            raise ConfigError(f"{self.name} must be true or false, not {value!r}")
        if isinstance(self.default, str):
            if not self.choices and isinstance(value, (int, float)) and not isinstance(value, bool):
                value = str(value)  # a list of one number, as the command line reads it
            if isinstance(value, str) and (not self.choices or value in self.choices):
                return value
            allowed = f"one of {', '.join(self.choices)}" if self.choices else "text"
            raise ConfigError(f"{self.name} must be {allowed}, not {value!r:.80}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
            raise ConfigError(f"{self.name} must be a finite number{self._range()}, not {value!r}")
        if isinstance(self.default, int):
            if value != int(value):
                raise ConfigError(f"{self.name} must be a whole number{self._range()}, not {value!r}")
            value = int(value)
        else:
            value = float(value)
        too_low = self.low is not None and (value < self.low or (self.low_open and value == self.low))
        if too_low or (self.high is not None and value > self.high):
            raise ConfigError(f"{self.name} must be{self._range()}, not {value!r}")
        return value

    def _range(self) -> str:
        """Allowed range in words, with a leading space; "" when open."""
        if self.low is not None and self.high is not None:
            if self.low_open:
                return f" above {self.low:g}, up to {self.high:g}"
            return f" from {self.low:g} to {self.high:g}"
        if self.low is not None:
            return f" {'above' if self.low_open else 'at least'} {self.low:g}"
        return f" at most {self.high:g}" if self.high is not None else ""


@dataclass(frozen=True)
class Preset:
    """A named set of knob values of one card."""

    name: str
    text: str
    values: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What every plug-in says.

    Attributes:
        name: word on the command line and in configurations; also the file's name.
        title: as shown to people.
        summary: one sentence.
        params: its knobs.
        presets: named settings of the knobs; the first is the default.
    """

    name: str
    title: str
    summary: str
    params: tuple[Param, ...] = ()
    presets: tuple[Preset, ...] = ()

    def __post_init__(self) -> None:
        names = [p.name for p in self.params]
        if len(set(names)) != len(names):
            raise CardError(f"card {self.name!r} declares a knob twice: {names}")
        for param in self.params:
            param.check(param.default)
        for preset in self.presets:
            self.resolve(preset.values)

    def param(self, name: str) -> Param:
        """The knob of that name.

        Raises:
            ConfigError: if there is none; the message lists those there are.
        """
        for param in self.params:
            if param.name == name:
                return param
        known = ", ".join(p.name for p in self.params) or "none"
        raise ConfigError(f"{self.name} has no setting {name!r}; it has: {known}")

    def preset(self, name: str) -> Preset:
        """The preset of that name.

        Raises:
            ConfigError: if there is none; the message lists those there are.
        """
        for preset in self.presets:
            if preset.name == name:
                return preset
        known = ", ".join(p.name for p in self.presets) or "none"
        raise ConfigError(f"{self.name} has no preset {name!r}; it has: {known}")

    def resolve(self, given: dict[str, Any], preset: str = "") -> dict[str, Value]:
        """Every knob's value: its default, then the preset's, then what is given.

        Raises:
            ConfigError: for an unknown knob, or a value outside its range.
        """
        base = dict(self.preset(preset).values) if preset else {}
        for name in (*base, *given):
            self.param(name)
        return {p.name: p.check(given.get(p.name, base.get(p.name, p.default))) for p in self.params}


@dataclass(frozen=True)
class MethodCard(Card):
    """A balancing method.

    Attributes:
        lever: where it acts.
        paper: authors, venue, year; "" for ours.
        tasks: tasks it is sound for.
        modalities: fewest and most modalities; None is no limit.
        limits: why other tasks or numbers of modalities are refused, a sentence; "" where none are.
        requires: capabilities it reads (`protocols.step.CAPABILITIES`).
        reports: metrics it records beyond those of every run.
        neutral: knob values under which it equals joint training bit for bit.
        cost: cost per step relative to joint training, in words.
        departs: in one line, where paper, released code and this file differ.
    """

    lever: Lever = "none"
    paper: str = ""
    tasks: tuple[TaskName, ...] = ("classification", "regression", "segmentation")
    modalities: tuple[int, int | None] = (2, None)
    requires: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    neutral: dict[str, Value] = field(default_factory=dict)
    cost: str = ""
    departs: str = ""
    limits: str = ""


@dataclass(frozen=True)
class DatasetCard(Card):
    """A data set that the lab can build.

    Attributes:
        task: what is predicted.
        modalities: names of the modalities; empty where a knob decides.
        samples: train, validation and test sizes in words.
        licence: under which it may be used.
        source: where it comes from.
    """

    task: TaskName = "classification"
    modalities: tuple[str, ...] = ()
    samples: str = ""
    licence: str = ""
    source: str = ""


@dataclass(frozen=True)
class FormatCard(Card):
    """A form in which people pass data around, read from a path of theirs.

    Attributes:
        layout: what is expected on disk.
        task: what is predicted, in words.
        source: where such files come from.
    """

    layout: str = ""
    task: str = ""
    source: str = ""


@dataclass(frozen=True)
class ModelCard(Card):
    """A multimodal model.

    Attributes:
        kinds: input kinds it has an encoder for (vector, sequence, image).
        tasks: tasks it has a head for.
        default_for: tasks it is taken for where no model is named; each task has one such model.
    """

    kinds: tuple[str, ...] = ()
    tasks: tuple[TaskName, ...] = ()
    default_for: tuple[TaskName, ...] = ()


@dataclass(frozen=True)
class DiagnosticCard(Card):
    """Something that only looks.

    Attributes:
        cost: light (every step), standard (every tens of steps) or full (on demand).
        requires: capabilities it reads.
        reports: metrics it records.
    """

    cost: Literal["light", "standard", "full"] = "light"
    requires: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunPresetCard(Card):
    """Settings of a whole run under one name, for any data; what does not fit them is left as it would be.

    Attributes:
        training: settings of the training.
        model: taken where no other is named and it has a head for the data's task.
        model_params: knobs of that model.
        method_params: knobs by method; a method that is not named here starts from its own first preset.
        paper: authors, venue, year and table.
        unsaid: what the source leaves open, and where the value here comes from.
    """

    training: dict[str, Value] = field(default_factory=dict)
    model: str = ""
    model_params: dict[str, Value] = field(default_factory=dict)
    method_params: dict[str, dict[str, Value]] = field(default_factory=dict)
    paper: str = ""
    unsaid: str = ""


@dataclass(frozen=True)
class PageCard(Card):
    """A page of the app.

    Attributes:
        icon: material symbol.
        order: place in the navigation, low first.
        section: heading in the navigation.
        alias: further words for search; not shown.
    """

    icon: str = ""
    order: int = 100
    section: str = ""
    alias: tuple[str, ...] = ()
