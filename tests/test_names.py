"""The glossary as code: every metric says what it is, and the suffix law holds."""

import pytest

from cggm_core.errors import ConfigError
from cggm_core.names import METRICS, MetricKey, check_modality, metric, pair

DESIGNED = (
    "loss",
    "task_loss",
    "direction_loss",
    "score",
    "unimodal_score",
    "unimodal_loss",
    "score_gain",
    "balance_coefficient",
    "gradient_norm_raw",
    "gradient_norm",
    "update_ratio",
    "head_gradient_norm",
    "direction_cosine",
    "pair_cosine",
    "learning_rate",
    "step_seconds",
    "samples_per_second",
    "val_loss",
    "val_score",
    "val_unimodal_score",
    "val_accuracy",
    "val_f1",
    "val_mae",
    "val_corr",
    "val_acc2",
    "val_acc7",
    "val_dice_wt",
    "val_dice_tc",
    "val_dice_et",
    "val_dice",
    "test_accuracy",
    "test_f1",
    "test_mae",
    "test_dice",
)


@pytest.mark.parametrize("name", DESIGNED)
def test_every_designed_metric_is_there(name: str) -> None:
    assert name in METRICS


@pytest.mark.parametrize("name", METRICS)
def test_the_suffix_law(name: str) -> None:
    one = METRICS[name]
    assert one.label
    assert one.description
    if name.endswith("score"):
        assert one.direction == "higher"
    if name.endswith("loss"):
        assert one.direction == "lower"
    if name.endswith("_coefficient"):
        assert one.neutral == 1
    if name.endswith("_cosine"):
        assert one.bounds == (-1, 1)


def test_keys_read_as_text() -> None:
    assert str(MetricKey("loss")) == "loss"
    assert str(MetricKey("pair_cosine", pair("a", "b"))) == "pair_cosine[a|b]"


def test_a_foreign_metric_is_described_not_refused() -> None:
    assert metric("my_own_thing").label == "My own thing"


@pytest.mark.parametrize("name", ["", "a|b", "a[b]", " a", "-a", "x" * 65, "a\n", "a/b"])
def test_names_that_would_be_ambiguous_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        check_modality(name)


@pytest.mark.parametrize("name", ["audio", "t1 post", "a.b-c_d", "Ton", "\u97f3"])
def test_names_of_every_script_pass(name: str) -> None:
    assert check_modality(name) == name
