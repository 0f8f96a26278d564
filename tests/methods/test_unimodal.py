"""One modality alone: nothing of the others reaches training or evaluation."""

import pytest
import torch

from cggm_core.engine.trainer import Trainer
from cggm_core.errors import CapabilityError
from cggm_core.names import MetricKey
from cggm_core.protocols.data import DataBundle, Split
from tests.support.training import bits, tiny_config, tiny_data, trained


def scrambled(data: DataBundle, spared: str) -> DataBundle:
    """The data with every modality but one replaced by noise."""
    generator = torch.Generator().manual_seed(1)
    splits = {}
    for name, split in data.splits.items():
        inputs = {
            m: x if m == spared else torch.randn(x.shape, generator=generator)  # type: ignore[attr-defined]
            for m, x in split.inputs.items()
        }
        splits[name] = Split(inputs, split.target, split.ids)
    return DataBundle(data.name, data.task, data.modalities, splits, data.fingerprint)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_other_modalities_change_nothing(place: int) -> None:
    plain = tiny_data(tiny_config())
    name = tuple(plain.modalities)[place]
    config = tiny_config("unimodal", **{"method.modality": name})
    first, second = Trainer(config, plain), Trainer(config, scrambled(plain, name))
    first.fit()
    second.fit()
    assert bits(first.model) == bits(second.model)
    assert first.validate()[MetricKey("val_loss")] == second.validate()[MetricKey("val_loss")]


def test_the_first_modality_where_none_is_named() -> None:
    first = next(iter(tiny_data(tiny_config()).modalities))
    named = tiny_config("unimodal", **{"method.modality": first})
    assert bits(trained(tiny_config("unimodal"))[0].model) == bits(trained(named)[0].model)


def test_an_unknown_modality_is_refused_before_the_first_step() -> None:
    config = tiny_config("unimodal", **{"method.modality": "smell"})
    with pytest.raises(CapabilityError, match="no modality 'smell' to train alone; there are: "):
        Trainer(config, tiny_data(config))
