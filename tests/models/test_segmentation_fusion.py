"""Segmentation fusion: maps of every size, the order of head and enlargement, refusals, number formats."""

import pytest
import torch
import torch.nn.functional as F

from cggm_core.errors import CapabilityError
from cggm_core.models._pyramid import enlarged, normalised
from cggm_core.models.segmentation_fusion import SegmentationFusionBuilder
from cggm_core.protocols.data import ModalitySpec, take
from tests.models.making import SEQUENCE, VECTOR, bundle


def images(height=16, width=16, channels=1):
    return {"a": ModalitySpec("image", (channels, height, width)), "b": ModalitySpec("image", (1, height, width))}


def build(specs=None, task="segmentation", outputs=3, samples=4, **knobs):
    torch.manual_seed(0)
    data = bundle(specs or images(), task, outputs, samples)
    return SegmentationFusionBuilder(**knobs).build(data), data.splits["train"]


@pytest.mark.parametrize("side", [(1, 1), (3, 2), (8, 8), (17, 31), (48, 64)])
def test_logits_have_the_images_size(side):
    model, split = build(images(*side, channels=3))
    assert model(split.inputs).shape == (4, 3, *side)
    for m, classifier in model.build_classifiers().items():
        assert classifier(model.encode(split.inputs)[m]).shape == (4, 3, *side)


def test_the_papers_size_is_deep_and_works():
    model, split = build(size="paper", samples=1)
    assert model.head.weight.shape == (3, 256, 1, 1)
    assert sum(p.numel() for p in model.parameters_of("a")) > 20_000_000
    with torch.no_grad():
        assert model(split.inputs).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("width", [8, 12, 40])
def test_the_width_is_that_of_the_head(width):
    model, _ = build(width=width)
    assert model.head.weight.shape == (3, width, 1, 1)


def test_enlarging_before_the_head_gives_the_logits_of_enlarging_after_it():
    model, split = build()
    features = model.encode(split.inputs)
    small = model._join(torch.cat(list(features.values()), 1))
    torch.testing.assert_close(enlarged(model.head(small), (16, 16)), model(split.inputs), rtol=1e-5, atol=1e-6)


def test_no_normalisation_looks_at_the_batch():
    for width in (5, 8, 12, 64):
        assert width % normalised(width).num_groups == 0
    model, _ = build()
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())


@pytest.mark.parametrize(
    ("specs", "task", "words"),
    [
        (None, "classification", "cannot do classification .*leave the model at auto"),
        ({"a": ModalitySpec("image", (1, 8, 8)), "v": VECTOR}, "segmentation", "'v' is of kind 'vector'"),
        ({"a": ModalitySpec("image", (1, 8, 8)), "s": SEQUENCE}, "segmentation", "'s' is of kind 'sequence'"),
        ({"a": ModalitySpec("image", (1, 8, 8)), "b": ModalitySpec("image", (1, 8, 9))}, "segmentation",
         "images differ in size .a 8x8, b 8x9."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(specs, task, words):
    with pytest.raises(CapabilityError, match=words):
        build(specs, task)


@pytest.mark.parametrize("number", [torch.bfloat16, torch.float16])
def test_short_number_formats(number):
    model, split = build()
    classifiers, batch = model.build_classifiers(), take(split, torch.arange(4), torch.device("cpu"))
    with torch.autocast("cpu", dtype=number):
        features = model.encode(batch.inputs)
        logits = model.head(model.fuse(features))
    assert logits.dtype == number
    assert torch.allclose(logits.float(), model(batch.inputs), atol=0.1)
    F.cross_entropy(logits.float(), batch.target).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(classifiers[m](x.detach().float()).isfinite().all() for m, x in features.items())


def test_dropout_acts_in_training_only():
    model, split = build(dropout=0.5)
    assert not torch.equal(model(split.inputs), model(split.inputs))
    model.eval()
    assert torch.equal(model(split.inputs), model(split.inputs))
