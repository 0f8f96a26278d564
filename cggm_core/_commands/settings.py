"""Flags that make a configuration; shared by `train` and `check`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cggm_core import catalog
from cggm_core.config import AUTO, RunConfig, run_preset
from cggm_core.errors import ConfigError
from cggm_core.store.layout import read_json_file

_LARGEST = 1_000_000
_TEXTS = ("name", "notes")
_PLUGINS = {"dataset": "dataset_params", "model": "model_params", "method": "method_params"}
_METHOD_KNOBS = ("magnitude", "direction", "rho", "lam")
_TRAINING_KNOBS = ("epochs", "batch_size", "lr", "seed", "device")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; a flag that is not given leaves the setting as the card or the file has it."""
    group = parser.add_argument_group("what to train")
    group.add_argument("--config", metavar="FILE", help="configuration as JSON; flags win over it")
    group.add_argument("--dataset", metavar="NAME|PATH", help="a data set's name, or a data file or folder")
    group.add_argument("--model", metavar="NAME", help="a model's name")
    group.add_argument("--method", metavar="NAME", help="a method's name")
    group.add_argument(
        "--preset", metavar="NAME", help="named settings: of the method, or of a whole run (list: presets)"
    )
    group.add_argument("--name", metavar="TEXT", help="what people call the run")
    for knob, text in (("magnitude", "gradient magnitudes"), ("direction", "gradient directions")):
        group.add_argument(f"--{knob}", action=argparse.BooleanOptionalAction, default=None, help=f"balance {text}")
    numbers = (("rho", "scale of the coefficients"), ("lam", "weight of the direction term"),
               ("epochs", "passes over the data"), ("batch-size", "samples a step"),
               ("lr", "learning rate"), ("seed", "of parameters and order"))  # fmt: skip
    for knob, text in numbers:
        group.add_argument(f"--{knob}", type=parsed, metavar="N", help=text)
    group.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps")
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="any setting: lr=0.01, method.rho=1.3, model.width=32, dataset.noise=0.5; repeatable",
    )  # fmt: skip


def config_of(given: argparse.Namespace) -> RunConfig:
    """The configuration that file, flags and `--set` make, in this order.

    Raises:
        ConfigError: for anything unknown or outside its range.
    """
    base: dict[str, Any] = _from_file(given.config) if given.config else {}
    for plugin, params in _PLUGINS.items():
        name = getattr(given, plugin)
        if name is not None and name != base.get(plugin):
            # Knobs of one plug-in mean nothing to another.
            base[plugin], base[params] = name, {}
            if plugin == "method" and base.get("preset") not in catalog.all_cards("preset"):
                base["preset"] = ""
    if given.preset is not None:
        _start_from(given.preset, base, keep_model=given.model is not None)
    if isinstance(base.get("dataset"), str):
        base["dataset"] = _as_dataset(base["dataset"])
    settings = {f"method.{knob}": getattr(given, knob) for knob in _METHOD_KNOBS}
    settings |= {knob: getattr(given, knob) for knob in (*_TRAINING_KNOBS, "name")}
    wanted = {key: value for key, value in settings.items() if value is not None}
    return RunConfig.from_dict(base).with_settings(wanted | pairs(given.settings))


def _start_from(preset: str, base: dict[str, Any], *, keep_model: bool) -> None:
    """Let a preset decide what it has a word on, whatever a configuration file said of that."""
    base["preset"], base["method_params"] = preset, {}
    method = base.get("method", RunConfig.method)
    run = run_preset(catalog.card("method", method), preset) if isinstance(method, str) else None
    if run is None:
        return
    training = base.get("training", {})
    if isinstance(training, dict):
        base["training"] = {name: value for name, value in training.items() if name not in run.training}
    if not keep_model:
        base["model"], base["model_params"] = AUTO, {}


def pairs(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as settings; the last of a key wins.

    Raises:
        ConfigError: for a text without key or equals sign.
    """
    made: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"a setting is written key=value, found {text[:80]!r}")
        made[key.strip()] = value if key.strip() in _TEXTS else parsed(value)
    return made


def parsed(text: str) -> Any:
    """A value as typed: number, truth value or text, as JSON has it where it is JSON.

    Lists and objects stay text, because no knob is one; so a range check can name what was typed.
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float | str) else text


def _from_file(name: str) -> dict[str, Any]:
    path = Path(name)
    try:
        given = read_json_file(path, _LARGEST)
    except OSError as error:
        raise ConfigError(f"the configuration {name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"the configuration {name} is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"the configuration {name} must be a JSON object, found {type(given).__name__}")
    return given


def _as_dataset(text: str) -> str:
    """A path made absolute, so that the run can be resumed from anywhere; a data set's name stays.

    A bare word that no data set has is a path if something of that name is there.
    """
    path = os.path.expanduser(text)
    is_path = any(mark in text for mark in "./\\") or (
        text not in catalog.all_cards("dataset") and os.path.exists(path)
    )
    return os.path.abspath(path) if is_path else text
