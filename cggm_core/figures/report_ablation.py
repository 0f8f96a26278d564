"""The ablation of a report: the paper's Fig. 5 and Tables 5 and 6 out of whatever chosen runs fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cggm_core.analysis import ablation
from cggm_core.analysis.ablation_tables import (
    classifier_table,
    component_table,
    conclusion,
    score_keys,
    swept,
)
from cggm_core.analysis.scores import reading
from cggm_core.config import RunConfig
from cggm_core.figures.ablation import swept as figure_of
from cggm_core.figures.report_parts import Drawn, Tabled, of_scores, slug
from cggm_core.store.protocols import RunInfo

_FEWEST = 2  # values of a sweep, or rows of a table, from which there is something to compare


def of_ablation(infos: Sequence[RunInfo]) -> tuple[list[Drawn], list[Tabled]]:
    """Sweeps over a knob and both tables for every family of runs (same data, model and training settings).

    A sweep or component table departs from the setting of CGGM that most of the family's runs have.

    Args:
        infos: the chosen runs; what is missing of them leaves its place out.
    """
    drawn: list[Drawn] = []
    tables: list[Tabled] = []
    names: list[str] = []
    for family in ablation.families(ablation.works(infos)):
        base = _base(family)
        if base is None:
            continue
        names.append(slug(family.config.dataset.replace("\\", "/").rpartition("/")[2], names))
        drawn += _sweeps(family, base, names[-1])
        tables += _components(family, base, names[-1]) + _classifiers(family, base, names[-1])
    return drawn, tables


def _base(family: ablation.Family) -> RunConfig | None:
    """CGGM with the preset and knobs that most finished runs have; None where none has finished."""
    found = [work.known.config for work in family.works if work.standing == "finished"]
    settings = Counter(
        (config.preset, config.method_params["rho"], config.method_params["lam"])
        for config in found if config.method == "cggm" and config.method_params["direction"]
    )  # fmt: skip
    if not settings:
        return None
    preset, rho, lam = settings.most_common(1)[0][0]
    return ablation.base_of(family.config, preset, {"rho": rho, "lam": lam})


def _sweeps(family: ablation.Family, base: RunConfig, name: str) -> list[Drawn]:
    made = []
    joint = ablation.fill([ablation.component_cells(base)[0]], family.works, ())[0]
    knobs: tuple[ablation.Knob, ...] = ("rho", "lam")
    for knob in knobs:
        values = ablation.values_there(family.works, base, knob)
        if len(values) >= _FEWEST:
            points = ablation.fill(ablation.sweep_cells(base, knob, values), family.works, ())
            sweep = swept(knob, joint, points)
            said = f"{figure_of(sweep).title} (as Fig. 5 of the paper): {name}. {conclusion(sweep.table)}"
            made.append(Drawn(f"figures/ablation/{name}-{knob}", said.rstrip(". "), figure_of(sweep), "Fig. 5"))
    return made


def _components(family: ablation.Family, base: RunConfig, name: str) -> list[Tabled]:
    cells = ablation.fill(ablation.component_cells(base), family.works, ())
    keys = [key for key in score_keys(family.finished()) if key.metric.startswith("test_")]
    if sum(bool(cell.runs) for cell in cells) < _FEWEST or not keys:
        return []
    table = component_table(cells, keys)
    return [of_scores(f"components-{name}", "Magnitude and direction apart (as Table 6 of the paper)",
                      f"{reading(table)} {conclusion(table)}", table, "Table 6")]  # fmt: skip


def _classifiers(family: ablation.Family, base: RunConfig, name: str) -> list[Tabled]:
    modalities = family.modalities()
    cells = ablation.fill(ablation.classifier_cells(base, modalities), family.works, ())
    if not modalities or not cells[0].runs or not (cells[1].runs or any(cell.runs for cell in cells[2:])):
        return []
    table = classifier_table(cells, modalities)
    return [of_scores(f"classifiers-{name}", "Each modality alone and its classifier (as Table 5 of the paper)",
                      f"{reading(table)} A dash: no finished run of that modality alone.", table,
                      "Table 5")]  # fmt: skip
