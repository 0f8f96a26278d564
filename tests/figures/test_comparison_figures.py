"""Configurations over one another: colours that stay, a few that stand out, differences as rows, runaways said."""

from __future__ import annotations

import numpy as np

from cggm_core.analysis.comparison import paired, sample
from cggm_core.analysis.tables import Cell, Column, ScoreTable
from cggm_core.figures import screen, theme
from cggm_core.figures.comparison import Group, apart, compared, places
from cggm_core.figures.print import rendered
from cggm_core.names import MetricKey

SCORE = MetricKey("val_score")


def table(direction: str = "higher") -> ScoreTable:
    base = {0: 0.5, 1: 0.6, 2: 0.7}
    rows = {"joint": (Cell(sample([*base.values()]), None),)}
    for name, more in (("worse", -0.1), ("<b>best</b>", 0.2), ("other", 0.0)):
        own = {seed: value + more * (1 + 0.1 * seed) for seed, value in base.items()}
        rows[name] = (Cell(sample([*own.values()]), paired(own, base)),)
    return ScoreTable((Column("test_score", "Test score", direction),), rows, "joint")  # type: ignore[arg-type]


def group(name: str, place: int, last: float, faint: bool = False) -> Group:
    return Group(name, place, ((np.arange(20.0), np.linspace(0, last, 20)),) * 2, faint)


def test_a_configuration_keeps_its_colour_when_others_come_and_go() -> None:
    few, more = places(["joint", "cggm paper", "agm"]), places(["joint", "agm", "cggm paper", "zz"])
    assert few["joint"] == more["joint"] == -1
    assert [few[name] for name in ("agm", "cggm paper")] == [more[name] for name in ("agm", "cggm paper")]
    assert set(places(["joint", *map(str, range(40))]).values()) == set(range(-1, 40))


def test_who_is_not_highlighted_is_a_grey_line_that_says_its_name() -> None:
    spec = compared([group("joint", -1, 1.0), group("a", 0, 0.5), group("b_1", 0, 0.7, True)], SCORE)
    drawn = screen.figure(spec)
    grey = [trace for trace in drawn["data"] if trace["name"] == "b_1 (n = 2)"]
    assert len(grey) == 1
    assert grey[0]["line"]["color"] == theme.NEUTRAL
    assert not grey[0]["showlegend"]
    assert "b_1" in grey[0]["hovertemplate"]
    assert drawn["layout"]["hovermode"] == "closest"
    assert "1 configurations" not in spec.title
    assert "b_1 (n = 2)" in set(spec.table()["series"])
    assert "b_1" not in rendered(spec, "svg").decode()


def test_one_that_runs_away_does_not_flatten_the_others_and_is_said() -> None:
    calm = [group(f"c{number}", number, 1.0) for number in range(-1, 12)]
    spec = compared([*calm, group("wild", 13, 1e5)], MetricKey("loss"))
    panel = spec.panels[0]
    assert panel.y_range is not None
    assert panel.y_range[1] < 10
    assert "reach from 0 to 1e+05" in panel.note
    assert compared(calm, MetricKey("loss")).panels[0].y_range is None


def test_differences_are_rows_the_best_on_top_with_their_intervals() -> None:
    spec = apart(table())
    assert spec.panels[0].rows == ("<b>best</b>", "other", "worse")
    assert apart(table("lower")).panels[0].rows == ("worse", "other", "<b>best</b>")
    drawn = screen.figure(spec)
    axis = drawn["layout"]["yaxis"]
    assert axis["ticktext"][0] == "&lt;b&gt;best&lt;/b&gt;"
    assert axis["range"][0] > axis["range"][1]
    frame = spec.table()
    pair = table().rows["worse"][0].paired
    assert pair is not None
    bar = frame[frame.series == "worse, interval"]
    assert bar.x.tolist() == [pair.low, pair.high]
    assert bar["y"].tolist() == [2.0, 2.0]
    assert frame[frame.series == "worse, seeds"].x.tolist() == list(pair.differences)
    assert rendered(spec, "pdf") == rendered(spec, "pdf")
    assert ">&lt;b&gt;best&lt;/b&gt;<" in rendered(spec, "svg").decode()


def test_without_a_common_seed_there_is_a_sentence() -> None:
    rows = {"joint": (Cell(sample([0.5]), None),), "a": (Cell(sample([0.6]), paired({1: 0.6}, {0: 0.5})),)}
    spec = apart(ScoreTable((Column("test_score", "Test score", "higher"),), rows, "joint"))
    assert "No seed that joint and another configuration both have." in spec.panels[0].message()
    assert screen.figure(spec)["data"] == []
