"""Transformer fusion: tokens of any kind of input, padding of any length, and the direction's closed form."""

import math

import pytest
import torch

from cggm_core import catalog
from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.measures.directions import cosines, direction_loss, head_gradient
from cggm_core.models._encoders import sinusoids
from cggm_core.models.transformer_fusion import TransformerFusionBuilder
from cggm_core.protocols.data import ModalitySpec, TaskSpec
from cggm_core.protocols.model import ModelBuilder
from cggm_core.protocols.tasks import make_task
from tests.models.making import IMAGE, SEQUENCE, VECTOR, bundle

MIXED = {"v": VECTOR, "s": SEQUENCE, "i": IMAGE}


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for one another on busy cores make these small models many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(specs=MIXED, task="classification", outputs=3, **knobs):
    torch.manual_seed(0)
    data = bundle(specs, task, outputs)
    return TransformerFusionBuilder(**{"layers": 2, **knobs}).build(data), data


def test_a_vector_is_one_token_a_step_one_each_and_an_image_at_most_49():
    model, data = build()
    found = {m: tuple(x.shape) for m, x in model.encode(data.splits["train"].inputs).items()}
    assert found == {"v": (8, 1, 40), "s": (8, 5, 40), "i": (8, 16, 40)}


@pytest.mark.parametrize("side", [(1, 1), (3, 2), (7, 7), (8, 8), (28, 28), (65, 33)])
def test_images_of_any_size_are_seen_to_their_last_pixel(side):
    model, _ = build({"i": ModalitySpec("image", (2, *side)), "v": VECTOR}, layers=1)
    image = torch.randn(1, 2, *side, requires_grad=True)
    features = model.encode({"i": image, "v": torch.randn(1, 6)})["i"]
    assert 1 <= features.shape[1] <= 49
    features.square().mul(torch.rand(features.shape)).sum().backward()
    assert (image.grad != 0).all()


def test_more_padding_changes_nothing():
    specs = {"s": ModalitySpec("sequence", (5, 3), True), "t": ModalitySpec("sequence", (6, 2), True)}
    model, data = build(specs)
    classifiers = model.build_classifiers()
    content, other = torch.randn(8, 5, 3), data.splits["train"].inputs["t"]
    plain = model.encode({"s": content, "t": other})
    for before, after in ((0, 7), (7, 0), (3, 40)):
        longer = torch.nn.functional.pad(content, (0, 0, before, after))
        features = model.encode({"s": longer, "t": other})
        assert torch.allclose(features["s"][:, before : before + 5], plain["s"], atol=1e-6)
        assert torch.allclose(model.head(model.fuse(features)), model.head(model.fuse(plain)), atol=1e-6)
        for m in specs:
            assert torch.allclose(classifiers[m](features[m]), classifiers[m](plain[m]), atol=1e-6)


def test_unpadded_data_and_their_padded_twin_agree():
    (plain, data), (padded, _) = build(), build({**MIXED, "s": ModalitySpec("sequence", (5, 3), True)})
    inputs = data.splits["train"].inputs
    assert torch.allclose(plain(inputs), padded(inputs), atol=1e-6)


def test_the_order_of_steps_matters():
    model, data = build()
    inputs = data.splits["train"].inputs
    turned = {**inputs, "s": inputs["s"].flip(1)}
    assert not torch.allclose(model(inputs), model(turned), atol=1e-4)


def test_positions_are_sines_and_cosines():
    made = sinusoids(6, 8, torch.device("cpu"))
    assert made.shape == (6, 8)
    assert made[0].tolist() == [0.0] * 4 + [1.0] * 4
    assert made[3, 0].item() == pytest.approx(math.sin(3.0), abs=1e-6)
    assert made[3, 7].item() == pytest.approx(math.cos(3.0 / 10_000.0), abs=1e-6)
    assert sinusoids(4, 7, torch.device("cpu")).shape == (4, 7)


def test_no_modality_has_a_place_of_its_own():
    model, data = build()
    features = model.encode(data.splits["train"].inputs)
    model.modalities = tuple(reversed(model.modalities))
    turned = model.fuse(features)
    model.modalities = tuple(reversed(model.modalities))
    assert torch.allclose(turned, model.fuse(features), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "task", "specs", "outputs"),
    [
        ("transformer_fusion", "classification", MIXED, 4),
        ("transformer_fusion", "regression", MIXED, 2),
        ("late_fusion", "classification", MIXED, 4),
        ("segmentation_fusion", "segmentation", {"a": ModalitySpec("image", (1, 9, 12)),
                                                 "b": ModalitySpec("image", (2, 9, 12))}, 4),
    ],
)  # fmt: skip
def test_the_closed_form_of_the_direction_is_double_backward(name, task, specs, outputs):
    """Cross-entropy, L1, and Dice plus weighted cross-entropy: L_gm and its gradient by every parameter."""
    data = bundle(specs, task, outputs)
    options = {"class_weights": (0.2, 0.3, 0.25, 0.25)} if task == "segmentation" else {}
    judge = make_task(TaskSpec(task, outputs, options=options), "standard")
    torch.manual_seed(0)
    model = catalog.load("model", name, ModelBuilder)(**catalog.card("model", name).resolve({})).build(data)
    classifiers = model.build_classifiers()
    split = data.splits["train"]
    features = model.encode(split.inputs)
    others = []
    for m in specs:
        head = classifiers[m].head.weight
        (own,) = torch.autograd.grad(judge.loss(classifiers[m](features[m].detach()), split.target), head)
        others.append(own.flatten())
    found = []
    for closed in (True, False):
        fused = model.fuse(model.encode(split.inputs))
        logits = model.head(fused)
        derivative = judge.logit_gradient(logits, split.target) if closed else None
        gradient = head_gradient(model.head, fused, derivative, judge.loss(logits, split.target))
        value = direction_loss(
            torch.tensor([1.1, 0.4, -0.3][: len(specs)]), cosines(gradient.flatten(), torch.stack(others))
        )
        parameters = list(model.parameters())
        by_all = torch.autograd.grad(value, parameters, materialize_grads=True)
        found.append((gradient.detach(), value.detach(), torch.cat([g.flatten() for g in by_all])))
    for mine, theirs in zip(*found, strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))
    assert found[0][2].abs().max() > 1e-4


def test_what_it_cannot_do_is_refused():
    with pytest.raises(CapabilityError, match=r"transformer_fusion cannot do segmentation \(random\)"):
        build(task="segmentation")
    with pytest.raises(CapabilityError, match=r"'v' is of kind 'graph'; there are encoders for vector"):
        build({"v": ModalitySpec("graph", (3,)), "s": SEQUENCE})
    with pytest.raises(ConfigError, match=r"heads is 6, but must divide width 40: take one of 1, 2, 4, 5"):
        TransformerFusionBuilder(heads=6)


@pytest.mark.parametrize("number", [torch.bfloat16, torch.float16])
def test_short_number_formats_with_padding(number):
    model, data = build({**MIXED, "s": ModalitySpec("sequence", (5, 3), True)})
    inputs = dict(data.splits["train"].inputs)
    inputs["s"] = inputs["s"].clone()
    inputs["s"][0], inputs["s"][1, 3:] = 0.0, 0.0
    classifiers = model.build_classifiers()
    with torch.autocast("cpu", dtype=number):
        features = model.encode(inputs)
        logits = model.head(model.fuse(features))
        (logits.float().square().sum() + classifiers["s"](features["s"].detach()).float().square().sum()).backward()
    assert torch.allclose(logits.float(), model(inputs), atol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
