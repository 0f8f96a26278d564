"""What one run is: validated when built, exact in JSON, fingerprinted.

Why plain dictionaries for the plug-ins' knobs: their names and ranges stand on the plug-ins' cards, so this file
never learns of a new method.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cggm_core import catalog
from cggm_core.cards import Card, DatasetCard, MethodCard, ModelCard, Param, RunPresetCard, Value
from cggm_core.errors import ConfigError

NAME_LENGTH = 200
AUTO = "auto"
# Settings of what is watched: they change no number of a training, so runs that differ in them are repetitions.
WATCHING = ("snapshots", "snapshot_count", "snapshot_every", "snapshot_batches")
TRAINING_PARAMS = (
    Param("epochs", 10, 1, 100_000, "passes over the training split"),
    Param("batch_size", 64, 2, 65_536, "samples a step; 2 is noisiest, the whole split is a full gradient"),
    Param("optimiser", "adam", text="rule that turns gradients into updates; Adam cancels a constant scale",
          choices=("adam", "adamw", "sgd")),
    Param("lr", 1e-3, 0.0, 100.0, "learning rate of the model; near 0 nothing moves, too high diverges",
          low_open=True),
    Param("classifier_lr", 5e-4, 0.0, 100.0, "learning rate of the unimodal classifiers", low_open=True),
    Param("weight_decay", 0.0, 0.0, 10.0, "pull of the weights to zero; 0 is off"),
    Param("momentum", 0.9, 0.0, 0.9999, "of SGD only; 0 is plain gradient descent"),
    Param("gradient_clip", 0.0, 0.0, 1e6, "largest L2 norm of the whole model's gradient; 0 is off"),
    Param("schedule", "constant", text="how the learning rate changes over epochs",
          choices=("constant", "step", "cosine")),
    Param("schedule_epochs", 10, 1, 100_000, "epochs between two drops, for the step schedule"),
    Param("schedule_factor", 0.1, 0.0, 1.0, "step: factor a drop; cosine: final over first rate; 1 is constant"),
    Param("warmup_epochs", 0, 0, 100_000, "epochs of linear warm-up; 0 is none"),
    Param("warmup_factor", 0.0, 0.0, 1.0, "first over full rate in the warm-up; 0 makes its steps equal, 1 is no "
          "warm-up"),
    Param("class_weights", "data", text="weights of segmentation's cross-entropy: those of the data, or, for masks of "
          "four classes, the paper's for BraTS (0.2, 0.3, 0.25, 0.25); other masks keep their own",
          choices=("data", "paper")),
    Param("score", "standard", text="what a score is: standard is accuracy, -MAE or mean Dice; binary, for "
          "regression, is the share of right signs, as the released code of CGGM has it",
          choices=("standard", "binary")),
    Param("contributions", "epoch", text="looks at a fixed part of validation that show who carries the prediction: "
          "epoch after each epoch, with removal, permutation and noise curves at the end; end there only; off never "
          "unless asked", choices=("epoch", "end", "off")),
    Param("seed", 0, 0, 2**31 - 1, "of parameters and of the order of samples"),
    Param("device", "auto", text="auto, cpu, cuda, cuda:N or mps; auto takes a GPU where there is one"),
    Param("precision", "float32", text="number format of forward and backward",
          choices=("float32", "bf16", "fp16")),
    Param("threads", 0, 0, 1024, "processor threads of the worker; 0 takes the share given at start"),
    Param("checkpoint_seconds", 20.0, 0.0, 86_400.0,
          "time between checkpoints inside an epoch; 0 writes one every step"),
    Param("snapshots", "logarithmic", text="when gradients are kept for the gradient map: logarithmic is dense at "
          "first, every is regular, off leaves it to requests", choices=("logarithmic", "every", "off")),
    Param("snapshot_count", 10, 1, 1000, "snapshots of a run, for logarithmic; fewer where they would keep more than "
          "a quarter of the batches"),
    Param("snapshot_every", 200, 1, 1_000_000, "steps between two snapshots, for every"),
    Param("snapshot_batches", 8, 1, 64, "consecutive batches a snapshot keeps; 1 gives a map but hardly a number, "
          "from 4 on a snapshot is judged by itself"),
)  # fmt: skip
_TRAINING_CARD = Card("training", "Training", "Settings of every run, whatever its method.", TRAINING_PARAMS)


@dataclass(frozen=True)
class Training:
    """Settings of every run; ranges stand in `TRAINING_PARAMS`.

    Raises:
        ConfigError: for a value outside its range.
    """

    epochs: int = 10
    batch_size: int = 64
    optimiser: str = "adam"
    lr: float = 1e-3
    classifier_lr: float = 5e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    gradient_clip: float = 0.0
    schedule: str = "constant"
    schedule_epochs: int = 10
    schedule_factor: float = 0.1
    warmup_epochs: int = 0
    warmup_factor: float = 0.0
    class_weights: str = "data"
    score: str = "standard"
    contributions: str = "epoch"
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    threads: int = 0
    checkpoint_seconds: float = 20.0
    snapshots: str = "logarithmic"
    snapshot_count: int = 10
    snapshot_every: int = 200
    snapshot_batches: int = 8

    def __post_init__(self) -> None:
        for param in TRAINING_PARAMS:
            if param.name != "device":
                object.__setattr__(self, param.name, param.check(getattr(self, param.name)))
        kind, _, index = self.device.partition(":") if isinstance(self.device, str) else ("", "", "")
        if kind not in ("auto", "cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
            raise ConfigError(f"device must be auto, cpu, cuda, cuda:N or mps, not {self.device!r}")


_UNSAID = Training()  # told from one that was given by identity


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run, and what people call it.

    Attributes:
        dataset: name of a card, or path of a file or folder in one of the formats that are read.
        dataset_params: knobs of the data set's card, or of the format's, which is known when the path is read (of
            an `.npz` at once).
        model, model_params: the model's card and knobs; `auto` takes the one that is default for the data's task.
            For a data set of the catalog that is settled at once; what a file holds is known when it is read, so
            until `settled` its knobs are unchecked.
        method, method_params: the balancing method's card and knobs.
        preset: what the settings started from: one of the method's presets, or a preset of whole runs; "" for none.
            Its values are already inside the other fields, which alone decide.
        training: settings of every run; not given they are the run preset's, where one is named.
        name, tags, notes: for people; not part of the fingerprint.

    Raises:
        ConfigError: for anything unknown or outside its range, when built.
    """

    dataset: str = "digits_views"
    dataset_params: Mapping[str, Value] = field(default_factory=dict)
    model: str = AUTO
    model_params: Mapping[str, Value] = field(default_factory=dict)
    method: str = "joint"
    preset: str = ""
    method_params: Mapping[str, Value] = field(default_factory=dict)
    training: Training = _UNSAID
    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        method: MethodCard = catalog.card("method", self.method)
        preset = self.preset or (method.presets[0].name if method.presets else "")
        put = object.__setattr__
        put(self, "preset", preset)
        put(self, "method_params", method.resolve({**preset_values(method, preset), **self.method_params}))
        run = self.run_preset()
        if self.training is _UNSAID:
            settings: Mapping[str, Any] = run.training if run else {}
            put(self, "training", Training(**settings))
        if self.is_file():
            if self.dataset.endswith(".npz"):
                catalog.card("format", "npz").resolve(dict(self.dataset_params))
        else:
            data: DatasetCard = catalog.card("dataset", self.dataset)
            put(self, "dataset_params", data.resolve(dict(self.dataset_params)))
            if self.model == AUTO:
                put(self, "model", self._model_for(str(self.dataset_params.get("task", data.task))))
        if self.model != AUTO:
            model: ModelCard = catalog.card("model", self.model)
            start = run.model_params if run and run.model == self.model else {}
            put(self, "model_params", model.resolve({**start, **self.model_params}))
        put(self, "name", clean_text(self.name, NAME_LENGTH))
        put(self, "notes", clean_text(self.notes, 20_000, lines=True))
        put(self, "tags", tuple(clean_text(tag, 60) for tag in self.tags))

    def is_file(self) -> bool:
        """Whether `dataset` is a path and not a card's name, which has no dot and no separator."""
        return any(mark in self.dataset for mark in "./\\")

    def settled(self, task: str) -> RunConfig:
        """A copy with its model named, once the data's task is known.

        Raises:
            ConfigError: for a knob that this model does not have, or a value outside its range.
        """
        return replace(self, model=self._model_for(task)) if self.model == AUTO else self

    def run_preset(self) -> RunPresetCard | None:
        """The preset of whole runs this one started from; None where it is one of the method's, or none."""
        return run_preset(catalog.card("method", self.method), self.preset)

    def _model_for(self, task: str) -> str:
        run = self.run_preset()
        fits = run is not None and run.model and task in catalog.card("model", run.model).tasks
        return run.model if run and fits else default_model(task)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON types; `from_dict` gives an equal one back."""
        made = asdict(self)
        made["tags"] = list(self.tags)
        return made

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> RunConfig:
        """Build from JSON types; training settings that are not given are a run preset's, where one is named.

        Raises:
            ConfigError: for an unknown key or a value outside its range.
        """
        if not isinstance(given, Mapping):
            raise ConfigError(f"a configuration is an object, found {type(given).__name__}")
        known = {f.name for f in fields(cls)}
        training = given.get("training", {})
        if unknown := sorted(map(str, set(given) - known)):
            raise ConfigError(f"unknown setting {unknown[0][:80]!r}; there are: {', '.join(sorted(known))}")
        if not isinstance(training, Mapping):
            raise ConfigError(f"training must be an object, found {type(training).__name__}")
        for name in training:
            _TRAINING_CARD.param(str(name))
        for part in ("dataset_params", "model_params", "method_params"):
            if not isinstance(given.get(part, {}), Mapping):
                raise ConfigError(f"{part} must be an object, found {type(given[part]).__name__}")
        for part in ("dataset", "model", "method", "preset", "name", "notes"):
            if not isinstance(given.get(part, ""), str):
                raise ConfigError(f"{part} must be text, found {given[part]!r:.80}")
        tags = given.get("tags", ())
        if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) for tag in tags):
            raise ConfigError(f"tags must be a list of texts, found {tags!r:.80}")
        run = run_preset(catalog.card("method", given.get("method", cls.method)), given.get("preset", ""))
        settings = {**run.training, **training} if run else training
        return cls(**{**given, "training": Training(**settings), "tags": tuple(tags)})

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two spaces; floats round-trip exactly."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Inverse of `to_json`.

        Raises:
            ConfigError: if the text is not JSON or not a configuration.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the configuration is not valid JSON: {error}") from error

    def fingerprint(self) -> str:
        """16 hexadecimal digits over everything that decides the numbers, the seed included."""
        return _digest(self._deciding())

    def group(self) -> str:
        """As `fingerprint`, without the seed: runs of one group are repetitions of one another."""
        made = self._deciding()
        made["training"] = {k: v for k, v in made["training"].items() if k != "seed"}
        return _digest(made)

    def _deciding(self) -> dict[str, Any]:
        # While the model is open a run preset decides which one is taken.
        aside = ("name", "tags", "notes", *(("preset",) if self.model != AUTO else ()))
        made = {k: v for k, v in self.to_dict().items() if k not in aside}
        made["training"] = {k: v for k, v in made["training"].items() if k not in WATCHING}
        return made

    def with_settings(self, settings: Mapping[str, Any]) -> RunConfig:
        """A copy with dotted settings replaced, as `--set` gives them.

        Args:
            settings: `lr`, or `model.width`, `method.rho`, `dataset.noise`: the part before the dot
                is a plug-in, without one the setting is of the training itself.

        Raises:
            ConfigError: for an unknown setting or a value outside its range.
        """
        made = self
        for name, value in settings.items():
            part, dot, knob = name.partition(".")
            if not dot:
                if name in ("name", "notes"):
                    made = replace(made, **{name: value})
                    continue
                _TRAINING_CARD.param(name)
                made = replace(made, training=replace(made.training, **{name: value}))
            elif part in ("dataset", "model", "method"):
                target = f"{part}_params"
                made = replace(made, **{target: {**getattr(made, target), knob: value}})  # type: ignore[arg-type]
            else:
                raise ConfigError(f"unknown setting {name!r}; parts are dataset., model. and method.")
        return made


def run_preset(method: MethodCard, name: str) -> RunPresetCard | None:
    """The preset of whole runs of that name; None where a preset of the method has it, or nothing has."""
    if any(preset.name == name for preset in method.presets):
        return None
    found: RunPresetCard | None = catalog.all_cards("preset").get(name)
    return found


def preset_values(method: MethodCard, name: str) -> dict[str, Value]:
    """What a preset, the method's own or one of whole runs, says of the method's knobs; others keep their defaults.

    Raises:
        ConfigError: for a name that neither has.
    """
    own = [preset.name for preset in method.presets]
    first = dict(method.presets[0].values) if own else {}
    if not name:
        return first
    if name in own:
        return dict(method.preset(name).values)
    if run := run_preset(method, name):
        return {**first, **run.method_params.get(method.name, {})}
    raise ConfigError(
        f"{method.name} has no preset {name[:80]!r}; it has: {', '.join(own) or 'none'}; presets of whole runs, for "
        f"any method: {', '.join(catalog.all_cards('preset')) or 'none'}"
    )


def default_model(task: str) -> str:
    """Name of the model that is taken for a task where none is named.

    Raises:
        ConfigError: if no model is.
    """
    for name, card in catalog.all_cards("model").items():
        if task in card.default_for:
            return name
    raise ConfigError(f"no model is the default for {task}; name one")


def clean_text(text: str, limit: int, *, lines: bool = False) -> str:
    """Text for people: control and direction-changing characters dropped, at most `limit` characters.

    Direction marks could make a name read as another on the page; control characters break terminals.
    Emoji joiners and letters of every script stay.
    """
    kept = "".join(
        c for c in text
        if (c.isprintable() or c in "\u200d\ufe0f" or (lines and c in "\n\t"))
        and c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )  # fmt: skip
    return kept.strip()[:limit]


def _digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
