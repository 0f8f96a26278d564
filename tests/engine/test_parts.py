"""Small parts of the engine: rates, order of samples, random state, validation."""

import pytest
import torch

from cggm_core import catalog
from cggm_core.config import Training
from cggm_core.engine.optimisers import build_optimiser, rate_factor
from cggm_core.engine.seeding import order, random_state, restore_random_state
from cggm_core.engine.trainer import Trainer
from cggm_core.errors import CapabilityError, PhaseError
from cggm_core.names import MetricKey
from cggm_core.protocols.classification import Classification
from cggm_core.protocols.data import TaskSpec, take
from cggm_core.protocols.step import Step
from cggm_core.protocols.tasks import make_task
from tests.support.training import Rows, bits, tiny_config, tiny_data, trained


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"schedule": "step", "schedule_epochs": 2, "schedule_factor": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
        ({"schedule": "cosine", "epochs": 5, "schedule_factor": 0.0}, [1, 0.8535534, 0.5, 0.1464466, 0]),
        ({"warmup_epochs": 3}, [0.25, 0.5, 0.75, 1, 1]),
        ({"warmup_epochs": 2, "warmup_factor": 0.5}, [0.5, 0.75, 1, 1]),
        ({"warmup_epochs": 1, "schedule": "step", "schedule_epochs": 1, "schedule_factor": 0.5}, [0.5, 1, 0.5, 0.25]),
    ],
)
def test_rates_by_epoch(settings: dict, factors: list[float]) -> None:
    given = Training(**settings)
    assert [rate_factor(given, epoch) for epoch in range(len(factors))] == pytest.approx(factors)


