"""Presets of whole runs: Table 7 to the letter, for any data and method, under whatever is given beside them."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cggm_core import catalog
from cggm_core._commands.settings import add_settings, config_of
from cggm_core.config import AUTO, RunConfig, Training, preset_values, run_preset
from cggm_core.errors import ConfigError

PRESETS = catalog.all_cards("preset")
# Guo et al., Table 7: batch, optimiser, rate, classifier rate, decay, clip, schedule, rho, lam, warm-up, epochs.
TABLE = {
    "food101": (128, "adamw", 1e-3, 5e-4, 3e-3, 0.8, "step", 1.3, 0.15, 0, 80),
    "mosi": (64, "adam", 1e-3, 5e-4, 0.0, 0.8, "step", 1.3, 0.20, 0, 30),
    "iemocap": (32, "adamw", 1e-3, 5e-4, 0.0, 0.8, "step", 1.3, 0.15, 0, 30),
    "brats": (64, "sgd", 1e-2, 6e-3, 3e-4, 0.0, "cosine", 1.2, 0.10, 10, 150),
}


def config(*words):
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return config_of(parser.parse_args(words))


@pytest.mark.parametrize("name", TABLE)
def test_table_7(name):
    made = RunConfig.from_dict({"method": "cggm", "preset": name})
    t, knobs = made.training, made.method_params
    found = (t.batch_size, t.optimiser, t.lr, t.classifier_lr, t.weight_decay, t.gradient_clip, t.schedule,
             knobs["rho"], knobs["lam"], t.warmup_epochs, t.epochs)  # fmt: skip
    assert found == TABLE[name]
    assert (knobs["variant"], knobs["magnitude"], knobs["direction"]) == ("paper", True, True)


def test_appendix_b():
    made = RunConfig.from_dict({"preset": "brats"}).training
    assert made.lr * made.warmup_factor == pytest.approx(4e-4)
    assert made.lr * made.schedule_factor == pytest.approx(1e-3)
    assert made.class_weights == "paper"


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_is_one_that_may_be_set(name):
    card = PRESETS[name]
    assert Training(**card.training)
    assert card.model_params.items() <= catalog.card("model", card.model).resolve(card.model_params).items()
    for method, values in card.method_params.items():
        assert catalog.card("method", method).resolve(values)
    assert card.paper
    assert card.unsaid


def test_no_method_has_a_preset_of_the_same_name():
    for card in catalog.all_cards("method").values():
        assert not {preset.name for preset in card.presets} & set(PRESETS)


@pytest.mark.parametrize("method", catalog.all_cards("method"))
def test_a_run_preset_goes_with_every_method(method):
    made = config("--method", method, "--preset", "mosi", "--epochs", "2")
    assert (made.preset, made.training.epochs, made.training.gradient_clip) == ("mosi", 2, 0.8)
    own = catalog.card("method", method)
    assert run_preset(own, "mosi") is PRESETS["mosi"]
    if method != "cggm":
        assert made.method_params == own.resolve(dict(own.presets[0].values) if own.presets else {})


def test_what_is_given_beside_a_preset_wins(tmp_path):
    made = config("--method", "cggm", "--preset", "mosi", "--lr", "0.01", "--rho", "2", "--set", "model.layers=1")
    assert (made.training.lr, made.training.batch_size) == (0.01, 64)
    assert (made.method_params["rho"], made.method_params["lam"]) == (2.0, 0.2)
    assert (made.model, made.model_params["layers"], made.model_params["dropout"]) == ("transformer_fusion", 1, 0.1)
    named = config("--preset", "mosi", "--model", "late_fusion")
    assert (named.model, named.model_params["dropout"]) == ("late_fusion", 0.0)
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"training": {"lr": 0.5, "seed": 3}, "model": "late_fusion"}))
    over = config("--config", str(file), "--preset", "mosi")
    assert (over.training.lr, over.training.seed, over.model) == (1e-3, 3, "transformer_fusion")
    file.write_text(json.dumps({"training": {"lr": 0.5}, "preset": "mosi"}))
    assert (config("--config", str(file)).training.lr, config("--config", str(file)).training.epochs) == (0.5, 30)
    assert config("--config", str(file), "--method", "cggm").method_params["lam"] == 0.2


def test_a_configuration_built_directly_takes_the_whole_preset():
    made = RunConfig(method="cggm", preset="brats", dataset="phantom")
    assert made.training == RunConfig.from_dict({"method": "cggm", "preset": "brats", "dataset": "phantom"}).training
    assert made.training.optimiser == "sgd"
    assert RunConfig(preset="brats", training=Training()).training == Training()


def test_a_preset_leaves_the_model_where_its_own_has_no_head_for_the_task():
    assert config("--dataset", "phantom", "--preset", "mosi").model == "segmentation_fusion"
    assert config("--dataset", "diabetes", "--preset", "brats").model == "late_fusion"
    assert config("--dataset", "diabetes", "--preset", "mosi").model == "transformer_fusion"


def test_of_a_file_the_model_is_known_when_it_is_read():
    made = config("--dataset", "mine.npz", "--preset", "mosi", "--set", "model.layers=2")
    other = config("--dataset", "mine.npz", "--preset", "iemocap", "--set", "model.layers=2")
    assert made.model == AUTO
    settled = made.settled("regression")
    assert (settled.model, settled.model_params["layers"], settled.model_params["heads"]) == (
        "transformer_fusion",
        2,
        5,
    )
    assert made.fingerprint() != other.fingerprint()
    with pytest.raises(ConfigError, match="segmentation_fusion has no setting 'layers'"):
        made.settled("segmentation")
    assert RunConfig.from_json(settled.to_json()) == settled


def test_a_stored_run_keeps_its_values():
    made = config("--method", "cggm", "--preset", "brats", "--epochs", "3", "--set", "momentum=0.5")
    again = RunConfig.from_json(made.to_json())
    assert again == made
    assert again.fingerprint() == made.fingerprint()


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(
        ConfigError, match=r"joint has no preset 'paper'; it has: none; .* brats, food101, iemocap, mosi"
    ):
        config("--method", "joint", "--preset", "paper")
    with pytest.raises(ConfigError, match="cggm has no preset 'x'; it has: paper, released, stable; presets of whole"):
        preset_values(catalog.card("method", "cggm"), "x")


def test_they_are_listed():
    command = [sys.executable, "-m", "cggm_core", "presets"]
    where = Path(__file__).resolve().parent.parent
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=where).stdout
    assert "mosi: CMU-MOSI." in said
    assert "method.lam (cggm)=0.2" in said
    listed = json.loads(
        subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, cwd=where).stdout
    )
    assert [one["name"] for one in listed] == list(PRESETS)
