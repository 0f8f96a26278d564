"""The sentence says what the numbers say, and when it stops."""

from __future__ import annotations

import pytest

from cggm_core.embedding.gradients import collect
from cggm_core.embedding.pairing import over_training, pairing
from cggm_core.embedding.verdict import answer, standing
from tests.embedding.making import paired


@pytest.mark.parametrize(
    ("rho", "common", "word"),
    [
        (0.9, 0.4, "closely"), (0.35, 0.2, "partly"), (0.15, 0.0, "hardly"), (0.0, 0.0, "not"),
        (0.0, 3.0, "on average only"),
    ],
)  # fmt: skip
def test_degrees(rho: float, common: float, word: str) -> None:
    assert standing(pairing(collect(paired(rho, common=common)), "audio")) == word


def test_opposite_gradients_are_against() -> None:
    assert standing(pairing(collect(paired(-0.8, common=0.0)), "audio")) == "against"


def test_the_step_at_which_it_stops_is_named() -> None:
    early = paired(0.9, snapshots=4, common=0.0)
    late = [shot for shot in paired(0.0, snapshots=8, common=0.0, seed=5) if shot.step >= 400]
    table = collect([*early, *late])
    windows = over_training(table, "audio")
    found = answer(pairing(table, "audio"), windows)
    assert "stops at step 400" in found.course
    assert "Cosine" in found.numbers
    held = collect(early)
    assert "holds throughout" in answer(pairing(held, "audio"), over_training(held, "audio")).course
    few = collect(paired(0.9, snapshots=1, batches=2))
    unknown = answer(pairing(few, "audio"), over_training(few, "audio"))
    assert unknown.standing == "unknown"
    assert "too few" in unknown.said
