"""Fig. 5 as drawn: every number of the sweep, gaps where nothing ran, joint training beside it."""

from __future__ import annotations

import numpy as np
import pytest

from cggm_core.analysis import ablation as a
from cggm_core.analysis import ablation_tables as t
from cggm_core.figures import screen
from cggm_core.figures.ablation import swept
from cggm_core.figures.print import rendered
from cggm_core.figures.spec import FigureSpec
from tests.support.ablation import cggm, run


def spec(*infos: object, knob: a.Knob = "rho") -> FigureSpec:
    found = a.works(infos)  # type: ignore[arg-type]
    base = a.base_of(a.families(a.works([run()]))[0].config, "paper", {})
    (joint, *_) = a.fill(a.component_cells(base), found, [0, 1])
    return swept(t.swept(knob, joint, a.fill(a.sweep_cells(base, knob, a.PAPER_VALUES[knob]), found, [0, 1])))


def lines(drawn: FigureSpec, panel: int) -> dict[str, object]:
    return {line.name: line for line in drawn.panels[panel].lines}


def test_points_bars_and_the_band_of_joint_training_by_hand() -> None:
    drawn = spec(run(0.4, seed=0), run(0.6, seed=1), cggm(0.5, seed=0), cggm(0.9, seed=1), cggm(0.7, seed=0, rho=1.2))
    above, below = lines(drawn, 0), lines(drawn, 1)
    mean = above["CGGM"].y  # type: ignore[attr-defined]
    assert np.isnan(mean).tolist() == [True, True, True, True, False, False, True]
    assert mean[4:6].tolist() == pytest.approx([0.7, 0.7])
    bar = above["CGGM, standard deviation"]
    reach = np.std([0.5, 0.9], ddof=1)
    assert bar.x[:2].tolist() == [1.3, 1.3]  # type: ignore[attr-defined]
    assert bar.y[:2].tolist() == pytest.approx([0.7 - reach, 0.7 + reach])  # type: ignore[attr-defined]
    assert len(bar.y) == 3  # type: ignore[attr-defined]
    joint = above["joint (n = 2), standard deviation"]
    assert (joint.x.tolist(), joint.low[0]) == ([0.8, 1.4], pytest.approx(0.5 - np.std([0.4, 0.6], ddof=1)))  # type: ignore[attr-defined]
    assert above["single runs"].told[0] == "ρ = 1.2, seed 0: 0.7"  # type: ignore[attr-defined]
    apart = below["CGGM"].y  # type: ignore[attr-defined]
    assert apart[5] == pytest.approx((0.1 + 0.3) / 2)
    assert apart[4] == pytest.approx(0.3)
    assert drawn.panels[1].neutral == 0.0


def test_what_is_missing_is_said() -> None:
    drawn = spec(run(0.4, seed=0), cggm(0.5, seed=0), cggm(0.9, seed=1), cggm(0.7, seed=0, rho=1.2))
    assert drawn.notes() == ("No finished run yet at ρ = 0.8, 0.9, 1, 1.1, 1.4. Fewer seeds at ρ = 1.2 (1 of 2).",)
    assert "No finished run of joint training to compare with." in spec(cggm()).notes()[0]
    assert "ρ = 1.3: 0.5 (n = 1)" in spec(cggm()).alt


@pytest.mark.parametrize("infos", [(), (run(0.4),), (cggm(0.4),), (run(0.4), cggm(0.5), cggm(0.6, lam=0.01))])
@pytest.mark.parametrize("knob", ["rho", "lam"])
def test_screen_and_print_draw_it_whatever_is_there(infos: tuple[object, ...], knob: a.Knob) -> None:
    drawn = spec(*infos, knob=knob)
    assert screen.to_json(screen.figure(drawn))
    assert rendered(drawn, "svg").startswith(b"<?xml")
    assert rendered(drawn, "pdf") == rendered(drawn, "pdf")


def test_nothing_finished_is_said_in_the_figure() -> None:
    drawn = spec()
    assert "No finished run at any of these values of ρ." in drawn.panels[0].message()
    assert drawn.notes() == ()
    # A panel without any line is not drawn by the screen, and its words would stand in another one.
    assert all(panel.lines for panel in drawn.panels)
