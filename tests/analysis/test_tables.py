import io
import math

import pandas as pd

from cggm_core.analysis.comparison import paired, sample
from cggm_core.analysis.grids import Grid, csv_of, guarded, parquet_of
from cggm_core.analysis.latex import latex_escaped
from cggm_core.analysis.tables import Cell, Column, ScoreTable, spread_text, to_csv, to_latex


def table() -> ScoreTable:
    columns = (Column("test_score", "Test score", "higher"), Column("test_mae", "Test MAE", "lower"))
    joint = (Cell(sample([0.5, 0.7]), None), Cell(sample([1.0]), None))
    other = (
        Cell(sample([0.8, 0.9]), paired({0: 0.8, 1: 0.9}, {0: 0.5, 1: 0.7})),
        Cell(sample([2.0]), paired({0: 2.0}, {0: 1.0})),
    )
    return ScoreTable(columns, {"joint": joint, "=cggm_50% & \\input{x}": other}, "joint")


def test_the_best_follows_the_direction_of_the_number() -> None:
    found = table()
    assert [found.best(0), found.best(1)] == ["=cggm_50% & \\input{x}", "joint"]


def test_latex_is_escaped_and_the_best_is_bold() -> None:
    text = to_latex(table(), caption="a_b # c")
    assert r"\caption{a\_b \# c}" in text
    assert r"=cggm\_50\% \& \textbackslash{}input\{x\} & 2 & \textbf{0.850 $\pm$ 0.071} & \underline{2.000} \\" in text
    assert r"joint & 2 & \underline{0.600 $\pm$ 0.141} & \textbf{1.000} \\" in text
    assert text.count("toprule") == text.count("bottomrule") == 1


def test_no_user_text_begins_a_command() -> None:
    assert latex_escaped("\\write18{x}$y^2~") == (
        r"\textbackslash{}write18\{x\}\$y\textasciicircum{}2\textasciitilde{}"
    )
    assert latex_escaped("a\nb\x07") == "ab"


def test_latex_never_meets_a_letter_that_pdflatex_cannot_set() -> None:
    assert latex_escaped("ρ é ß – x²") == r"$\rho$ é ß -- x\texttt{U+00B2}"
    assert latex_escaped("\N{FAMILY}" * 9) == r"\texttt{U+1F46A}" * 4 + r"\ldots{}"
    assert latex_escaped("x" * 99, 10) == "x" * 10 + r"\ldots{}"
    assert latex_escaped("a\u202eb") == "ab"


def test_holm_allows_for_the_comparisons_of_one_number() -> None:
    rows = {"joint": (Cell(sample([0.0]), None),) * 2}
    for name, by in (("a", 1.0), ("b", 2.0)):
        pair = paired(dict.fromkeys(range(6), by), dict.fromkeys(range(6), 0.0))
        rows[name] = (Cell(sample([by]), pair),) * 2
    columns = (Column("test_score", "Test score", "higher"), Column("val_score", "Validation score", "higher"))
    found = ScoreTable(columns, rows, "joint")
    assert set(found.adjusted().values()) == {2 * 2 / 2**6}
    assert found.only([1]).columns == columns[1:]
    assert found.only([1]).adjusted()["a", 0] == found.adjusted()["a", 1]


def test_a_grid_is_one_table_in_every_form() -> None:
    grid = Grid("k", "A_title", "how", ("name", "n", "x"), (("=a&b", 1, 0.5), ("c", 2, None)))
    assert csv_of(grid.frame()) == b"name,n,x\n'=a&b,1,0.5\nc,2,\n"
    assert pd.read_parquet(io.BytesIO(parquet_of(grid.frame()))).equals(grid.frame())
    assert parquet_of(grid.frame()) == parquet_of(grid.frame())
    assert r"{}=a\&b & 1 & 0.5 \\" in grid.latex()
    assert r"{}c & 2 & -- \\" in grid.latex()


def test_csv_holds_every_number_and_guards_text() -> None:
    lines = to_csv(table()).splitlines()
    assert len(lines) == 5
    assert lines[3].startswith("'=cggm_50% & \\input{x},test_score,2,")
    assert lines[3].endswith('"exact sign-flip test, n = 2"')
    assert lines[1].endswith("baseline")


def test_formulas_are_guarded_and_words_are_not() -> None:
    assert [guarded(text) for text in ("=1", "+x", "-x", "@x", "\tx", "x=1")] == [
        "'=1",
        "'+x",
        "'-x",
        "'@x",
        "'\tx",
        "x=1",
    ]


def test_a_single_seed_shows_no_spread() -> None:
    assert spread_text(sample([0.5])) == "0.500"
    assert spread_text(sample([math.nan])) == "–"
