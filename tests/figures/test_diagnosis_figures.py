"""Figures of the verdict draw what was recorded, and say so where nothing was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cggm_core.analysis.verdict_record import Record
from cggm_core.figures import diagnosis
from cggm_core.figures.print import rendered
from cggm_core.figures.spec import FigureSpec
from cggm_core.names import MetricKey
from cggm_core.store import Contribution, RobustnessCurve

NAMES = ("audio", "text")


def record() -> Record:
    looks = tuple(
        Contribution(10 * e + 9, e, NAMES, "accuracy", 100, True, 0.8, 0.1, (), (), (0.5 + e / 10, 0.2),
                     ((4e-4, 0.0), (0.0, 1e-4)), preferred=(60, 10, 30))
        for e in range(3)
    )  # fmt: skip
    curves = tuple(
        RobustnessCurve(29, 2, kind, m, "accuracy", (0.0, 0.5, 1.0), (0.8, 0.6, 0.4), (0.0, 0.01, 0.02), 100)  # type: ignore[arg-type]
        for kind in diagnosis.KINDS for m in NAMES
    )  # fmt: skip
    b = np.concatenate([np.full(100, -1.0), np.full(100, 6.0)])
    key = MetricKey("balance_coefficient", "audio")
    return Record(NAMES, {key: b}, {key: np.arange(200.0)}, looks, curves)


def lines(spec: FigureSpec, panel: int = 0) -> dict[str, list[float]]:
    return {line.name: line.y.tolist() for line in spec.panels[panel].lines if line.role == "line"}


def test_contributions_are_drawn_by_epoch_with_two_standard_errors() -> None:
    spec = diagnosis.contributions(record())
    assert lines(spec) == {"audio": pytest.approx([0.5, 0.6, 0.7]), "text": [0.2, 0.2, 0.2]}
    band = next(line for line in spec.panels[0].lines if line.role == "band")
    assert band.x.tolist() == [1, 2, 3]
    assert band.high - band.low == pytest.approx(np.full(3, 4 * 0.02))
    assert "audio 0.7" in spec.alt


def test_shares_of_samples_and_of_unhealthy_steps() -> None:
    assert lines(diagnosis.preferences(record())) == {
        "audio": [0.6] * 3, "text": [0.1] * 3, "nobody leads": [0.3] * 3,
    }  # fmt: skip
    spec = diagnosis.coefficient_health(record())
    negative, exploded = lines(spec)["audio"], lines(spec, 1)["audio"]
    assert (negative[0], negative[-1], exploded[0], exploded[-1]) == (1, 0, 0, 1)
    assert np.mean(negative) == pytest.approx(0.5)
    sound = replace(record(), series={key: np.ones(len(v)) for key, v in record().series.items()})
    views = [panel.y_range for panel in diagnosis.coefficient_health(sound).panels]
    assert views == [pytest.approx((-0.005, 0.105))] * 2


@pytest.mark.parametrize("kind", diagnosis.KINDS)
def test_curves_of_one_kind_only_and_the_same_on_paper(kind: str) -> None:
    spec = diagnosis.robustness(record(), kind)
    assert lines(spec) == {"audio": [0.8, 0.6, 0.4], "text": [0.8, 0.6, 0.4]}
    assert rendered(spec, "svg") == rendered(spec, "svg")


def test_an_empty_run_gives_figures_that_say_so() -> None:
    empty = replace(record(), contributions=(), curves=(), series={}, steps={})
    for spec in (diagnosis.contributions(empty), diagnosis.preferences(empty), diagnosis.coefficient_health(empty),
                 *(diagnosis.robustness(empty, kind) for kind in diagnosis.KINDS)):  # fmt: skip
        assert all(panel.message() == panel.empty for panel in spec.panels)
        assert len(spec.table()) == 0
