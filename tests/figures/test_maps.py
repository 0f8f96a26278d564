"""The map's figure: one colour a modality, one shape a kind, a click says the step; on paper as on the screen."""

from __future__ import annotations

import numpy as np

from cggm_core.embedding.gradients import collect
from cggm_core.embedding.pairing import over_training
from cggm_core.figures import screen, theme
from cggm_core.figures.maps import NUMBERS, gradient_map, numbers
from cggm_core.figures.print import rendered
from tests.embedding.making import paired

TABLE = collect(paired(0.5, snapshots=3, dim=20))
POINTS = np.random.default_rng(0).normal(size=(len(TABLE), 2))


def test_colour_is_modality_and_shape_is_kind_and_each_point_says_its_step() -> None:
    drawn = screen.figure(gradient_map(POINTS, TABLE, ("audio", "text"), "PCA"))
    found = {trace["name"]: trace for trace in drawn["data"]}
    assert set(found) == {f"{m} ({k})" for m in ("audio", "text") for k in ("classifier", "unimodal")}
    one = found["text (unimodal)"]
    assert one["marker"]["color"] == theme.modality_colour("text", ("audio", "text"))
    assert one["marker"]["symbol"] == "diamond"
    assert one["customdata"] == TABLE.step[(TABLE.modality == "text") & (TABLE.kind == "unimodal")].tolist()
    assert one["text"][0] == "text (unimodal), step 0"
    assert drawn["layout"]["hovermode"] == "closest"


def test_a_window_leaves_points_out_and_keeps_the_view_and_the_traces() -> None:
    whole, part = (gradient_map(POINTS, TABLE, ("audio", "text"), "PCA", window=w) for w in (None, (100, 100)))
    assert [line.name for line in whole.panels[0].lines] == [line.name for line in part.panels[0].lines]
    assert whole.panels[0].y_range == part.panels[0].y_range
    assert sum(len(line.x) for line in part.panels[0].lines) == 32
    assert "steps 100 to 107" in part.alt


def test_partners_are_joined() -> None:
    lines = gradient_map(POINTS, TABLE, ("audio", "text"), "PCA", partners=True).panels[0].lines
    (joined,) = (line for line in lines if line.name == "text, partners")
    assert np.isnan(joined.x[2::3]).all()
    assert np.isfinite(joined.x[0::3]).all()
    assert len(joined.x) == 3 * 24


def test_both_figures_print_the_same_bytes_twice() -> None:
    history = {m: over_training(TABLE, m) for m in ("audio", "text")}
    specs = [gradient_map(POINTS, TABLE, ("audio", "text"), "PCA"), numbers({}, (), "cka"),
             *(numbers(history, ("audio", "text"), which) for which in NUMBERS)]  # fmt: skip
    for spec in specs:
        assert rendered(spec, "pdf") == rendered(spec, "pdf")
        screen.to_json(screen.figure(spec))
    assert len(specs[0].table()) == len(TABLE)
