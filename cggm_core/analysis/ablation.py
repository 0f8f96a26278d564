"""The paper's ablation (Fig. 5, Tables 5 and 6) out of whatever finished runs match.

An ablation is nothing of its own in the store. A cell of it is a configuration, and every finished run of that
configuration, whoever started it, fills it; what is missing is a list of configurations that can be started.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from cggm_core.analysis import comparison
from cggm_core.cards import Value
from cggm_core.config import WATCHING, RunConfig, Training
from cggm_core.errors import CggmError
from cggm_core.store.protocols import Event, RunInfo

Knob = Literal["rho", "lam"]
Standing = Literal["finished", "open", "failed"]
# The ticks of Fig. 5.
PAPER_VALUES: dict[Knob, tuple[float, ...]] = {
    "rho": (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4),
    "lam": (0.01, 0.05, 0.1, 0.15, 0.2, 0.25),
}
SYMBOLS: dict[Knob, str] = {"rho": "ρ", "lam": "λ"}
JOINT, MAGNITUDE, DIRECTION, BOTH = "joint training", "magnitude only", "direction only", "magnitude and direction"
_UNWATCHED: dict[str, Any] = {name: getattr(Training(), name) for name in WATCHING}
_METHODS = ("joint", "cggm", "unimodal")


@dataclass(frozen=True)
class Known:
    """A configuration that the lab can read, and by what it is compared.

    Attributes:
        config: in its canonical form: without seed, words for people and what is only watched.
        word: equal for configurations that compute the same numbers but for the seed.
        family: equal for those that may be compared: same data, model and training settings.
    """

    config: RunConfig
    word: str
    family: str


@dataclass(frozen=True)
class Work:
    """A run, or a configuration that waits to become one.

    Attributes:
        known: its configuration.
        seed: its seed.
        standing: finished; open (waits, starts or trains); failed (ended before its end, for whatever reason).
        info: the run; None for what has no run yet.
    """

    known: Known
    seed: int
    standing: Standing
    info: RunInfo | None = None


@dataclass(frozen=True)
class Family:
    """Works of the same data, model and training settings: what an ablation may compare.

    Attributes:
        word: names it in addresses; lasting.
        config: its joint training.
        works: of joint training, CGGM and single modalities, with whatever knobs and seeds.
    """

    word: str
    config: RunConfig
    works: tuple[Work, ...]

    def finished(self) -> tuple[RunInfo, ...]:
        """Its finished runs."""
        return tuple(work.info for work in self.works if work.info is not None and work.standing == "finished")

    def modalities(self) -> tuple[str, ...]:
        """Modalities of its data, as the runs record them; empty before the first has validated."""
        for info in self.finished():
            if found := tuple(k.modality for k in info.summary if k.metric == "test_unimodal_score"):
                return found
        return ()


@dataclass(frozen=True)
class Cell:
    """One place of an ablation.

    Attributes:
        label: in tables.
        config: that fills it, seed 0.
        value: of the knob that is swept; NaN in tables.
    """

    label: str
    config: RunConfig
    value: float = math.nan


@dataclass(frozen=True)
class Filled:
    """A cell and what there is of it.

    Attributes:
        cell: the place.
        runs: finished, one of every seed there is, by seed; of several the newest.
        open: seeds asked for that wait or train.
        failed: seeds asked for that were tried, did not finish and are not being tried again.
        missing: seeds asked for that nothing will bring, the failed among them.
    """

    cell: Cell
    runs: tuple[RunInfo, ...]
    open: tuple[int, ...]
    failed: tuple[int, ...]
    missing: tuple[int, ...]


def canonical(config: RunConfig) -> RunConfig:
    """The configuration that computes the same numbers, in the one form by which cells are compared.

    CGGM with lambda 0 is CGGM without direction, and without magnitude and direction it is joint training (its card's
    neutral setting, bit for bit). Seed, words for people and what is only watched are left out.
    """
    plain = replace(config, name="", tags=(), notes="", training=replace(config.training, seed=0, **_UNWATCHED))
    if config.method != "cggm":
        return plain
    knobs = dict(config.method_params)
    if not knobs["direction"] or knobs["lam"] == 0:
        knobs |= {"direction": False, "lam": 0.0}
    if not knobs["magnitude"] and not knobs["direction"]:
        return _joint(plain)
    return replace(plain, method_params=knobs)


def works(infos: Iterable[RunInfo]) -> list[Work]:
    """Runs that may belong to an ablation; damaged ones, other methods and foreign configurations are left out."""
    made = []
    for info in infos:
        if info.damaged or info.config.get("method") not in _METHODS:
            continue
        if (found := parsed(info.config)) is not None:
            standing: Standing = "finished" if info.state == "finished" else "failed"
            living = info.state in ("starting", "running", "paused")
            made.append(Work(found, comparison.seed_of(info), "open" if living else standing, info))
    return made


def altered(events: Iterable[Event]) -> bool:
    """Whether a run's knobs were changed while it trained: it is then no longer the configuration it began as."""
    return any(event.kind == "set" for event in events)


def without(family: Family, runs: Container[str]) -> Family:
    """A family without some of its runs, by their ids."""
    return replace(family, works=tuple(work for work in family.works if work.info is None or work.info.id not in runs))


def waiting(configs: Iterable[Mapping[str, Any]], standing: Standing = "open") -> list[Work]:
    """Configurations of a queue, as JSON types, as works."""
    made = []
    for config in configs:
        if config.get("method") in _METHODS and (found := parsed(config)) is not None:
            training = config.get("training")
            made.append(Work(found, int(training.get("seed", 0)) if isinstance(training, Mapping) else 0, standing))
    return made


