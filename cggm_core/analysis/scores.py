"""Final scores of finished runs: configurations by seeds, each against a pinned baseline."""

from __future__ import annotations

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
    """Runs by configuration under short names, the baseline first.

    Args:
        infos: runs; those that differ in the seed alone are one configuration.
        baseline: name of the configuration to pin; "" takes the one that balances nothing (method `joint`), else the
            first.

    Raises:
        ConfigError: if no configuration has that name; the message lists those there are.
    """
    groups = comparison.grouped(infos)
    titles = comparison.group_names(groups)
    by_name = {titles[group]: runs for group, runs in groups.items()}
    if not by_name:
        return {}
    if baseline and baseline not in by_name:
        raise ConfigError(f"no configuration is called {baseline!r:.80}; there are: {', '.join(by_name)}")
    first = baseline or next((name for name, runs in by_name.items() if runs[0].config.get("method") == "joint"), "")
    first = first or next(iter(by_name))
    return {first: by_name[first], **by_name}


def finished(by_name: Members) -> dict[str, tuple[RunInfo, ...]]:
    """The same with the runs that came to their end; a configuration without one stays, empty."""
    return {name: tuple(run for run in runs if run.state == "finished") for name, runs in by_name.items()}


def key_label(key: MetricKey) -> str:
    """A series in words."""
    words = names.metric(key.metric).label
    return f"{words}: {key.modality}" if key.modality else words


def score_table(by_name: Members, only: Sequence[MetricKey] = ()) -> ScoreTable:
    """Newest validation and test scores of runs, fused and unimodal, against the first configuration.

    Args:
        by_name: runs by configuration, not empty, the baseline first; as `configurations` and `finished` give them.
        only: the numbers wanted, in this order; empty takes every score that is recorded.
    """
    baseline = next(iter(by_name))
    found = dict.fromkeys(key for runs in by_name.values() for info in runs for key in info.summary
                          if key.metric.removeprefix("val_").removeprefix("test_") in _SHOWN
                          and key.metric.startswith(("val_", "test_")))  # fmt: skip
    keys = list(only) or sorted(found, key=lambda k: (k.metric.startswith("val_"), bool(k.modality)))
    columns = tuple(Column(str(key), key_label(key), names.metric(key.metric).direction) for key in keys)
    rows = {}
    for name, runs in by_name.items():
        cells = []
        for key in keys:
            own, pinned = values(runs, key), values(by_name[baseline], key)
            # Two runs of one seed count once each in the mean, but a pair needs one run a seed.
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
    pairs = [cell.paired for cells in table.rows.values() for cell in cells if cell.paired]
    text = (
        "Mean and standard deviation over seeds, at the end of training; the difference is to the baseline, seed "
        "by seed."
    )
    if not pairs:
        return f"{text} There is one configuration, so there is nothing to compare it with."
    most = max(pair.n for pair in pairs)
    if most < 2:
        return f"{text} Fewer than two seeds in common: no interval and no test is possible. Add seeds."
    tested = sum(1 for pair in pairs if math.isfinite(pair.p))
    smallest = min(1.0, tested * 2 / 2**most)
    if smallest > 0.05:
        enough = math.ceil(math.log2(40 * tested))
        return (
            f"{text} With {most} pairs and {tested} comparisons the smallest p (Holm) the exact test can give is "
            f"{smallest:.3g}, so no difference can reach 0.05: read the intervals, and add seeds ({enough} suffice for "
            "as many comparisons) before calling one better."
        )
    return f"{text} {tested} comparisons are made at once; p (Holm) allows for all of them, p does not."
