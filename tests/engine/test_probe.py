"""Looks at the probe set: what they find on data whose truth is known, and that training does not feel them."""

import numpy as np
import pytest
import torch

from cggm_core.engine import worker
from cggm_core.engine.trainer import Trainer
from cggm_core.store import create_run, open_reader, run_folder, send
from tests.support.training import bits, tiny_config, tiny_data, tiny_masks, trained


@pytest.mark.parametrize("make", [tiny_config, tiny_masks])
@pytest.mark.parametrize("method", ["joint", "cggm"])
def test_looking_changes_no_bit(make, method: str) -> None:
    ended = {}
    for when in ("off", "epoch", "end"):
        trainer, rows = trained(make(method, **{"model.dropout": 0.2, "contributions": when}))
        ended[when] = (bits(trainer.model), bits(trainer.readers.modules), torch.get_rng_state().numpy().tobytes())
        assert len(rows.contributions) == {"off": 0, "epoch": 2, "end": 1}[when]
    assert ended["off"] == ended["epoch"] == ended["end"]


@pytest.mark.parametrize("make", [tiny_config, tiny_masks])
def test_what_a_look_finds_adds_up(make) -> None:
    _, rows = trained(make())
    found = rows.contributions[-1]
    count = len(found.modalities)
    assert sum(found.shapley) == pytest.approx(found.everyone - found.nobody, abs=1e-12)
    assert len(found.subsets) == 2**count
    assert sum(found.preferred) == found.samples
    assert found.permuted == tuple(found.subsets[2**count - 1 - (1 << m)] for m in range(count))
    assert (found.everyone, found.nobody) == (found.subsets[2**count - 1], found.subsets[0])
    covariance = np.array(found.covariance)
    assert np.allclose(covariance, covariance.T)
    assert (np.linalg.eigvalsh(covariance) > -1e-12).all()
    kinds = {(curve.kind, curve.modality) for curve in rows.curves}
    assert len(kinds) == len(rows.curves) == 3 * count
    for curve in rows.curves:
        assert curve.value[0] == pytest.approx(found.everyone)
        assert curve.level[0] == curve.error[0] * 0
    gone = {curve.modality: curve.value[-1] for curve in rows.curves if curve.kind == "removal"}
    assert tuple(gone[m] for m in found.modalities) == pytest.approx(found.without)


def test_a_modality_that_tells_nothing_contributes_nothing_within_three_errors() -> None:
    config = tiny_config(**{"dataset.informative": "1,0", "dataset.noise": "0.2", "dataset.modalities": 2, "epochs": 6,
                            "dataset.samples": 600})  # fmt: skip
    found = trained(config)[1].contributions[-1]
    assert found.everyone > 0.9
    assert found.shapley[0] > 0.5
    error = np.sqrt(found.covariance[1][1])
    assert abs(found.shapley[1]) < 3 * error + 1e-12
    assert abs(found.everyone - found.permuted[1]) < 3 * found.permuted_error[1] + 0.02
    assert found.everyone - found.permuted[0] > 0.4


def test_the_probe_set_is_the_same_at_every_look_and_for_every_seed() -> None:
    first, second = (Trainer(c, tiny_data(c)).looks.small for c in (tiny_config(), tiny_config(seed=3)))
    assert torch.equal(first._index, second._index)
    assert len(set(first._index.tolist())) == len(first)


def test_no_sample_keeps_its_own_when_permuted() -> None:
    config = tiny_config()
    for order in Trainer(config, tiny_data(config)).looks.large._orders:
        assert sorted(order) == list(range(len(order)))
        assert not (order == np.arange(len(order))).any()


def test_a_look_is_taken_when_asked_for(runs_root) -> None:
    config = tiny_config(contributions="off")
    folder = run_folder(runs_root, create_run(runs_root, config.to_json()))
    send(folder, "contributions")
    worker.run(worker.prepare(config), folder)
    reader = open_reader(folder)
    assert [found.step for found in reader.contributions()] == [0]
    assert len(reader.robustness()) == 9
    assert any(event.kind == "contributions" for event in reader.events())
