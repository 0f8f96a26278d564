"""What an ablation says: the paper's Fig. 5 as a sweep, its Tables 5 and 6, and what they establish in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cggm_core import names
from cggm_core.analysis import comparison
from cggm_core.analysis.ablation import JOINT, Filled, Knob
from cggm_core.analysis.scores import score_table, values
from cggm_core.analysis.tables import Cell, Column, ScoreTable
from cggm_core.names import MetricKey
from cggm_core.store.protocols import RunInfo

ALONE, OF_JOINT, OF_CGGM = "trained alone", "classifiers in joint training", "classifiers in CGGM"
SCORE = MetricKey("test_score")
_SURE = 0.05


@dataclass(frozen=True)
class Sweep:
    """One score over the values of one knob, with joint training beside it.

    Attributes:
        knob: that is swept.
        key: score that is looked at.
        values: asked for, ascending.
        scores: by seed, one mapping a value; empty where no run has finished.
        joint: of joint training, by seed.
        table: the same as rows, joint training first, with paired differences to it.
    """

    knob: Knob
    key: MetricKey
    values: tuple[float, ...]
    scores: tuple[Mapping[int, float], ...]
    joint: Mapping[int, float]
    table: ScoreTable


def swept(knob: Knob, joint: Filled, points: Sequence[Filled], key: MetricKey = SCORE) -> Sweep:
    """One score over a sweep, seed by seed against joint training.

    Args:
        knob: that was swept.
        joint: joint training of the same family.
        points: cells of `sweep_cells`, filled.
        key: score that is looked at.
    """
    by_name = {JOINT: joint.runs, **{one.cell.label: one.runs for one in points}}
    return Sweep(knob, key, tuple(one.cell.value for one in points), tuple(values(one.runs, key) for one in points),
                 values(joint.runs, key), score_table(by_name, (key,)))  # fmt: skip


def component_table(filled: Sequence[Filled], keys: Sequence[MetricKey]) -> ScoreTable:
    """Table 6: a row a cell of `component_cells`, a column a score."""
    return score_table({one.cell.label: one.runs for one in filled}, keys)


def classifier_table(filled: Sequence[Filled], modalities: Sequence[str]) -> ScoreTable:
    """Table 5: how well each modality does alone, and its classifier in joint training and in CGGM.

    The differences are to the classifiers of joint training. A classifier reads features that the whole network shaped
    and it did not; a modality alone trains its encoder and the fusion head for itself: the same network with the other
    features at zero, where the paper trains three separate models.

    Args:
        filled: cells of `classifier_cells`.
        modalities: as given there.
    """
    joint, cggm, *alone = (one.runs for one in filled)
    columns: list[Column] = []
    rows: dict[str, list[Cell]] = {OF_JOINT: [], ALONE: [], OF_CGGM: []}
    for modality, own in zip(modalities, alone, strict=True):
        key = MetricKey("test_unimodal_score", modality)
        found = {OF_JOINT: values(joint, key), ALONE: values(own, SCORE), OF_CGGM: values(cggm, key)}
        columns.append(Column(str(key), modality, names.metric(key.metric).direction))
        for name, by_seed in found.items():
            pair = None if name == OF_JOINT else comparison.paired(by_seed, found[OF_JOINT])
            rows[name].append(Cell(comparison.sample(list(by_seed.values())), pair))
    return ScoreTable(tuple(columns), {name: tuple(cells) for name, cells in rows.items()}, OF_JOINT)


def score_keys(infos: Iterable[RunInfo]) -> list[MetricKey]:
    """Fused scores of finished runs that have a better direction: of the test split first, the score before others."""
    recorded = {key for info in infos for key in info.summary if not key.modality}
    found = [key for key in recorded if key.metric.startswith(("test_", "val_")) and not key.metric.endswith("_loss")
             and names.metric(key.metric).direction != "neutral"]  # fmt: skip
    order = list(names.METRICS)
    place = {name: number for number, name in enumerate(order)}
    return sorted(found, key=lambda key: (key.metric.startswith("val_"), not key.metric.endswith("_score"),
                                          place.get(key.metric, len(order)), key.metric))  # fmt: skip


def conclusion(table: ScoreTable, number: int = 0) -> str:
    """What one column of a table establishes against its baseline, in words; "" where nothing is there to compare."""
    column, adjusted = table.columns[number], table.adjusted()
    pinned = table.rows[table.baseline][number].sample
    pairs = {name: cells[number].paired for name, cells in table.rows.items()}
    known = {name: pair for name, pair in pairs.items() if pair is not None and pair.n}
    if not known:
        there = any(cells[number].sample.n for name, cells in table.rows.items() if name != table.baseline)
        if pinned.n or not there:
            return ""
        return f"There is no finished run of {table.baseline} to compare with: start it."
    sign = -1.0 if column.direction == "lower" else 1.0
    sure = {name: pair for name, pair in known.items() if adjusted[name, number] <= _SURE}
    better = [name for name, pair in sure.items() if sign * pair.mean > 0]
    worse = [name for name, pair in sure.items() if sign * pair.mean < 0]
    told = [f"{word} than {table.baseline} (p after Holm at most {_SURE:g}): {', '.join(group)}."
            for word, group in (("Better", better), ("Worse", worse)) if group]  # fmt: skip
    if not told:
        told = [f"No difference to {table.baseline} is established."]
    name, best = max(known.items(), key=lambda item: sign * item[1].mean)
    interval = f", 95 % interval {best.low:+.4f} to {best.high:+.4f}" if math.isfinite(best.low) else ""
    most = "Largest mean gain" if sign * best.mean > 0 else "No mean gain; the smallest loss is"
    return f"{' '.join(told)} {most}: {name}, {best.mean:+.4f} ({_pairs(best.n)}{interval})."


def _pairs(n: int) -> str:
    return f"{n} pair{'s' * (n > 1)} of seeds"
