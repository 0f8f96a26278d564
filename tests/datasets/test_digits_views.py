"""The digit views: what they hold, and that noise falls on one view alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from cggm_core.datasets.digits_views import CARD, DigitsViews, fourier_view, projection_view
from cggm_core.errors import ConfigError


def test_the_fourier_view_keeps_one_of_each_conjugate_pair():
    image = np.random.default_rng(0).normal(size=(1, 4, 4))
    made = fourier_view(image)
    magnitudes = np.abs(np.fft.fft2(image[0]))
    assert made.shape == (1, 10)
    assert np.allclose(np.unique(made.round(9)), np.unique(np.log1p(magnitudes).round(9)))
    assert np.allclose(fourier_view(np.roll(image, 1, axis=2)), made)


def test_the_projection_view_by_hand():
    made = projection_view(np.array([[[1.0, 2.0], [3.0, 4.0]]]))
    assert made.tolist() == [[3, 7, 4, 6, 3, 5, 2, 4, 5, 1]]


def test_shapes_and_sizes():
    data = DigitsViews().build()
    assert {m: s.shape for m, s in data.modalities.items()} == {
        "pixels": (1, 8, 8), "fourier": (34,), "projections": (46,),
    }  # fmt: skip
    sizes = [len(data.splits[s]) for s in ("train", "val", "test")]
    assert sum(sizes) == 1797
    assert " / ".join(f"{n:,}" for n in sizes) in CARD.samples
    assert (torch.bincount(data.splits["test"].target) >= 34).all()


def test_noise_falls_on_one_view_and_leaves_the_split():
    clean, noisy = DigitsViews().build(), DigitsViews(noise=2.0, noisy_view="fourier").build()
    for split in ("train", "val", "test"):
        first, second = clean.splits[split], noisy.splits[split]
        assert torch.equal(first.ids, second.ids)
        assert torch.equal(first.inputs["pixels"], second.inputs["pixels"])
        assert not torch.equal(first.inputs["fourier"], second.inputs["fourier"])


def test_the_seed_moves_the_split():
    assert not torch.equal(DigitsViews().build().splits["val"].ids,
                           DigitsViews(split_seed=1).build().splits["val"].ids)  # fmt: skip


@pytest.mark.parametrize("views", ["pixels+fourier", "pixels+projections", "fourier+projections"])
def test_two_views(views):
    assert "+".join(DigitsViews(views=views).build().modalities) == views


def test_noise_on_an_absent_view_is_refused():
    builder = DigitsViews(noise=1.0, noisy_view="pixels", views="fourier+projections")
    with pytest.raises(ConfigError, match=r"noisy_view is 'pixels', but the views are fourier, projections"):
        builder.build()


def probe(data, view):
    """Test accuracy of a linear classifier on one view."""
    train, test = data.splits["train"], data.splits["test"]
    fitted = LogisticRegression(C=0.1, max_iter=300).fit(train.inputs[view].flatten(1).numpy(), train.target)
    return fitted.score(test.inputs[view].flatten(1).numpy(), test.target)


def test_each_view_tells_the_digit_until_noise_drowns_it():
    data = DigitsViews(noise=10.0, noisy_view="pixels").build()
    assert probe(DigitsViews().build(), "pixels") > 0.9
    assert probe(data, "pixels") < 0.4
    assert probe(data, "fourier") > 0.7
    assert probe(data, "projections") > 0.85
