"""Watching changes nothing: what every diagnostic obeys, and the measuring of every run with it."""

import pytest
import torch

from cggm_core import catalog
from cggm_core.engine.snapshots import SnapshotTaker
from cggm_core.engine.trainer import Trainer
from cggm_core.names import METRICS
from cggm_core.protocols.diagnostic import Diagnostic
from cggm_core.protocols.step import CAPABILITIES, Step
from cggm_core.store import MemoryRun
from tests.support.training import Rows, bits, tiny_config, tiny_data, tiny_masks, trained

DIAGNOSTICS = catalog.all_cards("diagnostic")


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_card_read_from_the_file_equals_the_imported_one(name: str) -> None:
    card = DIAGNOSTICS[name]
    assert card == catalog.module("diagnostic", name).CARD
    assert set(card.requires) <= set(CAPABILITIES)
    assert set(card.reports) <= set(METRICS)


@pytest.mark.parametrize("method", ["joint", "cggm"])
@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_looking_at_every_step_changes_no_bit(name: str, method: str) -> None:
    config = tiny_config(method, **{"model.dropout": 0.2})
    plain, _ = trained(config)
    state = torch.get_rng_state()
    watched = Trainer(config, tiny_data(config))
    looker = catalog.load("diagnostic", name, Diagnostic)()
    seen = []
    watched.fit(on_step=lambda step: seen.append(looker.observe(step)))
    assert seen
    assert all(torch.isfinite(picture.array).all() for one in seen for picture in one.pictures)
    assert bits(watched.model) == bits(plain.model)
    assert bits(watched.readers.modules) == bits(plain.readers.modules)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["joint", "cggm"])
def test_keeping_every_gradient_changes_no_bit_and_no_recorded_number(method: str) -> None:
    config = tiny_config(method, **{"model.dropout": 0.2, "snapshots": "every", "snapshot_every": 1})
    plain, expected = trained(config)
    watched, rows = Trainer(config, tiny_data(config)), Rows()
    run = MemoryRun()
    taker = SnapshotTaker(run.writer(), watched.device, config.training, watched.steps)
    watched.fit(rows, on_step=taker.look)
    assert len(run.reader().snapshots()) == 7 * watched.steps
    assert bits(watched.model) == bits(plain.model)
    assert bits(watched.readers.modules) == bits(plain.readers.modules)
    timed = {"step_seconds", "samples_per_second"}
    for step, row in expected.steps.items():
        for key, value in row.items():
            assert key.metric in timed or rows.steps[step][key] == value, (step, key)


def test_a_part_frozen_in_evaluation_mode_stays_so() -> None:
    config = tiny_config(**{"model.dropout": 0.2})
    trainer = Trainer(config, tiny_data(config))
    looker = catalog.load("diagnostic", "gradient_snapshot", Diagnostic)()
    modes = []

    def look(step: Step) -> None:
        next(part for part in step.model.modules() if isinstance(part, torch.nn.Dropout)).training = False
        before = [part.training for part in step.model.modules()]
        looker.observe(step)
        modes.append(before == [part.training for part in step.model.modules()] and not all(before))

    trainer.fit(between=lambda place: place.step < 2, on_step=look)
    assert modes == [True, True]


@pytest.mark.parametrize("parts", [{"measure": False}, {"measure": False, "readers": False}])
def test_joint_training_has_the_same_bits_without_measuring_and_without_classifiers(
    parts: dict[str, bool],
) -> None:
    config = tiny_config(**{"model.dropout": 0.2})
    full, bare = trained(config)[0], Trainer(config, tiny_data(config), **parts)
    bare.fit()
    assert bits(full.model) == bits(bare.model)


def test_this_law_can_fail() -> None:
    """A look that draws from the random state of training is caught by the same comparison."""
    config = tiny_config(**{"model.dropout": 0.2})
    meddled = Trainer(config, tiny_data(config))
    meddled.fit(on_step=lambda step: torch.rand(1))
    assert bits(meddled.model) != bits(trained(config)[0].model)


@pytest.mark.parametrize("method", ["joint", "cggm"])
@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_looking_at_masks_changes_no_bit(name: str, method: str) -> None:
    config = tiny_masks(method, **{"model.dropout": 0.2})
    plain, _ = trained(config)
    state = torch.get_rng_state()
    watched, seen = Trainer(config, tiny_data(config)), []
    looker = catalog.load("diagnostic", name, Diagnostic)()
    watched.fit(on_step=lambda step: seen.append(looker.observe(step)))
    pictures = [picture for one in seen for picture in one.pictures]
    assert all(torch.isfinite(p.array).all() and p.array.shape == watched.model.head.weight.shape for p in pictures)
    assert bits(watched.model) == bits(plain.model)
    assert torch.equal(torch.get_rng_state(), state)


def test_joint_training_on_masks_has_the_same_bits_without_measuring_and_without_classifiers() -> None:
    config = tiny_masks(**{"model.dropout": 0.2})
    full, bare = trained(config)[0], Trainer(config, tiny_data(config), measure=False, readers=False)
    bare.fit()
    assert bits(full.model) == bits(bare.model)
