"""Modality random dropout: the worked mask of the methods reference (oracle 6c), and how often who is dropped."""

import pytest
import torch

from cggm_core.methods.mrd import kept
from cggm_core.names import MetricKey
from tests.support.training import tiny_config, trained


def test_worked_mask() -> None:
    draws = torch.tensor([[0.1, 0.7, 0.9], [0.6, 0.8, 0.9], [0.4, 0.4, 0.2], [0.9, 0.3, 0.6]])
    assert kept(draws, 0.5).int().tolist() == [[0, 1, 1], [1, 1, 1], [1, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
def test_everyone_keeps_something_and_the_shares_are_right(p: float) -> None:
    keep = kept(torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)), p)
    assert bool(keep.any(1).all())
    # A modality stays by its own draw, or, where all three are dropped, as the largest of them.
    assert keep.float().mean(0).tolist() == pytest.approx([1 - p + p**3 / 3] * 3, abs=0.015)


def test_what_is_recorded_is_the_share_of_the_batch() -> None:
    _, rows = trained(tiny_config("mrd", **{"method.p": 0.6}))
    shares = [row[MetricKey("kept_share", m)] for row in rows.steps.values() for m in ("m1", "m2", "m3")]
    assert 0.3 < sum(shares) / len(shares) < 0.65
