"""Which runs a mean over seeds is made of."""

import math

from cggm_core.analysis.scores import configurations, finished, one_a_seed, score_table
from cggm_core.names import MetricKey
from tests.support import ablation as support

KEY = MetricKey("test_score")


def test_of_several_runs_of_a_seed_the_newest_that_finished_counts() -> None:
    old, new, later = support.run(0.4), support.run(0.6), support.run(0.9, state="failed")
    other = support.run(0.8, seed=1)
    assert one_a_seed([later, other, new, old]) == (new, other)
    assert one_a_seed([later]) == (later,)


def test_a_seed_run_again_is_no_further_seed() -> None:
    runs = [support.run(0.5), support.run(0.7, seed=1), *(support.run(0.5) for _ in range(8))]
    by_name = finished(configurations(runs))
    cell = score_table(by_name, [KEY]).rows[next(iter(by_name))][0]
    assert cell.sample.n == 2
    assert math.isclose(cell.sample.std, math.sqrt(0.02))


def test_runs_without_a_seed_are_all_kept() -> None:
    runs = [support.run(0.5), support.run(0.6)]
    for info in runs:
        del info.config["training"]["seed"]
    assert len(one_a_seed(runs)) == 2
