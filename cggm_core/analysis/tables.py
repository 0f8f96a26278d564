"""Tables of a comparison: rows of plain numbers, and the same as LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cggm_core.analysis.comparison import Paired, Sample, holm
from cggm_core.names import Direction

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "−": "$-$", "±": r"$\pm$",
    "→": r"$\rightarrow$", "ρ": r"$\rho$", "λ": r"$\lambda$",
}  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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

    def best(self, column: int) -> str | None:
        """Name of the configuration with the best mean; None where no way is better or nothing is known."""
        sign = {"higher": 1.0, "lower": -1.0}.get(self.columns[column].direction)
        known = {
            name: sign * cells[column].sample.mean
            for name, cells in self.rows.items()
            if sign is not None and math.isfinite(cells[column].sample.mean)
        }
        return max(known, key=lambda name: known[name]) if len(known) > 1 else None

    def adjusted(self) -> dict[tuple[str, int], float]:
        """P of every difference in the table, by configuration and column, adjusted by Holm for all of them."""
        places = [(name, number, cell.paired) for name, cells in self.rows.items() for number, cell in enumerate(cells)]
        tested = [(name, number, pair.p) for name, number, pair in places if pair is not None]
        adjusted = holm([p for _, _, p in tested])
        return {(name, number): p for (name, number, _), p in zip(tested, adjusted, strict=True)}


def spread_text(sample: Sample, digits: int = 3) -> str:
    """Mean and standard deviation: "0.912 ± 0.004"; the mean alone for one seed; a dash for none."""
    if sample.n == 0:
        return "–"
    if sample.n == 1:
        return f"{sample.mean:.{digits}f}"
    return f"{sample.mean:.{digits}f} ± {sample.std:.{digits}f}"


def latex_escaped(text: str) -> str:
    """Text that LaTeX prints as it is; control characters are dropped."""
    return "".join(_LATEX.get(c, c) for c in text if c.isprintable())


def to_latex(table: ScoreTable, *, caption: str = "", digits: int = 3) -> str:
    """A booktabs table: mean ± standard deviation, best mean bold, n a column of its own.

    Args:
        table: what to set.
        caption: our own words or a user's; escaped either way.
        digits: after the point.
    """
    heads = " & ".join(latex_escaped(column.label) for column in table.columns)
    lines = [r"\begin{table}[t]", r"\centering"]
    if caption:
        lines.append(rf"\caption{{{latex_escaped(caption)}}}")
    lines += [rf"\begin{{tabular}}{{lr{'c' * len(table.columns)}}}", r"\toprule",
              rf"Configuration & $n$ & {heads} \\", r"\midrule"]  # fmt: skip
    for name, cells in table.rows.items():
        shown = [_latex_cell(table, name, number, cell, digits) for number, cell in enumerate(cells)]
        n = max((cell.sample.n for cell in cells), default=0)
        lines.append(rf"{{}}{latex_escaped(name)} & {n} & {' & '.join(shown)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def settings_latex(apart: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> str:
    """Settings in which configurations differ, one line each, as a booktabs table.

    Args:
        apart: setting to value by configuration, as `comparison.differences` gives it.
        names: of the configurations, in the order of the columns.
    """
    heads = " & ".join(latex_escaped(name) for name in names)
    lines = [r"\begin{table}[t]", r"\centering", rf"\begin{{tabular}}{{l{'c' * len(names)}}}", r"\toprule",
             rf"Setting & {heads} \\", r"\midrule"]  # fmt: skip
    for key, one in apart.items():
        cells = (latex_escaped(str(one[name])[:80]) if name in one else "--" for name in names)
        lines.append(rf"{{}}{latex_escaped(key)} & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def settings_csv(apart: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> str:
    """The same as CSV; text that could be a formula gets an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["setting", *map(guarded, names)])
    for key, one in apart.items():
        writer.writerow([guarded(key), *(guarded(str(one.get(name, ""))) for name in names)])
    return file.getvalue()


def _latex_cell(table: ScoreTable, name: str, number: int, cell: Cell, digits: int) -> str:
    text = latex_escaped(spread_text(cell.sample, digits))
    return rf"\textbf{{{text}}}" if table.best(number) == name else text


def to_csv(table: ScoreTable) -> str:
    """One line a configuration and number, every digit; text that could be a formula gets an apostrophe."""
    rows: list[Sequence[object]] = []
    adjusted = table.adjusted()
    for name, cells in table.rows.items():
        for number, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            s, p = cell.sample, cell.paired
            against: list[object] = ["", "", "", "", "", "", "baseline"]
            if p is not None:
                against = [p.n, p.mean, p.low, p.high, p.p, adjusted[name, number], p.test]
            rows.append([guarded(name), guarded(column.key), s.n, s.mean, s.std, s.low, s.high, *against])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["configuration", "metric", "n", "mean", "std", "ci95_low", "ci95_high", "pairs", "difference",
                     "difference_ci95_low", "difference_ci95_high", "p", "p_holm", "test"])  # fmt: skip
    writer.writerows(rows)
    return file.getvalue()


def guarded(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
