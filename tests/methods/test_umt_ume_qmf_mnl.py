"""UMT, UME, QMF and MNL against numbers worked out on paper."""

import math

import pytest
import torch

from cggm_core.engine.trainer import Place, Trainer
from cggm_core.methods.mnl import guide
from cggm_core.methods.qmf import confidence, fuse, in_unit_range, ranking_loss
from cggm_core.methods.ume import average
from cggm_core.methods.umt import Umt, distances
from tests.support.training import bits, tiny_config, tiny_data, trained

UNIMODAL = {"a": torch.tensor([[2.0, 0.0]]), "v": torch.tensor([[0.0, 1.0]])}


def test_umt_distances_and_total() -> None:
    student = {"a": torch.tensor([0.8, 0.1], requires_grad=True), "v": torch.tensor([0.0, 0.6])}
    teacher = {"a": torch.tensor([1.0, 0.0], requires_grad=True), "v": torch.tensor([0.0, 1.0])}
    found = distances(student, teacher)
    assert [value.item() for value in found.values()] == pytest.approx([0.025, 0.08])
    assert math.log(2) + 10 * sum(found.values()).item() == pytest.approx(1.743147, abs=1e-6)
    found["a"].backward()
    assert teacher["a"].grad is None


def test_umt_teachers_learn_before_the_run_and_stay() -> None:
    config = tiny_config("umt", **{"method.teacher_epochs": 3})
    trainer = Trainer(config, tiny_data(config))
    fresh = bits(trainer.method.modules()["teachers"])
    kept: list[dict[str, bytes]] = []
    meanwhile: list[dict[str, bytes]] = []

    def before(place: Place) -> bool:
        seen = meanwhile if place.beside else kept
        seen.append(bits(trainer.method.modules()["teachers"]))
        return True

    trainer.fit(between=before)
    assert kept[0] == meanwhile[0] == fresh  # asked before the first epoch starts
    assert meanwhile[1] != fresh
    assert kept[1] == kept[-1] != fresh
    assert not any(module.training for module in trainer.method.modules()["teachers"].modules())


def test_umt_teachers_are_better_than_chance_alone() -> None:
    config = tiny_config("umt", **{"method.teacher_epochs": 20})
    trainer, _ = trained(config)
    method, split = trainer.method, trainer.data.splits["train"]
    assert isinstance(method, Umt)
    assert method.teachers is not None
    with torch.no_grad():
        logits = method.teachers.heads(method.teachers.model.encode(split.inputs))
    scores = [float(trainer.task.score(z, split.target)) for z in logits.values()]
    assert max(scores) > 0.6, scores


def test_ume_of_logits_and_of_probabilities() -> None:
    assert average(UNIMODAL, probabilities=False).softmax(1)[0].tolist() == pytest.approx(
        [0.622459, 0.377541], abs=1e-6
    )
    assert average(UNIMODAL, probabilities=True).exp()[0].tolist() == pytest.approx([0.574869, 0.425131], abs=1e-6)


def test_ume_never_trains_the_fusion() -> None:
    trainer, _ = trained(tiny_config("ume"))
    fresh, _ = trained(tiny_config("ume", epochs=1))
    modal = {id(p) for own in trainer.parameters.values() for p in own}
    names = [name for name, p in trainer.model.named_parameters() if id(p) not in modal]
    assert names
    state, other = trainer.model.state_dict(), fresh.model.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in names)


def test_qmf_confidence_and_fusion() -> None:
    assert [float(confidence(z)) for z in UNIMODAL.values()] == pytest.approx([0.212693, 0.131326], abs=1e-6)
    assert fuse(UNIMODAL)[0].tolist() == pytest.approx([0.425386, 0.131326], abs=1e-6)
    assert fuse(UNIMODAL).softmax(1)[0].tolist() == pytest.approx([0.572990, 0.427010], abs=1e-6)


@pytest.mark.parametrize(
    ("sure", "released", "intended"),
    [((0.9, 0.3), 0.0, 1.4), ((0.9, 0.05), 0.05, 1.65), ((0.3, 0.9), 0.0, 0.2), ((0.2, 1.1), 0.0, 0.0)],
)
def test_qmf_ranking(sure: tuple[float, float], released: float, intended: float) -> None:
    past = torch.tensor([1.0, 0.2])
    assert float(ranking_loss(torch.tensor(sure), past, intended=False)) == pytest.approx(released, abs=1e-6)
    assert float(ranking_loss(torch.tensor(sure), past, intended=True)) == pytest.approx(intended, abs=1e-6)


def test_qmf_without_a_difference_or_a_neighbour_ranks_nothing() -> None:
    assert in_unit_range(torch.zeros(4, 2)).tolist() == [[0.0, 0.0]] * 4
    for count in (1, 3):
        assert float(ranking_loss(torch.rand(count), torch.zeros(count), intended=True)) == 0.0


MNL = torch.tensor([[[2.0, 1.0, 0.0]], [[0.5, 0.4, 0.6]]], dtype=torch.float64)


def test_mnl_guidance_value_and_gradient() -> None:
    logits, target = MNL.clone().requires_grad_(), torch.tensor([0])
    fused = MNL.mean(0)
    paper = guide(logits, fused, target, 0.7, released=False)
    assert paper.margins[:, 0].tolist() == pytest.approx([1.0, 0.1])
    assert paper.guides[:, :, 0].tolist() == [[False, True], [False, False]]
    assert paper.loss.item() == pytest.approx(0.7 * 0.384355, abs=1e-6)
    released = guide(logits, fused, target, 0.7, released=True)
    assert released.loss.item() == pytest.approx(0.456997, abs=1e-6)
    (gradient,) = torch.autograd.grad(released.loss, logits)
    assert gradient[0].abs().sum() == 0
    assert gradient[1, 0].tolist() == pytest.approx([-0.196641, 0.066581, 0.130061], abs=1e-6)
    (gradient,) = torch.autograd.grad(paper.loss, logits)
    assert gradient[1, 0].tolist() == pytest.approx([0.7 * x for x in (0.111215, -0.144097, 0.032881)], abs=1e-6)


def test_mnl_three_modalities_guide_by_pairs() -> None:
    logits = torch.cat([MNL, torch.tensor([[[1.0, 0.2, 0.1]]], dtype=torch.float64)])
    found = guide(logits, logits.mean(0), torch.tensor([0]), 0.7, released=False)
    assert found.guides[:, :, 0].nonzero().tolist() == [[0, 1], [0, 2], [2, 1]]


def test_mnl_tests_that_disagree_guide_nobody() -> None:
    # the first has the larger margin to the fused rival, the second the larger probability of the truth
    logits = torch.tensor([[[1.0, 0.0, 3.0]], [[1.0, 0.5, 0.0]]])
    found = guide(logits, torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0]), 0.7, released=False)
    assert not found.guides.any()
    assert found.loss.item() == 0.0
