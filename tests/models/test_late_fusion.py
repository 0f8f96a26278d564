"""Late fusion: shapes, attention against torch's own, names of any kind, number formats."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.models._attention import FeedForward, PredictionToken, SelfAttention, attend
from cggm_core.models._by_modality import ByModality
from cggm_core.models._encoders import ImageEncoder
from cggm_core.models.late_fusion import LateFusionBuilder
from cggm_core.protocols.data import ModalitySpec, take
from tests.models.making import IMAGE, ODD_NAMES, SEQUENCE, VECTOR, bundle

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
    return LateFusionBuilder(**{"width": 16, **knobs}).build(data), data


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_what_its_formula_says(count, masked):
    torch.manual_seed(0)
    query, tokens, value = torch.randn(3, 2, 12), torch.randn(3, count, 12), torch.randn(3, count, 12)
    keys = torch.rand(3, count) > 0.4
    keys[:, 0] = True
    scores = torch.einsum("bqhd,bkhd->bhqk", query.view(3, 2, 4, 3), tokens.view(3, count, 4, 3)) / 3**0.5
    if masked:
        scores = scores - 1e9 * (~keys[:, None, None]).float()
    expected = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value.view(3, count, 4, 3)).flatten(-2)
    assert torch.allclose(attend(query, tokens, value, 4, keys if masked else None), expected, atol=1e-6)


def test_a_layer_agrees_with_torch():
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(20, 5, 80, 0.0, batch_first=True, norm_first=True)
    attention, forward = SelfAttention(20, 5), FeedForward(20, 4)
    out = theirs.self_attn.out_proj
    for mine, other in (
        (attention.norm, theirs.norm1), (forward.norm, theirs.norm2), (attention.out, out),
        (forward.inner, theirs.linear1), (forward.out, theirs.linear2),
    ):  # fmt: skip
        mine.load_state_dict(other.state_dict())
    with torch.no_grad():
        attention.projections.weight.copy_(theirs.self_attn.in_proj_weight)
        attention.projections.bias.copy_(theirs.self_attn.in_proj_bias)
    x = torch.randn(4, 9, 20)
    assert torch.allclose(forward(attention(x)), theirs(x), atol=1e-5)


def test_the_prediction_token_is_attention_with_one_query():
    torch.manual_seed(0)
    token = PredictionToken(12, 3)
    query, keys, values = torch.randn(1, 1, 12), nn.Linear(12, 12, bias=False), token.value
    with torch.no_grad():
        by_head = keys.weight.unflatten(0, (3, 4))
        token.score.weight.copy_((query.view(3, 4, 1) * by_head).sum(1) / 2)
    tokens = torch.randn(5, 7, 12)
    read = attend(query.expand(5, -1, -1), keys(tokens), values(tokens), 3)[:, 0]
    assert torch.allclose(token(tokens), token.out(read) + tokens.mean(1), atol=1e-6)


@pytest.mark.parametrize("side", [(1, 1), (3, 2), (7, 7), (8, 8), (16, 9), (28, 28), (65, 33), (128, 128)])
@pytest.mark.parametrize("width", [8, 64])
def test_images_of_any_size_become_at_most_49_tokens(side, width):
    torch.manual_seed(0)
    made = ImageEncoder((3, *side), width, 1, 0.0)(torch.randn(2, 3, *side))
    assert made.shape[0::2] == (2, width)
    assert 1 <= made.shape[1] <= 49
    assert made.std() > 0.1


def test_vectors_sequences_and_images_give_their_tokens():
    model, data = build()
    features = model.encode(data.splits["train"].inputs)
    assert {m: tuple(x.shape) for m, x in features.items()} == {
        "v": (8, 1, 16),
        "s": (8, 5, 16),
        "i": (8, 16, 16),
    }


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_classifiers_have_as_many_attention_layers_as_asked_for(layers):
    model, data = build(classifier_layers=layers)
    classifier = model.build_classifiers()["s"]
    assert len(classifier.attention) == layers - 1
    features = model.encode(data.splits["train"].inputs)["s"]
    assert classifier(features).shape == (8, 3)
    assert all(m.p == 0 for m in classifier.modules() if isinstance(m, nn.Dropout))


def test_names_of_any_kind_are_kept():
    model, data = build(ODD_NAMES)
    classifiers = model.build_classifiers()
    assert model.modalities == tuple(classifiers) == tuple(classifiers.keys()) == tuple(ODD_NAMES)
    assert all(m in classifiers for m in ODD_NAMES)
    assert "absent" not in classifiers
    again = copy.deepcopy(classifiers)
    again.load_state_dict(classifiers.state_dict())
    features = model.encode(data.splits["train"].inputs)
    for m, classifier in again.items():
        assert torch.equal(classifier(features[m]), classifiers[m](features[m]))


def test_the_container_is_a_dictionary():
    made = ByModality({"a.b": nn.Linear(1, 1), "a_db": nn.Linear(1, 2), "a__b": nn.Linear(1, 3)})
    assert [m.out_features for m in made.values()] == [1, 2, 3]
    assert len(list(made.parameters())) == 6
    del made["a_db"]
    assert list(made) == ["a.b", "a__b"]
    assert len(made) == 2


def test_regression_has_as_many_logits_as_outputs():
    model, data = build(task="regression", outputs=2)
    assert model(data.splits["train"].inputs).shape == (8, 2)
    assert model.build_classifiers()["v"].head.weight.shape == model.head.weight.shape == (2, 16)


def test_segmentation_is_refused():
    with pytest.raises(
        CapabilityError, match=r"late_fusion cannot do segmentation \(random\).*models that can: segmentation_fusion "
    ):
        build(task="segmentation")


def test_an_unknown_kind_is_refused():
    with pytest.raises(CapabilityError, match=r"'v' is of kind 'graph'; there are encoders for vector"):
        build({"v": ModalitySpec("graph", (3,)), "s": SEQUENCE})


def test_heads_must_divide_width():
    with pytest.raises(ConfigError, match=r"heads is 5, but must divide width 16: take one of 1, 2, 4, 8, 16"):
        LateFusionBuilder(width=16, heads=5)


@pytest.mark.parametrize("number", [torch.bfloat16, torch.float16])
def test_short_number_formats(number):
    model, data = build(classifier_layers=2)
    classifiers = model.build_classifiers()
    batch = take(data.splits["train"], torch.arange(4), torch.device("cpu"))
    with torch.autocast("cpu", dtype=number):
        features = model.encode(batch.inputs)
        logits = model.head(model.fuse(features))
        unimodal = [classifiers[m](x.detach()) for m, x in features.items()]
        loss = sum(F.cross_entropy(z, batch.target) for z in (logits, *unimodal))
    loss.backward()
    assert logits.dtype == number
    exact = model(batch.inputs)
    assert torch.allclose(logits.float(), exact, atol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_gradients_can_be_differentiated_again():
    model, data = build()
    with sdpa_kernel(SDPBackend.MATH):
        loss = F.cross_entropy(model(data.splits["train"].inputs), data.splits["train"].target)
    first = torch.autograd.grad(loss, list(model.parameters_of("s")), create_graph=True, allow_unused=True)
    sum(g.square().sum() for g in first if g is not None).backward()
    assert all(p.grad is not None for p in model.parameters_of("s"))


def test_dropout_acts_in_training_only_and_in_the_model_only():
    model, data = build(dropout=0.5)
    inputs = data.splits["train"].inputs
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))
    classifiers = model.build_classifiers().train()
    features = model.encode(inputs)
    assert all(torch.equal(classifiers[m](x), classifiers[m](x)) for m, x in features.items())


@pytest.mark.data
def test_real_data_are_learnt(data_folder):
    from cggm_core.datasets._npz import load_npz

    data = load_npz(data_folder / "avdigits.npz")
    torch.manual_seed(0)
    model = LateFusionBuilder(width=16, layers=1).build(data)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        batch = take(data.splits["train"], torch.randint(0, 2000, (64,)), torch.device("cpu"))
        loss = F.cross_entropy(model(batch.inputs), batch.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
