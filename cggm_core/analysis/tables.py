"""Tables of a comparison: rows of plain numbers, and the same as LaTeX and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cggm_core.analysis.comparison import Paired, Sample, bootstrap, holm
from cggm_core.analysis.grids import Grid, csv_of
from cggm_core.analysis.latex import latex_escaped, tabular
from cggm_core.names import Direction


@dataclass(frozen=True)
class Cell:
    """One number of one configuration, with its difference to the baseline.

    Attributes:
        sample: over the seeds.
        paired: difference to the baseline; None for the baseline itself.
    """

    sample: Sample
    paired: Paired | None


@dataclass(frozen=True)
class Column:
    """What a column compares.

    Attributes:
        key: as recorded.
        label: heading.
        direction: which way is better.
    """

    key: str
    label: str
    direction: Direction


@dataclass(frozen=True)
class ScoreTable:
    """Final scores of configurations, the baseline first.

    Attributes:
        columns: what is compared.
        rows: name of a configuration to its cells, one a column.
        baseline: name of the pinned one.
    """

    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    baseline: str

    def ranked(self, column: int) -> tuple[str, ...]:
        """Names of the configurations by their mean, the best first; none where no way is better or one is known."""
        sign = {"higher": -1.0, "lower": 1.0}.get(self.columns[column].direction)
        if sign is None:
            return ()
        known = {
            name: sign * cells[column].sample.mean
            for name, cells in self.rows.items()
            if math.isfinite(cells[column].sample.mean)
        }
        return tuple(sorted(known, key=lambda name: known[name])) if len(known) > 1 else ()

    def best(self, column: int) -> str | None:
        """Name of the configuration with the best mean; None where no way is better or nothing is known."""
        return next(iter(self.ranked(column)), None)

    def adjusted(self) -> dict[tuple[str, int], float]:
        """P of every difference by configuration and column, by Holm for all comparisons of its column.

        Every number is a question of its own, asked of all configurations at once; who looks at many numbers for any
        difference at all must allow for that as well.
        """
        made: dict[tuple[str, int], float] = {}
        for number in range(len(self.columns)):
            tested = {name: cells[number].paired for name, cells in self.rows.items()}
            pairs = {name: pair.p for name, pair in tested.items() if pair is not None}
            made |= {(name, number): p for name, p in zip(pairs, holm(list(pairs.values())), strict=True)}
        return made

    def only(self, numbers: Sequence[int]) -> ScoreTable:
        """The table of some of the columns."""
        rows = {name: tuple(cells[number] for number in numbers) for name, cells in self.rows.items()}
        return ScoreTable(tuple(self.columns[number] for number in numbers), rows, self.baseline)


def spread_text(sample: Sample, digits: int = 3) -> str:
    """Mean and standard deviation: "0.912 ± 0.004"; the mean alone for one seed; a dash for none."""
    if sample.n == 0:
        return "–"
    if sample.n == 1:
        return f"{sample.mean:.{digits}f}"
    return f"{sample.mean:.{digits}f} ± {sample.std:.{digits}f}"


def to_latex(table: ScoreTable, *, caption: str = "", digits: int = 3) -> str:
    """A booktabs table: mean ± standard deviation, best mean bold, second underlined, n a column of its own.

    Args:
        table: what to set.
        caption: our own words or a user's; escaped either way.
        digits: after the point.
    """
    ranks = [table.ranked(number)[:2] for number in range(len(table.columns))]
    rows = []
    for name, cells in table.rows.items():
        shown = [_latex_cell(ranks[number], name, cell, digits) for number, cell in enumerate(cells)]
        rows.append([latex_escaped(name), str(max((cell.sample.n for cell in cells), default=0)), *shown])
    heads = ["Configuration", "$n$", *(latex_escaped(column.label) for column in table.columns)]
    return tabular(heads, rows, f"lr{'c' * len(table.columns)}", caption=latex_escaped(caption, 300),
                   wide=len(table.columns) > 3)  # fmt: skip


def _latex_cell(ranks: Sequence[str], name: str, cell: Cell, digits: int) -> str:
    text = latex_escaped(spread_text(cell.sample, digits))
    if name not in ranks:
        return text
    return rf"\textbf{{{text}}}" if ranks[0] == name else rf"\underline{{{text}}}"


def settings_grid(apart: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> Grid:
    """Settings in which configurations differ: a row a setting, or a row a configuration where those are more.

    Args:
        apart: setting to value by configuration, as `comparison.differences` gives it.
        names: of the configurations.
    """
    title, how = "Settings that differ", "What is not listed is the same in every configuration."
    if len(names) > max(4, len(apart)):
        rows = tuple((name, *(_setting(apart[key], name) for key in apart)) for name in names)
        return Grid("settings", title, how, ("configuration", *apart), rows)
    rows = tuple((key, *(_setting(one, name) for name in names)) for key, one in apart.items())
    return Grid("settings", title, how, ("setting", *names), rows)


def _setting(one: Mapping[str, object], name: str) -> str:
    value = one.get(name, "–")
    return ("on" if value else "off") if isinstance(value, bool) else str(value)[:80]


def to_frame(table: ScoreTable) -> pd.DataFrame:
    """One row a configuration and number, every digit."""
    rows: list[dict[str, object]] = []
    adjusted = table.adjusted()
    for name, cells in table.rows.items():
        for number, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            s, p = cell.sample, cell.paired
            low, high = bootstrap(p.differences) if p else (math.nan, math.nan)
            rows.append({
                "configuration": name, "metric": column.key, "n": s.n, "mean": s.mean, "std": s.std,
                "ci95_low": s.low, "ci95_high": s.high, "pairs": p.n if p else np.nan,
                "difference": p.mean if p else np.nan, "difference_ci95_low": p.low if p else np.nan,
                "difference_ci95_high": p.high if p else np.nan, "difference_bootstrap95_low": low,
                "difference_bootstrap95_high": high, "p": p.p if p else np.nan,
                "p_holm": adjusted[name, number] if p else np.nan, "test": p.test if p else "baseline",
            })  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = (
    "configuration", "metric", "n", "mean", "std", "ci95_low", "ci95_high", "pairs", "difference",
    "difference_ci95_low", "difference_ci95_high", "difference_bootstrap95_low", "difference_bootstrap95_high", "p",
    "p_holm", "test",
)  # fmt: skip


def to_csv(table: ScoreTable) -> str:
    """The same as CSV; text that could be a formula gets an apostrophe."""
    return csv_of(to_frame(table)).decode()