def torchs_rates(schedule: str, settings: Training) -> list[float]:
    """What PyTorch's own schedulers make of the same settings, one rate an epoch."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = torch.optim.lr_scheduler
    first = made.LinearLR(optimiser, settings.warmup_factor, 1.0, settings.warmup_epochs)
    then = (
        made.StepLR(optimiser, settings.schedule_epochs, settings.schedule_factor)
        if schedule == "step"
        else made.CosineAnnealingLR(
            optimiser, settings.epochs - settings.warmup_epochs - 1, eta_min=settings.schedule_factor
        )
    )
    both = made.SequentialLR(optimiser, [first, then], [settings.warmup_epochs])
    rates = []
    for _ in range(settings.epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        both.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize("preset", ["mosi", "brats"])
def test_rates_are_those_of_torchs_schedulers(schedule: str, preset: str) -> None:
    given = {**catalog.card("preset", preset).training, "schedule": schedule}
    settings = Training(**{**given, "warmup_factor": 0.04, "warmup_epochs": given["warmup_epochs"] or 3})
    found = [rate_factor(settings, epoch) for epoch in range(settings.epochs)]
    assert found == pytest.approx(torchs_rates(schedule, settings), rel=1e-9)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_optimisers_take_their_settings(kind: str) -> None:
    settings = Training(optimiser=kind, momentum=0.7, weight_decay=3e-4)
    made = build_optimiser({"all": [torch.nn.Parameter(torch.ones(3))]}, settings, 0.25)
    group = made.param_groups[0]
    assert type(made).__name__.lower() == kind
    assert (group["lr"], group["weight_decay"], group.get("momentum", 0.7)) == (0.25, 3e-4, 0.7)


def test_the_papers_class_weights_are_for_four_classes() -> None:
    logits, masks = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    given, own = (
        TaskSpec("segmentation", 4, options={"class_weights": (0.2, 0.3, 0.25, 0.25)}),
        TaskSpec("segmentation", 4),
    )
    assert make_task(own, class_weights="paper").loss(logits, masks) == make_task(given).loss(logits, masks)
    assert make_task(own).loss(logits, masks) != make_task(given).loss(logits, masks)
    two = TaskSpec("segmentation", 2)
    few, halves = torch.randn(2, 2, 5, 5), torch.randint(0, 2, (2, 5, 5))
    assert make_task(two, class_weights="paper").loss(few, halves) == make_task(two).loss(few, halves)


def test_the_order_of_samples_depends_on_seed_and_epoch_alone() -> None:
    first = order(3, 1, 50)
    torch.rand(5)
    assert torch.equal(first, order(3, 1, 50))
    assert not torch.equal(first, order(3, 2, 50))
    assert not torch.equal(first, order(4, 1, 50))
    assert sorted(first.tolist()) == list(range(50))


def test_random_state_comes_back() -> None:
    state = random_state(torch.device("cpu"))
    drawn = torch.rand(3)
    restore_random_state(state, torch.device("cpu"))
    assert torch.equal(drawn, torch.rand(3))


def test_f1_and_accuracy_by_hand() -> None:
    task = Classification(TaskSpec("classification", 2))
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = task.metrics(logits, torch.tensor([0, 0, 1, 1]))
    # class 0: precision 2/3, recall 1, F1 0.8; class 1: precision 1, recall 1/2, F1 2/3; two samples each
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_the_closed_derivative_of_cross_entropy_is_autograds() -> None:
    task, target = Classification(TaskSpec("classification", 5)), torch.tensor([0, 4, 2])
    logits = torch.randn(3, 5, requires_grad=True)
    (autograd,) = torch.autograd.grad(task.loss(logits, target), logits)
    torch.testing.assert_close(task.logit_gradient(logits, target), autograd)


def test_validation_is_free_of_dropout_and_of_batches() -> None:
    config = tiny_config(**{"model.dropout": 0.5})
    trainer, _ = trained(config)
    before, state = bits(trainer.model), torch.get_rng_state()
    first, again = trainer.validate(), trainer.validate()
    assert first == again
    assert trainer.model.training
    assert bits(trainer.model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert first[MetricKey("val_score")] == first[MetricKey("val_accuracy")]


def test_reading_ahead_of_its_phase_names_the_hook() -> None:
    config = tiny_config()
    trainer = Trainer(config, tiny_data(config))
    batch = take(trainer.data.splits["train"], torch.arange(4), trainer.device)
    step = Step(0, 0, batch, trainer.model, trainer.task, trainer.parameters)
    with pytest.raises(PhaseError, match="read it in on_features"):
        _ = step.features
    with pytest.raises(PhaseError, match="in on_gradients only"):
        step.scale_gradients({"m1": torch.ones(())})


def test_a_task_that_cannot_be_trained_is_named() -> None:
    with pytest.raises(CapabilityError, match="classification"):
        make_task(TaskSpec("ranking", 2))  # type: ignore[arg-type]


def test_other_optimisers_and_clipping_train() -> None:
    for settings in (
        {"optimiser": "sgd", "lr": 0.01},
        {"optimiser": "adamw", "weight_decay": 0.01, "gradient_clip": 0.8},
    ):
        _, rows = trained(tiny_config("cggm", **settings))
        assert rows.epochs[1][MetricKey("val_loss")] < 5


def test_an_epoch_starts_once_also_after_a_resume_at_its_border() -> None:
    config, begun = tiny_config(), []
    first = Trainer(config, tiny_data(config))
    first.fit(between=lambda place: place.epoch == 0)
    resumed = Trainer(config, tiny_data(config))
    for trainer in (first, resumed):
        trainer.method.on_epoch_start = begun.append  # type: ignore[method-assign]
    assert not first.fit(between=lambda place: False)
    resumed.load_state_dict(first.state_dict())
    resumed.fit()
    assert begun == [1]


def test_a_coefficient_is_one_until_it_is_first_defined() -> None:
    config = tiny_config("cggm", **{"method.rho": 0.7})
    trainer = Trainer(config, tiny_data(config))
    trainer.task.score = lambda logits, target: torch.zeros((), dtype=torch.float64)  # type: ignore[method-assign]
    rows = Rows()
    trainer.fit(rows, between=lambda place: place.step < 3)  # type: ignore[arg-type]
    for row in rows.steps.values():
        assert row[MetricKey("coefficient_undefined")] == 1
        assert [row[MetricKey("balance_coefficient", m)] for m in ("m1", "m2", "m3")] == [1, 1, 1]


@pytest.mark.parametrize("method", ["joint", "cggm"])
def test_a_task_without_a_closed_form_is_measured_by_double_backward(method: str) -> None:
    config = tiny_config(method)
    closed, opened = Trainer(config, tiny_data(config)), Trainer(config, tiny_data(config))
    opened.task.logit_gradient = lambda logits, target: None  # type: ignore[method-assign]
    rows = Rows(), Rows()
    for trainer, taken in zip((closed, opened), rows, strict=True):
        trainer.fit(taken, between=lambda place: place.step < 3)  # type: ignore[arg-type]
    for step, row in rows[0].steps.items():
        for key in (MetricKey("head_gradient_norm"), MetricKey("direction_cosine", "m1"), MetricKey("loss")):
            assert rows[1].steps[step][key] == pytest.approx(row[key], rel=1e-3, abs=1e-4)
