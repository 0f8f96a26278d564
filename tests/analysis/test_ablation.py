"""An ablation is whatever finished runs match: which do, what is missing, and what the tables say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cggm_core.analysis import ablation as a
from cggm_core.analysis import ablation_tables as t
from cggm_core.config import RunConfig, Training
from cggm_core.errors import ConfigError
from cggm_core.names import MetricKey
from tests.support.ablation import cggm, run


def family(*infos: object) -> a.Family:
    (found,) = a.families(a.works(infos))  # type: ignore[arg-type]
    return found


def base(found: a.Family, **knobs: float) -> RunConfig:
    return a.base_of(found.config, "paper", knobs)


def test_only_data_model_and_training_decide_what_may_be_compared() -> None:
    infos = [run(), cggm(rho=0.8), cggm(lam=0.3, seed=7), run(method="unimodal", method_params={"modality": "a"}),
             run(name="other", tags=("x",), notes="y")]  # fmt: skip
    assert len(a.families(a.works(infos))) == 1
    other = [run(epochs=6), run(dataset_params={"noise": 2.0}), run(model_params={"width": 32})]
    assert len(a.families(a.works([*infos, *other]))) == 4


def test_the_family_with_most_finished_runs_comes_first() -> None:
    found = a.families(a.works([run(epochs=6), run(), cggm(), run(epochs=6, seed=1, state="failed")]))
    assert [one.config.training.epochs for one in found] == [5, 6]
    assert [len(one.finished()) for one in found] == [2, 1]


def test_what_computes_the_same_is_the_same() -> None:
    """Lambda 0 is no direction; without magnitude and direction CGGM is joint training."""
    words = [a.known(RunConfig.from_dict(info.config)).word for info in (
        cggm(lam=0.0), cggm(direction=False), cggm(direction=False, lam=0.4), cggm(direction=False, magnitude=False),
        cggm(lam=0.0, magnitude=False), run())]  # fmt: skip
    assert words[0] == words[1] == words[2]
    assert words[3] == words[4] == words[5] != words[0]
    assert a.known(RunConfig.from_dict(cggm().config)).word not in words


def test_other_methods_damaged_and_foreign_runs_are_left_out() -> None:
    strange = replace(run(), config={"method": "cggm", "training": "none", "anything": [1, {"x": None}]})
    unknown = replace(run(), config={"method": ["cggm"]})
    infos = [run(method="ogm"), replace(run(), damaged="truncated"), strange, unknown]
    assert a.works(infos) == []
    assert a.waiting([info.config for info in infos[2:]]) == []
    assert a.families([]) == []


def test_a_sweep_has_a_cell_a_value_and_switches_on_what_the_knob_acts_through() -> None:
    config = base(family(run()))
    off = config.with_settings({"method.magnitude": False, "method.direction": False})
    rho = a.sweep_cells(off, "rho", [1.2, 0.8, 1.2])
    assert [cell.label for cell in rho] == ["ρ = 0.8", "ρ = 1.2"]
    assert [cell.config.method_params["rho"] for cell in rho] == [0.8, 1.2]
    assert all(cell.config.method_params["magnitude"] and not cell.config.method_params["direction"] for cell in rho)
    assert all(cell.config.method_params["direction"] for cell in a.sweep_cells(off, "lam", a.PAPER_VALUES["lam"]))
    with pytest.raises(ConfigError, match="rho must be above 0"):
        a.sweep_cells(config, "rho", [0.0])


def test_the_components_are_those_of_table_6() -> None:
    cells = a.component_cells(base(family(run())))
    assert [cell.config.method for cell in cells] == ["joint", "cggm", "cggm", "cggm"]
    switches = [(cell.config.method_params["magnitude"], cell.config.method_params["direction"]) for cell in cells[1:]]
    assert switches == [(True, False), (False, True), (True, True)]


def test_cells_are_filled_by_whoever_ran_them_and_the_rest_is_missing() -> None:
    infos = [cggm(0.7, seed=0), cggm(0.9, seed=0), cggm(0.8, seed=5), cggm(seed=1, rho=0.9),
             replace(cggm(seed=2), state="failed"), replace(cggm(seed=3), state="running")]  # fmt: skip
    found = a.works(infos)
    cells = a.sweep_cells(base(family(*infos)), "rho", [1.3])
    (filled,) = a.fill(cells, [*found, *a.waiting([cggm(seed=4).config])], range(5))
    assert [(info.id, info.config["training"]["seed"]) for info in filled.runs] == [(infos[1].id, 0), (infos[2].id, 5)]
    assert (filled.open, filled.failed, filled.missing) == ((3, 4), (2,), (1, 2))


def test_a_finished_run_of_a_seed_outweighs_a_failed_one() -> None:
    infos = [cggm(seed=0), replace(cggm(seed=0), state="died")]
    (filled,) = a.fill(a.sweep_cells(base(family(*infos)), "rho", [1.3]), a.works(infos), [0])
    assert (len(filled.runs), filled.failed, filled.missing) == (1, (), ())


def test_what_is_missing_is_started_once_and_seed_by_seed() -> None:
    found = family(run(seed=0))
    config = base(found)
    cells = [*a.component_cells(config), *a.sweep_cells(config, "rho", [1.2, 1.3])]
    made = a.to_start(a.fill(cells, found.works, [0, 1]))
    # ρ = 1.3 is the cell "magnitude and direction" and is not trained twice; joint of seed 0 is there.
    assert [c.training.seed for c in made] == [0] * 4 + [1] * 5
    assert len({(a.known(c).word, c.training.seed) for c in made}) == 9
    assert made[0].name == "magnitude only, seed 0"
    assert {c.training.snapshots for c in made} == {"off"}
    # A run of what was started fills the cell it was started for.
    done = [replace(run(), config=c.to_dict()) for c in made]
    assert not a.to_start(a.fill(cells, [*found.works, *a.works(done)], [0, 1]))


def test_values_that_were_run_are_found() -> None:
    infos = [cggm(rho=0.7), cggm(rho=2.0, lam=0.5), cggm(rho=1.1, magnitude=False),
             replace(cggm(rho=3.0), state="died"), cggm(lam=0.0), cggm(lam=0.4)]  # fmt: skip
    found = family(*infos)
    assert a.values_there(found.works, base(found), "rho") == [0.7]
    assert a.values_there(found.works, base(found), "lam") == [0.0, 0.4]


def test_a_sweep_by_hand() -> None:
    infos = [*(run(score, seed=seed) for seed, score in enumerate((0.50, 0.60, 0.70))),
             *(cggm(score, seed=seed) for seed, score in enumerate((0.60, 0.65, 0.85))), cggm(0.1, seed=9)]  # fmt: skip
    found = family(*infos)
    cells = a.fill(a.sweep_cells(base(found), "rho", [1.3, 1.4]), found.works, [0, 1, 2])
    (joint, *_) = a.fill(a.component_cells(base(found)), found.works, [0, 1, 2])
    sweep = t.swept("rho", joint, cells)
    assert sweep.values == (1.3, 1.4)
    assert sweep.scores == ({0: 0.60, 1: 0.65, 2: 0.85, 9: 0.1}, {})
    pair = sweep.table.rows["ρ = 1.3"][0].paired
    assert pair is not None
    assert (pair.n, pair.seeds, pair.p) == (3, (0, 1, 2), 0.25)
    assert pair.mean == pytest.approx(0.1)  # 0.10, 0.05, 0.15
    assert t.conclusion(sweep.table) == (
        "No difference to joint training is established. Largest mean gain: ρ = 1.3, +0.1000 (3 pairs of seeds, 95 % "
        "interval -0.0242 to +0.2242)."
    )


def test_a_difference_that_seven_seeds_establish_is_said_with_its_direction() -> None:
    infos = [*(run(0.5, seed=seed) for seed in range(7)), *(cggm(0.6 + seed / 100, seed=seed) for seed in range(7)),
             *(cggm(0.3 + seed / 100, seed=seed, direction=False) for seed in range(7))]  # fmt: skip
    found = family(*infos)
    table = t.component_table(a.fill(a.component_cells(base(found)), found.works, range(7)), [t.SCORE])
    # Smallest p of the exact test 2/2**7 = 0.0156, twice that for two comparisons.
    assert table.adjusted()[a.BOTH, 0] == pytest.approx(0.03125)
    assert t.conclusion(table).startswith(
        "Better than joint training (p after Holm at most 0.05): magnitude and direction. Worse than joint training "
        "(p after Holm at most 0.05): magnitude only. Largest mean gain: magnitude and direction, +0.1300"
    )
    loss = t.component_table(a.fill(a.component_cells(base(found)), found.works, range(7)), [MetricKey("test_loss")])
    assert "Better than joint training (p after Holm at most 0.05): magnitude and direction." in t.conclusion(loss)


def test_without_joint_training_nothing_is_concluded() -> None:
    found = family(cggm(0.9))
    table = t.component_table(a.fill(a.component_cells(base(found)), found.works, [0]), [t.SCORE])
    assert t.conclusion(table) == "There is no finished run of joint training to compare with: start it."
    only = family(run(0.9))
    assert t.conclusion(t.component_table(a.fill(a.component_cells(base(only)), only.works, [0]), [t.SCORE])) == ""


def test_table_5_pairs_each_classifier_with_its_own_modality_trained_alone() -> None:
    infos = [
        *(run(0.9, seed=seed, unimodal={"a": 0.5, "b": 0.8}) for seed in range(2)),
        *(run(score, seed=seed, method="unimodal", method_params={"modality": "a"})
          for seed, score in enumerate((0.6, 0.7))),
        replace(cggm(0.9, seed=0), summary=run(0.9, unimodal={"a": 0.55, "b": 0.7}).summary),
    ]  # fmt: skip
    found = family(*infos)
    assert found.modalities() == ("a", "b")
    cells = a.classifier_cells(base(found), found.modalities())
    table = t.classifier_table(a.fill(cells, found.works, [0, 1]), found.modalities())
    assert [column.label for column in table.columns] == ["a", "b"]
    assert list(table.rows) == [t.OF_JOINT, t.ALONE, t.OF_CGGM]
    alone, cggm_row = table.rows[t.ALONE], table.rows[t.OF_CGGM]
    assert (alone[0].sample.n, alone[0].sample.mean) == (2, pytest.approx(0.65))
    assert alone[0].paired is not None
    assert alone[0].paired.mean == pytest.approx(0.15)
    assert (alone[1].sample.n, cggm_row[1].sample.mean) == (0, 0.7)
    assert math.isnan(alone[1].paired.mean)  # type: ignore[union-attr]
    assert t.conclusion(table, 0).startswith("No difference to classifiers in joint training is established.")


def test_scores_that_can_be_looked_at_put_the_test_score_first() -> None:
    assert t.score_keys([run()]) == [MetricKey("test_score")]
    assert t.score_keys([]) == []


def test_a_run_preset_is_kept_in_its_family() -> None:
    config = RunConfig.from_dict({"dataset": "synthetic", "preset": "mosi", "method": "joint"})
    found = family(replace(run(), config=config.to_dict()))
    made = a.base_of(found.config, "paper", {})
    assert made.training.gradient_clip == 0.8
    assert replace(made.training, seed=0) == replace(config.training, seed=0, snapshots=Training().snapshots)
    assert a.known(made).family == found.word
