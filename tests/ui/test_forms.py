from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core import catalog
from cggm_core.cards import DatasetCard, MethodCard, ModelCard, Param
from cggm_core.config import TRAINING_PARAMS, RunConfig, Training
from cggm_core.errors import ConfigError
from cggm_core.ui import forms

PLUG_INS = [(kind, name) for kind in ("dataset", "model", "method") for name in catalog.all_cards(kind)]


@pytest.mark.parametrize(("kind", "name"), PLUG_INS)
def test_a_form_of_any_card_holds_its_defaults(kind: str, name: str) -> None:
    def script(kind: str, name: str) -> None:
        import streamlit as st

        from cggm_core import catalog
        from cggm_core.ui import forms

        card = catalog.card(kind, name)
        for preset in [p.name for p in card.presets] or [""]:
            wanted = card.resolve({}, preset)
            held = forms.knobs(card.params, f"{kind}.{name}.{preset}", wanted)
            st.text(str(card.resolve(held, preset) == wanted))

    at = AppTest.from_function(script, args=(kind, name)).run()
    assert not at.exception
    assert {text.value for text in at.text} == {"True"}


def test_a_new_kind_of_knob_needs_no_edit() -> None:
    def script() -> None:
        import streamlit as st

        from cggm_core.cards import Param
        from cggm_core.ui import forms

        params = (Param("on", True), Param("count", 3, 1, 9), Param("size", 0.5, 0.0, 1.0, "how far"),
                  Param("word", "a", choices=("a", "b")), Param("text", "free"))  # fmt: skip
        st.json(forms.knobs(params, "x", {p.name: p.default for p in params}))

    at = AppTest.from_function(script).run()
    assert not at.exception
    assert at.toggle[0].value is True
    assert at.number_input[1].value == 0.5
    assert at.selectbox[0].options == ["a", "b"]
    assert at.text_input[0].value == "free"
    at.number_input[1].set_value(2.0).run()
    assert "size must be from 0 to 1, not 2" in at.markdown[0].value.replace("\\", "")


def test_help_says_what_both_ends_mean_the_range_and_the_default() -> None:
    param = catalog.card("method", "cggm").param("rho")
    text = forms.help_text(param).replace("\\", "")
    assert "towards 0 encoders stand still" in text
    assert "Range: above 0 up to 100" in text
    assert "Default 1.3" in text
    assert "can be changed while training" in text


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", [0]), ("0, 1, 2", [0, 1, 2]), ("0-4", [0, 1, 2, 3, 4]), ("7;7 8", [7, 8]), ("3-3,1", [3, 1])],
)
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert forms.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1.5", "-1", "4-0", "0-1000", "1,,x", "9" * 30])
def test_seeds_that_are_none_are_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="seed"):
        forms.parse_seeds(text)


def test_tags_are_split_cleaned_and_unique() -> None:
    assert forms.split_tags(" a, b ,,a, \u202ec ") == ("a", "b", "c")


def test_training_settings_are_grouped_without_loss() -> None:
    first, rest = forms.grouped(TRAINING_PARAMS, ("lr", "epochs"))
    assert [p.name for p in first] == ["lr", "epochs"]
    assert len(first) + len(rest) == len(TRAINING_PARAMS)


def test_the_steps_of_a_number_fit_its_size() -> None:
    assert forms._stride(1.3) == pytest.approx(1.0)
    assert forms._stride(0.15) == pytest.approx(0.01)
    assert forms._stride(1e-3) == pytest.approx(1e-4)
    assert forms._stride(0.0) == 0.01


CONFIGS: list[RunConfig] = [
    RunConfig(),
    RunConfig(method="cggm", preset="stable", name="a 'quoted' name; rm -rf /"),
    RunConfig(method="cggm", method_params={"rho": 0.7, "magnitude": False}, dataset_params={"noise": 0.25}),
    RunConfig(dataset="phantom", model_params={"size": "paper"}, dataset_params={"samples": 40}),
    RunConfig(dataset="/data/my file.npz", model="segmentation_fusion"),
    RunConfig(dataset="/data/my file.npz", training=Training(epochs=3, lr=2.5e-5, seed=9, device="cuda:1")),
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_the_command_line_makes_the_same_run(config: RunConfig) -> None:
    words = shlex.split(forms.command_line(config))
    assert words[:4] == ["python", "-m", "cggm_core", "train"]
    assert parsed(words[4:]) == replace(config, tags=(), notes="")


def parsed(words: list[str]) -> RunConfig:
    from cggm_core._commands.settings import add_settings, config_of

    parser = argparse.ArgumentParser()
    add_settings(parser)
    given: Any = parser.parse_args(words)
    return config_of(given)


def test_what_does_not_fit_together_is_one_sentence() -> None:
    data = DatasetCard("d", "Data", "", task="segmentation", modalities=("a", "b"))
    model = ModelCard("m", "Model", "", tasks=("classification",))
    method = MethodCard("x", "Method", "", tasks=("segmentation",), modalities=(3, 4))
    assert "no head for segmentation" in forms.misfit(data, model, method)
    able = replace(model, tasks=("segmentation",))
    assert "takes 3 to 4 modalities" in forms.misfit(data, able, method)
    assert forms.misfit(data, able, replace(method, modalities=(2, None))) == ""
    assert "not sound" in forms.misfit(data, able, replace(method, tasks=("regression",)))
    assert forms.misfit(None, model, method) == ""


def test_a_knob_without_bounds_says_no_range() -> None:
    assert "Range" not in forms.help_text(Param("x", 1.0, text="free"))
