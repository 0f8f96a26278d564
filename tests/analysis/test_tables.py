import math

from cggm_core.analysis.comparison import paired, sample
from cggm_core.analysis.tables import (
    Cell,
    Column,
    ScoreTable,
    guarded,
    latex_escaped,
    spread_text,
    to_csv,
    to_latex,
)


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
    assert r"=cggm\_50\% \& \textbackslash{}input\{x\} & 2 & \textbf{0.850 $\pm$ 0.071} & 2.000 \\" in text
    assert r"joint & 2 & 0.600 $\pm$ 0.141 & \textbf{1.000} \\" in text
    assert text.count("toprule") == text.count("bottomrule") == 1


def test_no_user_text_begins_a_command() -> None:
    assert latex_escaped("\\write18{x}$y^2~") == (
        r"\textbackslash{}write18\{x\}\$y\textasciicircum{}2\textasciitilde{}"
    )
    assert latex_escaped("a\nb\x07") == "ab"


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
