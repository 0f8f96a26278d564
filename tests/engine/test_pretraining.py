"""Training of a method's own part before the run."""

import copy

import torch
from torch import Tensor, nn

from cggm_core.engine.pretraining import Pretraining
from cggm_core.engine.trainer import Trainer
from cggm_core.protocols.data import Batch
from tests.support.training import bits, tiny_config, tiny_data


def test_the_run_keeps_every_bit_and_the_same_seed_gives_the_same_teacher() -> None:
    config = tiny_config(**{"model.dropout": 0.3})
    trainer = Trainer(config, tiny_data(config))
    before, random = bits(trainer.model), torch.get_rng_state()
    pretraining = Pretraining(trainer.data, config.training, trainer.device, trainer.precision, trainer.beside)

    def pupil() -> tuple[nn.Module, list[float]]:
        model, losses = copy.deepcopy(trainer.model), []

        def objective(batch: Batch) -> Tensor:
            loss = trainer.task.loss(model(batch.inputs), batch.target)
            losses.append(loss.item())
            return loss

        pretraining.run(model, objective, 6)
        return model, losses

    first, losses = pupil()
    torch.rand(7)  # wherever the run stands
    moved = torch.get_rng_state()
    again, _ = pupil()
    assert torch.equal(torch.get_rng_state(), moved)
    assert not torch.equal(moved, random)
    assert bits(first) == bits(again) != before
    assert bits(trainer.model) == before
    assert sum(losses[-10:]) < sum(losses[:10])
    assert not first.training
