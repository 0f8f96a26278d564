"""Configurations: checked when built, exact in JSON, told apart by what decides the numbers."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cggm_core.config import TRAINING_PARAMS, RunConfig, Training, clean_text
from cggm_core.errors import ConfigError, UnknownNameError


def test_defaults_of_the_form_and_of_the_class_are_one() -> None:
    assert {p.name: p.default for p in TRAINING_PARAMS} == {f.name: f.default for f in fields(Training)}


def test_json_gives_an_equal_configuration_back() -> None:
    config = RunConfig.from_dict(
        {
            "method": "cggm",
            "preset": "stable",
            "training": {"lr": 0.1 + 0.2, "seed": 7},
            "tags": ["a", "b"],
            "name": "n",
        }
    )
    again = RunConfig.from_json(config.to_json())
    assert again == config
    assert again.training.lr == 0.1 + 0.2
    assert again.fingerprint() == config.fingerprint()


@given(st.floats(1e-12, 99), st.integers(0, 2**31 - 1), st.text(max_size=300))
def test_any_allowed_value_survives_json(lr: float, seed: int, name: str) -> None:
    config = RunConfig(training=Training(lr=lr, seed=seed), name=name)
    assert RunConfig.from_json(config.to_json()) == config


def test_fingerprint_counts_what_decides_and_nothing_else() -> None:
    base = RunConfig(method="cggm")
    assert replace(base, name="other", notes="x", tags=("t",)).fingerprint() == base.fingerprint()
    watched = base.with_settings({"snapshots": "every", "snapshot_every": 7, "snapshot_batches": 2})
    assert watched.fingerprint() == base.fingerprint()
    assert base.with_settings({"seed": 1}).fingerprint() != base.fingerprint()
    assert base.with_settings({"seed": 1}).group() == base.group()
    assert base.with_settings({"method.rho": 1.2}).group() != base.group()


def test_a_preset_is_where_the_knobs_start_from() -> None:
    config = RunConfig(method="cggm", preset="stable", method_params={"rho": 0.5})
    assert config.method_params["variant"] == "stable"
    assert config.method_params["rho"] == 0.5
    assert RunConfig(method="cggm").preset == "paper"
    written_out = RunConfig(method="cggm", preset="paper", method_params=dict(config.method_params))
    assert written_out.fingerprint() == config.fingerprint()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataset": "mnist"}, "no dataset named 'mnist'; there are: diabetes, digits_views"),
        ({"method": "magic"}, "no method named 'magic'; there are: "),
        ({"method": "cggm", "preset": "papers"}, "no preset 'papers'; it has: paper, released, stable"),
        ({"method": "cggm", "method_params": {"rho": 0}}, "rho must be above 0, up to 100, not 0"),
        ({"method": "cggm", "method_params": {"lam": -0.1}}, "lam must be from 0 to 100, not -0.1"),
        ({"method": "cggm", "method_params": {"rho": float("nan")}}, "rho must be a finite number"),
        ({"method": "cggm", "method_params": {"magnitude": 1}}, "magnitude must be true or false, not 1"),
        ({"method": "joint", "method_params": {"rho": 1}}, "joint has no setting 'rho'"),
        ({"training": {"epochs": 0}}, "epochs must be from 1 to 100000, not 0"),
        ({"training": {"epochs": 1.5}}, "epochs must be a whole number"),
        ({"training": {"epochs": "3"}}, "epochs must be a finite number"),
        ({"training": {"epoch": 3}}, "training has no setting 'epoch'"),
        ({"training": {"device": "tpu"}}, "device must be auto, cpu, cuda, cuda:N or mps, not 'tpu'"),
        ({"training": {"device": "cuda:x"}}, "device must be"),
        ({"training": [1]}, "training must be an object, found list"),
        ({"datasets": "x"}, "unknown setting 'datasets'"),
        ({"dataset": 5}, "dataset must be text"),
        ({"tags": "one"}, "tags must be a list of texts"),
        ({"tags": None}, "tags must be a list of texts"),
        ({"training": {"seed": 10**400}}, "seed must be a finite number"),
        ({"dataset": "synthetic", "dataset_params": {"noise": True}}, "noise must be text, not True"),
        ({"dataset": "x.npz", "dataset_params": {"noise": 1}}, "npz has no setting 'noise'; it has: split"),
    ],
)  # fmt: skip
def test_a_bad_setting_gets_one_sentence(given: dict, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{", "[" * 100_000, '{"training": {"seed": 1' + "0" * 5000 + "}}", '{"training": null}']
)
def test_text_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        RunConfig.from_json(text)


def test_a_list_of_one_number_may_be_given_as_a_number() -> None:
    assert RunConfig(dataset="synthetic").with_settings({"dataset.noise": 0.5}).dataset_params["noise"] == "0.5"


def test_settings_by_dotted_name() -> None:
    config = RunConfig(method="cggm").with_settings(
        {"lr": 0.01, "method.rho": 1.1, "model.width": 32, "dataset.noise": 0.5, "name": "mine"}
    )
    assert (config.training.lr, config.method_params["rho"], config.model_params["width"]) == (0.01, 1.1, 32)
    assert (config.dataset_params["noise"], config.name) == (0.5, "mine")
    with pytest.raises(ConfigError, match="parts are dataset"):
        config.with_settings({"metod.rho": 1})


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        RunConfig(model="x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\u202eb", "ab"),
        ("a\x00b\x1b[31m", "ab[31m"),
        ("  x \n", "x"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("../<b>", "../<b>"),
    ],
)
def test_names_lose_control_and_direction_marks_only(text: str, clean: str) -> None:
    assert clean_text(text, 200) == clean
    assert json.loads(RunConfig(name=text).to_json())["name"] == clean


def test_the_datas_task_names_the_model_where_nobody_does() -> None:
    assert RunConfig().model == "late_fusion"
    assert RunConfig(dataset="phantom").model == "segmentation_fusion"
    file = RunConfig(dataset="some.npz", model_params={"width": 32})
    assert file.model == "auto"
    assert RunConfig.from_json(file.to_json()) == file
    assert (file.settled("regression").model, file.settled("regression").model_params["layers"]) == ("late_fusion", 2)
    assert file.settled("segmentation").model_params == {"size": "laptop", "width": 32, "dropout": 0.0}
    with pytest.raises(ConfigError, match="segmentation_fusion has no setting 'heads'"):
        RunConfig(dataset="some.npz", model_params={"heads": 2}).settled("segmentation")
    with pytest.raises(ConfigError, match="no model is the default for ranking"):
        file.settled("ranking")
    named = RunConfig(dataset="some.npz", model="late_fusion")
    assert named.settled("segmentation") is named
