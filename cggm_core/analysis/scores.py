"""Final scores of finished runs: configurations by seeds, each against a pinned baseline."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from cggm_core import names
from cggm_core.analysis import comparison
from cggm_core.analysis.tables import Cell, Column, ScoreTable
from cggm_core.errors import ConfigError
from cggm_core.names import MetricKey
from cggm_core.store.protocols import RunInfo

Members = Mapping[str, tuple[RunInfo, ...]]
_SHOWN = ("score", "unimodal_score")


def configurations(infos: Sequence[RunInfo], baseline: str = "") -> dict[str, tuple[RunInfo, ...]]:
    """Runs by configuration under short names, the baseline first, one run a seed as `one_a_seed` takes them.

    Args:
        infos: runs; those that differ in the seed alone are one configuration.
        baseline: name of the configuration to pin; "" takes the one that balances nothing (method `joint`; of
            several the one with most finished runs), else the first.

    Raises:
        ConfigError: if no configuration has that name; the message lists those there are.
    """
    groups = comparison.grouped(infos)
    titles = comparison.group_names(groups)
    by_name = {titles[group]: one_a_seed(runs) for group, runs in groups.items()}
    if not by_name:
        return {}
    if baseline and baseline not in by_name:
        raise ConfigError(f"no configuration is called {baseline!r:.80}; there are: {', '.join(by_name)}")
    plain = [name for name, runs in by_name.items() if runs[0].config.get("method") == "joint"]
    done = {name: sum(run.state == "finished" for run in by_name[name]) for name in plain}
    first = baseline or max(plain, key=lambda name: done[name], default="") or next(iter(by_name))
    return {first: by_name[first], **by_name}


def one_a_seed(runs: Sequence[RunInfo]) -> tuple[RunInfo, ...]:
    """Of several runs of one seed the newest that finished, else the newest; runs that name no seed are all kept.

    A seed run twice is the same number twice: counted twice it would make a spread look smaller than it is.

    Args:
        runs: of one configuration.
    """
    kept: dict[object, RunInfo] = {}
    for info in sorted(runs, key=lambda run: (run.state == "finished", run.id)):  # ids ascend with time
        seed = comparison.seed_of(info)
        kept[seed if seed >= 0 else info.id] = info
    return tuple(sorted(kept.values(), key=lambda run: (comparison.seed_of(run), run.id)))


def data_sets(infos: Sequence[RunInfo], *, samples_apart: bool = False) -> dict[str, tuple[str, list[RunInfo]]]:
    """Runs by what they were trained on: a lasting word, a label, and the runs in their order.

    Two settings of one data set are two data sets here: scores on them do not compare.

    Args:
        infos: the runs.
        samples_apart: whether runs that came with the software stand apart from one's own, which were seldom trained
            as long.
    """
    found: dict[str, list[RunInfo]] = {}
    for info in infos:
        own: dict[str, object] = {key: info.config.get(key) for key in ("dataset", "dataset_params")}
        own["sample"] = samples_apart and info.sample
        text = json.dumps(own, sort_keys=True, default=str)
        found.setdefault(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8], []).append(info)
    labels = {word: _data_name(runs[0], samples_apart) for word, runs in found.items()}
    for shared in {label for label in labels.values() if list(labels.values()).count(label) > 1}:
        alike = {word: {"dataset_params": runs[0].config.get("dataset_params")}
                 for word, runs in found.items() if labels[word] == shared}  # fmt: skip
        apart = comparison.differences(alike)
        for word in alike:
            told = [f"{key.partition('.')[2]} {one[word]}"[:60] for key, one in apart.items() if word in one]
            labels[word] = f"{shared}, {', '.join(told[:3])}" if told else f"{shared} ({word})"
    return {word: (labels[word], runs) for word, runs in found.items()}


def _data_name(info: RunInfo, samples_apart: bool) -> str:
    name = str(info.config.get("dataset", "")).replace("\\", "/").rpartition("/")[2] or "unknown data"
    return f"{name}, samples" if samples_apart and info.sample else name


def finished(by_name: Members) -> dict[str, tuple[RunInfo, ...]]:
    """The same with the runs that came to their end; a configuration without one stays, empty."""
    return {name: tuple(run for run in runs if run.state == "finished") for name, runs in by_name.items()}


def key_label(key: MetricKey) -> str:
    """A series in words."""
    words = names.metric(key.metric).label
    return f"{words}: {key.modality}" if key.modality else words


def final_keys(by_name: Members) -> list[MetricKey]:
    """What runs say at their end, test before validation: scores, the task's metrics, scores of single modalities."""
    found = dict.fromkeys(key for runs in by_name.values() for info in runs for key in info.summary
                          if key.metric.startswith(("val_", "test_")))  # fmt: skip
    return sorted(found, key=_rank)