def known(config: RunConfig) -> Known:
    """A configuration with the words by which it is compared."""
    found = parsed(config.to_dict())
    assert found is not None  # it was a configuration already
    return found


def parsed(config: Mapping[str, Any]) -> Known | None:
    """A stored configuration; None where the lab cannot read it."""
    told = {name: value for name, value in config.items() if name not in ("name", "tags", "notes")}
    if isinstance(training := told.get("training"), Mapping):
        told["training"] = {name: value for name, value in training.items() if name not in ("seed", *WATCHING)}
    try:
        return _parsed(json.dumps(told, sort_keys=True))
    except (TypeError, ValueError):
        return None


# Thousands of runs share a few configurations, and checking one against its cards takes a millisecond.
@lru_cache(maxsize=4096)
def _parsed(text: str) -> Known | None:
    try:
        plain = canonical(RunConfig.from_json(text))
        return Known(plain, plain.group(), _joint(plain).group())
    except (CggmError, TypeError, ValueError):
        return None


def families(found: Sequence[Work]) -> list[Family]:
    """Works by what they may be compared with, the family with most finished runs first."""
    members: dict[str, list[Work]] = {}
    for work in found:
        members.setdefault(work.known.family, []).append(work)
    made = [Family(word, _joint(mine[0].known.config), tuple(mine)) for word, mine in members.items()]
    return sorted(made, key=lambda family: -len(family.finished()))


def base_of(family: RunConfig, preset: str, knobs: Mapping[str, Value]) -> RunConfig:
    """CGGM in a family: what every cell of its ablation departs from.

    Args:
        family: joint training of the family.
        preset: of CGGM.
        knobs: rho and lambda, where they depart from the preset.

    Raises:
        ConfigError: for an unknown preset or a value outside its range.
    """
    return replace(family, method="cggm", preset=preset, method_params=dict(knobs))


def sweep_cells(base: RunConfig, knob: Knob, chosen: Sequence[float]) -> list[Cell]:
    """A cell a value, ascending. What the knob acts through (magnitude for rho, direction for lambda) is on.

    Raises:
        ConfigError: for a value outside the knob's range.
    """
    switch = "magnitude" if knob == "rho" else "direction"
    return [
        Cell(f"{SYMBOLS[knob]} = {value:g}", base.with_settings({f"method.{knob}": value, f"method.{switch}": True}),
             value)
        for value in sorted(set(chosen))
    ]  # fmt: skip


def component_cells(base: RunConfig) -> list[Cell]:
    """Table 6: neither, magnitude, direction, both."""
    return [
        Cell(JOINT, _joint(base)),
        *(
            Cell(label, base.with_settings({"method.magnitude": magnitude, "method.direction": direction}))
            for label, magnitude, direction in (
                (MAGNITUDE, True, False),
                (DIRECTION, False, True),
                (BOTH, True, True),
            )
        ),
    ]


def classifier_cells(base: RunConfig, modalities: Sequence[str]) -> list[Cell]:
    """Table 5: joint training, CGGM as in Table 6's last row, and each modality trained alone."""
    alone = [Cell(f"{m} alone", replace(_joint(base), method="unimodal", method_params={"modality": m}))
             for m in modalities]  # fmt: skip
    return [Cell(JOINT, _joint(base)), component_cells(base)[-1], *alone]


def values_there(found: Sequence[Work], base: RunConfig, knob: Knob) -> list[float]:
    """Values of a knob at which a run has finished that differs from the base in nothing else."""
    there = {work.known.word: work.known.config for work in found if work.standing == "finished"}
    asked = {word: c.method_params[knob] for word, c in there.items() if c.method == "cggm"}
    # A family holds few configurations, so each is held against the cell it would fill.
    return sorted(
        float(value)
        for word, value in asked.items()
        if word == known(sweep_cells(base, knob, [float(value)])[0].config).word
    )


def fill(cells: Sequence[Cell], found: Sequence[Work], seeds: Sequence[int]) -> list[Filled]:
    """What there is of every cell, and what is missing for the seeds asked for."""
    by_word: dict[str, list[Work]] = {}
    for work in found:
        by_word.setdefault(work.known.word, []).append(work)
    made = []
    for cell in cells:
        mine = by_word.get(known(cell.config).word, [])
        ended = [work.info for work in mine if work.standing == "finished" and work.info is not None]
        # Ids ascend with time: of several runs of one seed the newest counts, and n is a number of seeds.
        runs = {comparison.seed_of(info): info for info in sorted(ended, key=lambda info: info.id)}
        done = {work.seed for work in mine if work.standing == "finished"}
        going = {work.seed for work in mine if work.standing == "open"} - done
        tried = {work.seed for work in mine if work.standing == "failed"} - done - going
        kept = tuple(runs[seed] for seed in sorted(runs))
        made.append(Filled(
            cell, kept, *(tuple(s for s in seeds if s in some) for some in (going, tried, {*seeds} - done - going))
        ))  # fmt: skip
    return made


def to_start(filled: Iterable[Filled]) -> list[RunConfig]:
    """Configurations of everything missing, each once, seed by seed: a half-done ablation compares all its cells."""
    made: dict[tuple[int, str], RunConfig] = {}
    for one in filled:
        for seed in one.missing:
            config = one.cell.config
            # A sweep keeps no gradients for the gradient map: they would be most of its disk.
            training = replace(config.training, seed=seed, snapshots="off")
            name = f"{one.cell.label}, seed {seed}"
            made.setdefault(
                (seed, known(config).word), replace(config, training=training, name=name, tags=("ablation",))
            )
    return [made[key] for key in sorted(made, key=lambda key: key[0])]


def _joint(config: RunConfig) -> RunConfig:
    return replace(config, method="joint", preset="", method_params={})
