"""What the engine offers methods beyond the step's own numbers: subset predictions, trial trainings, rates."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from cggm_core.engine.optimisers import SHARED, build_optimiser, set_rate
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.trial import Trials
from cggm_core.errors import CapabilityError
from cggm_core.protocols.data import Batch
from cggm_core.protocols.model import MultimodalModel, absent
from cggm_core.protocols.step import Step
from tests.support.training import tiny_config, tiny_data


def with_first_step(look: Callable[[Step], None], **given: float) -> Trainer:
    config = tiny_config(**given)
    trainer = Trainer(config, tiny_data(config))

    def once(step: Step) -> None:
        if step.index == 0:
            look(step)

    trainer.fit(between=lambda place: place.step < 1, on_step=once)
    return trainer


def test_all_modalities_kept_give_the_steps_own_prediction_to_the_bit() -> None:
    def look(step: Step) -> None:
        assert torch.equal(step.forward(step.modalities), step.logits)

    with_first_step(look)


def test_an_absent_modality_is_zero_for_the_fusion_and_gets_no_gradient() -> None:
    def look(step: Step) -> None:
        kept = step.modalities[1]
        alone = step.forward([kept])
        expected = step.model.head(step.model.fuse(absent(step.encoded, [kept])))
        assert torch.equal(alone, expected)
        every = [p for m in step.modalities for p in step.parameters[m]]
        found = torch.autograd.grad(alone.sum(), every, retain_graph=True, allow_unused=True)
        own = {id(p) for p in step.parameters[kept]}
        for parameter, gradient in zip(every, found, strict=True):
            assert (gradient is not None and bool(gradient.abs().sum() > 0)) == (id(parameter) in own)

    with_first_step(look)


def test_a_subset_prediction_in_evaluation_draws_nothing_and_leaves_the_mode() -> None:
    def look(step: Step) -> None:
        before = torch.get_rng_state()
        first, second = (step.forward(step.modalities[:1], evaluating=True) for _ in range(2))
        assert torch.equal(first, second)
        assert torch.equal(torch.get_rng_state(), before)
        assert step.model.training
        assert all(module.training for module in step.model.modules())

    with_first_step(look, **{"model.dropout": 0.5})


def test_a_subset_with_an_unknown_modality_is_refused() -> None:
    def look(step: Step) -> None:
        with pytest.raises(CapabilityError, match="no modality 'smell'; there are: "):
            step.forward(["smell"])

    with_first_step(look)


def fused_loss(trainer: Trainer) -> Callable[[MultimodalModel, Mapping[str, nn.Module], Batch], Tensor]:
    return lambda model, _modules, batch: trainer.task.loss(model(batch.inputs), batch.target)


def trials_of(trainer: Trainer) -> Trials:
    return Trials(
        trainer.data, trainer.config.training, trainer.device, trainer.precision, trainer._learning, trainer.beside
    )


def flat(state: object) -> list[bytes]:
    """Every tensor and number of a nested state, as bytes."""
    if isinstance(state, Tensor):
        return [state.numpy().tobytes()]
    if isinstance(state, Mapping):
        return [b for value in state.values() for b in flat(value)]
    if isinstance(state, (list, tuple)):
        return [b for value in state for b in flat(value)]
    return [repr(state).encode()]


def test_a_trial_learns_and_the_run_keeps_every_bit() -> None:
    config = tiny_config(**{"model.dropout": 0.3})
    trainer = Trainer(config, tiny_data(config))
    trainer.fit(between=lambda place: place.step < 7)
    before = flat(trainer.state_dict())
    found = trials_of(trainer).run(fused_loss(trainer), 3)
    assert flat(trainer.state_dict()) == before
    assert found.train_after < 0.9 * found.train_before
    again = trials_of(trainer).run(fused_loss(trainer), 3)
    assert again == found


def test_a_trial_measures_what_the_run_measures() -> None:
    config = tiny_config()
    trainer = Trainer(config, tiny_data(config))
    trainer.fit(between=lambda place: place.step < 7)
    found = trials_of(trainer).run(fused_loss(trainer), 1)
    assert found.held_before == pytest.approx({str(k): v for k, v in trainer.validate().items()}["val_loss"], rel=1e-5)
    assert found.train_before == pytest.approx(
        {str(k): v for k, v in trainer.validate("train").items()}["train_loss"], rel=1e-5
    )


def test_rates_by_group() -> None:
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    optimiser = build_optimiser({SHARED: [first], "audio": [second], "none": []}, tiny_config().training, 0.1)
    set_rate(optimiser, 0.2, {"audio": 0.5, "unknown": 3.0})
    assert {g["name"]: g["lr"] for g in optimiser.param_groups} == {SHARED: 0.2, "audio": 0.1}