def score_keys(by_name: Members) -> list[MetricKey]:
    """Fused and unimodal scores, test before validation."""
    return [key for key in final_keys(by_name) if key.metric.partition("_")[2] in _SHOWN]


def metric_keys(by_name: Members) -> list[MetricKey]:
    """The task's own metrics on the test split, as the paper's Tables 2 to 4 have them."""
    return [key for key in final_keys(by_name) if key.metric.startswith("test_") and not key.modality
            and key.metric not in ("test_score", "test_loss")]  # fmt: skip


def _rank(key: MetricKey) -> tuple[bool, int, int]:
    word = key.metric.partition("_")[2]
    order = list(names.METRICS)
    return (
        key.metric.startswith("val_"),
        0 if word == "score" else 2 if word == "unimodal_score" else 3 if word == "loss" else 1,
        order.index(key.metric) if key.metric in order else len(order),
    )


def score_table(by_name: Members, keys: Sequence[MetricKey] | None = None) -> ScoreTable:
    """Newest values of runs against the first configuration.

    Args:
        by_name: runs by configuration, not empty, the baseline first; as `configurations` and `finished` give them.
        keys: what is compared, in this order; None for validation and test scores, fused and unimodal.
    """
    baseline = next(iter(by_name))
    keys = score_keys(by_name) if keys is None else list(keys)
    columns = tuple(Column(str(key), key_label(key), names.metric(key.metric).direction) for key in keys)
    rows = {}
    pinned_values = {key: values(by_name[baseline], key) for key in keys}
    for name, runs in by_name.items():
        cells = []
        for key in keys:
            own, pinned = values(runs, key), pinned_values[key]
            pair = None if name == baseline else comparison.paired(own, pinned)
            cells.append(
                Cell(comparison.sample([info.summary[key].last for info in runs if key in info.summary]), pair)
            )
        rows[name] = tuple(cells)
    return ScoreTable(columns, rows, baseline)


def values(runs: Sequence[RunInfo], key: MetricKey) -> dict[int, float]:
    """Newest value by seed; of several runs of one seed the newest run's."""
    return {comparison.seed_of(info): info.summary[key].last for info in runs if key in info.summary}


def reading(table: ScoreTable) -> str:
    """What the number of seeds allows to say."""
    by_column = [[cells[number].paired for cells in table.rows.values()] for number in range(len(table.columns))]
    pairs = [pair for column in by_column for pair in column if pair]
    text = (
        "Mean and standard deviation over seeds, at the end of training; the difference is to the baseline, seed "
        "by seed."
    )
    if not pairs:
        return f"{text} There is one configuration, so there is nothing to compare it with."
    most = max(pair.n for pair in pairs)
    if most < 2:
        return f"{text} Fewer than two seeds in common: no interval and no test is possible. Add seeds."
    tested = max(sum(1 for pair in column if pair and math.isfinite(pair.p)) for column in by_column)
    counted = f"{tested} comparisons are" if tested > 1 else "one comparison is"
    told = f"{text} {counted} made of each number, and p (Holm) allows for that; p alone does not."
    least = comparison.least_p(most)
    if least == 0.0:
        return told
    told = f"{told} The exact sign-flip test of {most} pairs gives no p below {least:.3g}"
    smallest = min(1.0, tested * least)
    if smallest <= 0.05:
        return f"{told}."
    enough = math.ceil(math.log2(40 * tested))
    return (
        f"{told}, after Holm {smallest:.3g}: no difference can reach 0.05. Read the intervals, and add seeds "
        f"({enough} suffice for as many comparisons) before calling one better."
    )
