"""G-Blending: worked weights of the methods reference (oracle 4), its guards, and that a trial costs no bit."""

import pytest

from cggm_core.methods.g_blending import blend
from cggm_core.names import MetricKey
from cggm_core.protocols.method import TrialLosses
from tests.support.training import bits, tiny_config, trained


def trial(t0: float, tn: float, v0: float, vn: float) -> TrialLosses:
    return TrialLosses(train_before=t0, train_after=tn, held_before=v0, held_after=vn)


def test_worked_weights() -> None:
    found = blend([trial(2, 1.0, 2, 1.5), trial(2, 1.2, 2, 1.4), trial(2, 0.8, 2, 1.3)])
    assert found == pytest.approx([0.101010, 0.757576, 0.141414], abs=1e-6)


def test_a_head_that_gets_worse_has_no_weight() -> None:
    assert blend([trial(2, 1.0, 2, 2.5), trial(2, 1.2, 2, 1.4)])[0] == 0.0


def test_a_head_without_overfitting_does_not_take_everything() -> None:
    found = blend([trial(2, 1.5, 2, 1.5), trial(2, 1.0, 2, 1.5)])
    assert found == pytest.approx([100 / 101, 1 / 101])


def test_where_nobody_generalises_the_fused_head_has_it_all() -> None:
    assert blend([trial(2, 1.0, 2, 3.0), trial(2, 1.0, 2, 2.0)]) == [0.0, 1.0]
    assert blend([trial(2, 1.0, 2, float("nan"))] * 3) == [0.0, 0.0, 1.0]


def test_weights_sum_to_one_hold_for_a_super_epoch_and_make_the_loss() -> None:
    config = tiny_config("g_blending", epochs=4, **{"method.super_epoch": 2, "method.trial_epochs": 1})
    _, rows = trained(config)
    weights = [[row[MetricKey("loss_weight", m)] for m in ("m1", "m2", "m3", "")] for row in rows.steps.values()]
    assert all(sum(one) == pytest.approx(1.0, abs=1e-5) for one in weights)
    assert all(one == weights[0] for one in weights[:20])
    assert all(one == weights[20] for one in weights[20:])
    assert weights[0] != weights[20]


def test_a_trial_that_changes_no_weight_changes_no_bit() -> None:
    """All weight on one estimate: trials of one epoch and of three leave the run's random state alike."""
    short, long = (
        tiny_config("g_blending", epochs=1, **{"method.trial_epochs": n, "model.dropout": 0.4}) for n in (1, 3)
    )
    first, second = (trained(c)[1].steps[0] for c in (short, long))
    assert first[MetricKey("task_loss")] == second[MetricKey("task_loss")]


def test_heads_differ_between_seeds_and_learn() -> None:
    one, other = (trained(tiny_config("g_blending", seed=s))[0].method.modules()["heads"] for s in (0, 1))
    assert bits(one) != bits(other)
