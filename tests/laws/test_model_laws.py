"""What holds for every model: who owns which parameter, where gradients go, what is repeatable."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cggm_core import catalog
from cggm_core.protocols.data import ModalitySpec
from cggm_core.protocols.model import ModelBuilder, UnimodalClassifier, absent, encoder_parameters
from tests.models.making import IMAGE, ODD_NAMES, SEQUENCE, VECTOR, bundle

CARDS = catalog.all_cards("model")
SPECS = {
    "vector": (VECTOR, ModalitySpec("vector", (1,))),
    "sequence": (SEQUENCE, ModalitySpec("sequence", (1, 2))),
    "image": (IMAGE, ModalitySpec("image", (3, 9, 12))),
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for one another on busy cores make these small models many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def builder(name, **knobs):
    return catalog.load("model", name, ModelBuilder)(**CARDS[name].resolve(knobs))


def mixes(name):
    """Two, three and four modalities of the kinds the card names, and names that are hard to carry."""
    found = [spec for kind in CARDS[name].kinds for spec in SPECS[kind]] * 2
    tasks = [t for t in CARDS[name].tasks if t != "segmentation"]
    for task in CARDS[name].tasks:
        for count in (2, 3, 4):
            # Masks are of the images' size, so all images of a set are of one.
            masked = [ModalitySpec("image", (1 + 2 * (i % 2), 9, 12)) for i in range(count)]
            chosen = masked if task == "segmentation" else found
            yield task, {f"m{i}": chosen[i] for i in range(count)}
    if set(CARDS[name].kinds) >= {"vector", "sequence", "image"} and tasks:
        yield tasks[0], ODD_NAMES


CASES = [
    pytest.param(name, task, specs, id=f"{name}-{task}-{len(specs)}{'-names' if 'type' in specs else ''}")
    for name in CARDS
    for task, specs in mixes(name)
]
law = pytest.mark.parametrize(("name", "task", "specs"), CASES)


def build(name, task, specs, seed=0):
    data = bundle(specs, task)
    torch.manual_seed(seed)
    return builder(name).build(data), data.splits["train"]


@pytest.mark.parametrize("name", CARDS)
def test_the_card_read_is_the_card_imported_and_its_knobs_are_the_signature(name):
    assert CARDS[name] == catalog.module("model", name).CARD
    signature = inspect.signature(catalog.load("model", name, ModelBuilder).__init__)
    knobs = {p.name: p.default for p in list(signature.parameters.values())[1:]}
    assert list(knobs.items()) == [(p.name, p.default) for p in CARDS[name].params]
    assert all(p.text for p in CARDS[name].params)


@law
def test_shapes(name, task, specs):
    model, split = build(name, task, specs)
    assert model.modalities == tuple(specs)
    features = model.encode(split.inputs)
    assert tuple(features) == tuple(specs)
    width = model.head.weight.shape[1]
    maps = task == "segmentation"
    assert all(x.dim() == 3 + maps and x.shape[0] == 8 for x in features.values())
    assert all(x.shape[1 if maps else 2] == width for x in features.values())
    fused = model.fuse(features)
    assert fused.shape == (8, width, *split.target.shape[1:]) if maps else (8, width)
    assert torch.equal(model.head(fused), model(split.inputs))
    assert model(split.inputs).shape == (8, 3, *split.target.shape[1:]) if maps else (8, 3)
    assert all(torch.isfinite(x).all() for x in (fused, *features.values()))


@law
def test_every_parameter_feeds_one_modality_or_is_shared(name, task, specs):
    model, _ = build(name, task, specs)
    owned = encoder_parameters(model)
    assert tuple(owned) == tuple(specs)
    ids = [id(p) for parameters in owned.values() for p in parameters]
    assert len(ids) == len(set(ids))
    assert set(ids) < {id(p) for p in model.parameters()}
    assert id(model.head.weight) not in ids
    for m in specs:
        assert {id(p) for p in model.projection_of(m)} <= {id(p) for p in owned[m]}


@law
def test_gradients_of_one_modality_reach_its_parameters_alone(name, task, specs):
    model, split = build(name, task, specs)
    for m in specs:
        model.zero_grad()
        features = model.encode(split.inputs)[m]
        features.square().mul(torch.arange(1.0, 9.0).view(-1, *[1] * (features.dim() - 1))).sum().backward()
        reached = {id(p) for p in model.parameters() if p.grad is not None}
        assert reached == {id(p) for p in model.parameters_of(m)}


@law
def test_every_parameter_learns(name, task, specs):
    model, split = build(name, task, specs)
    model(split.inputs).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@law
def test_an_absent_modality_leaves_the_rest_readable(name, task, specs):
    model, split = build(name, task, specs)
    features = model.encode(split.inputs)
    for m in specs:
        only = model.fuse(absent(features, [m]))
        assert torch.isfinite(only).all()
        assert not torch.equal(only, model.fuse(features))


@law
def test_samples_do_not_see_their_neighbours(name, task, specs):
    model, split = build(name, task, specs)
    whole = model(split.inputs)
    part = model({m: x[:3] for m, x in split.inputs.items()})
    assert torch.allclose(whole[:3], part, atol=1e-5)
    assert not list(model.buffers())


@law
def test_classifiers_read_detached_features_and_share_the_heads_shape(name, task, specs):
    model, split = build(name, task, specs)
    classifiers = model.build_classifiers()
    assert isinstance(classifiers, nn.ModuleDict)
    assert tuple(classifiers.keys()) == tuple(specs)
    features = {m: x.detach() for m, x in model.encode(split.inputs).items()}
    kept = {m: x.clone() for m, x in features.items()}
    for m in specs:
        classifier = classifiers[m]
        assert isinstance(classifier, UnimodalClassifier)
        assert classifier.head.weight.shape == model.head.weight.shape
        assert classifier.represent(features[m]).shape == model.fuse(features).shape
        logits = classifier(features[m])
        assert logits.shape == model(split.inputs).shape
        logits.square().sum().backward()
        assert torch.equal(features[m], kept[m])
    assert all(p.grad is not None for p in classifiers.parameters())
    assert all(p.grad is None for p in model.parameters())


@law
def test_classifiers_draw_nothing_and_hold_no_statistics(name, task, specs):
    model, split = build(name, task, specs)
    classifiers = model.build_classifiers().train()
    features = {m: x.detach() for m, x in model.encode(split.inputs).items()}
    before = torch.get_rng_state()
    first = [classifiers[m](x) for m, x in features.items()]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, classifiers[m](x)) for a, (m, x) in zip(first, features.items(), strict=True))
    assert not list(classifiers.buffers())


TAKES_SEQUENCES = [name for name in CARDS if "sequence" in CARDS[name].kinds]


def laid(content, length, start):
    """`[n, steps, d]` in zeros of `length` steps, from step `start` on."""
    made = torch.zeros(len(content), length, content.shape[2])
    made[:, start : start + content.shape[1]] = content
    return made


@pytest.mark.parametrize("name", TAKES_SEQUENCES)
def test_padding_changes_nothing(name):
    """Neither a prediction, fused or of one modality, nor a gradient, wherever the padding lies."""
    specs = {"s": ModalitySpec("sequence", (9, 3), True), "t": ModalitySpec("sequence", (4, 2)), "v": VECTOR}
    model, split = build(name, "classification", specs)
    classifiers = model.build_classifiers()
    content = torch.randn(8, 5, 3)
    found = []
    for start in (0, 2, 4):
        model.zero_grad()
        features = model.encode({**split.inputs, "s": laid(content, 9, start)})
        fused = model.head(model.fuse(features))
        fused.square().sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert (features["s"][:, :start] == 0).all()
        assert (features["s"][:, start + 5 :] == 0).all()
        found.append((fused, gradient, classifiers["s"](features["s"].detach())))
    for fused, gradient, alone in found[1:]:
        assert torch.allclose(fused, found[0][0], atol=1e-6)
        assert torch.allclose(alone, found[0][2], atol=1e-6)
        assert torch.allclose(gradient, found[0][1], atol=1e-5)


@pytest.mark.parametrize("name", TAKES_SEQUENCES)
def test_samples_of_every_length_and_of_none_train(name):
    specs = {"s": ModalitySpec("sequence", (9, 3), True), "v": VECTOR}
    model, split = build(name, "classification", specs)
    inputs = {**split.inputs, "s": torch.cat([laid(torch.randn(1, n, 3), 9, 0) for n in range(8)])}
    features = model.encode(inputs)
    assert (features["s"][0] == 0).all()
    fused = model.head(model.fuse(features))
    alone = model.build_classifiers()["s"](features["s"].detach())
    (fused.square().sum() + alone.square().sum()).backward()
    assert torch.isfinite(fused).all()
    assert torch.isfinite(alone).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    alone_in_batch = model({m: x[3:4] for m, x in inputs.items()})
    assert torch.allclose(alone_in_batch, fused[3:4], atol=1e-6)


@law
def test_same_seed_same_bits(name, task, specs):
    (one, split), (two, _), (other, _) = (build(name, task, specs, seed) for seed in (5, 5, 6))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one(split.inputs), two(split.inputs))
    assert not torch.equal(one(split.inputs), other(split.inputs))
    for model in (one, two):
        model(split.inputs).square().mean().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@law
def test_state_goes_out_and_back(name, task, specs):
    (one, split), (two, _) = (build(name, task, specs, seed) for seed in (1, 2))
    torch.manual_seed(1)
    first = one.build_classifiers()
    second = two.build_classifiers()
    two.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    assert torch.equal(one(split.inputs), two(split.inputs))
    for m, x in one.encode(split.inputs).items():
        assert torch.equal(first[m](x), second[m](x))


@law
def test_relabelling_modalities_changes_names_only(name, task, specs):
    renamed = {f"other {i}": spec for i, spec in enumerate(specs.values())}
    (one, split), (two, _) = build(name, task, specs), build(name, task, renamed)
    given = dict(zip(renamed, split.inputs.values(), strict=True))
    assert torch.equal(one(split.inputs), two(given))


@law
def test_the_order_of_the_inputs_does_not_matter(name, task, specs):
    model, split = build(name, task, specs)
    turned = dict(reversed(split.inputs.items()))
    assert tuple(model.encode(turned)) == tuple(specs)
    features = model.encode(split.inputs)
    assert torch.equal(model.fuse(dict(reversed(features.items()))), model.fuse(features))
    assert torch.equal(model(turned), model(split.inputs))


@law
def test_a_few_steps_lower_the_loss(name, task, specs):
    model, split = build(name, task, specs)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        logits = model(split.inputs)
        loss = F.l1_loss(logits, split.target) if task == "regression" else F.cross_entropy(logits, split.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
