"""A table of plain values under named columns, and the same as LaTeX, CSV and Parquet: no number is typed twice."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cggm_core.analysis.latex import latex_escaped, tabular
from cggm_core.store.export import storable

Value = str | float | int | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_WIDE = 6  # columns from which a table is set small


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        key: names it in exports.
        title: what it shows.
        how_to_read: a sentence or two.
        columns: headings, all different.
        rows: of as many values each; None where there is none.
        sentences: columns of running text, which LaTeX breaks into lines.
    """

    key: str
    title: str
    how_to_read: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    sentences: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """One column a heading; whole numbers or numbers if every value of it is one, else text."""
        made = {}
        for place, name in enumerate(self.columns):
            values = [row[place] for row in self.rows]
            if values and all(isinstance(v, int) for v in values):
                made[name] = pd.Series(values, dtype="int64")
            elif all(isinstance(v, (int, float)) or v is None for v in values) and any(v is not None for v in values):
                made[name] = pd.Series([np.nan if v is None else float(v) for v in values], dtype="float64")
            else:
                made[name] = pd.Series(["" if v is None else storable(str(v)) for v in values], dtype="str")
        return pd.DataFrame(made)

    def texts(self) -> list[list[str]]:
        """Cells as they are read: four digits, a dash where there is no value."""
        return [[cell_text(value) for value in row] for row in self.rows]

    def latex(self) -> str:
        """A booktabs table; text of users is escaped."""
        form = "".join(r"p{0.3\linewidth}" if name in self.sentences else "l" for name in self.columns)
        rows = [[latex_escaped(cell, 2000 if name in self.sentences else 80)
                 for name, cell in zip(self.columns, row, strict=True)] for row in self.texts()]  # fmt: skip
        return tabular([latex_escaped(name) for name in self.columns], rows, form, caption=latex_escaped(self.title),
                       wide=len(self.columns) >= _WIDE)  # fmt: skip


def cell_text(value: Value) -> str:
    """A value for readers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def guarded(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula: it gets an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_of(frame: pd.DataFrame) -> bytes:
    """A frame as CSV with every digit; text that could be a formula is guarded."""
    told = frame.copy()
    for column in told.columns:
        if not pd.api.types.is_numeric_dtype(told[column]):
            told[column] = [guarded(storable(str(text))) for text in told[column]]
    told.columns = pd.Index([guarded(storable(str(name))) for name in told.columns])
    text: str = told.to_csv(index=False, lineterminator="\n")
    return text.encode()


def parquet_of(frame: pd.DataFrame) -> bytes:
    """The same frame as Parquet, with its types; the same frame gives the same bytes."""
    import pyarrow as pa  # a tenth of a second that pages without exports do not pay
    import pyarrow.parquet as pq

    told = frame.copy()
    for column in told.columns:
        if not pd.api.types.is_numeric_dtype(told[column]):
            told[column] = [storable(str(text)) for text in told[column]]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(told, preserve_index=False), file, compression="zstd")
    return bytes(file.getvalue())
