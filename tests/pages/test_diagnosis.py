"""The page diagnosis on a run that recorded contributions: words, figures, and the way to a next run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cggm_core.analysis import verdict
from cggm_core.names import MetricKey
from cggm_core.store import Contribution, RobustnessCurve, create_run, open_writer, run_folder
from cggm_core.ui.verdict_panel import TITLES, next_try
from tests.pages import making
from tests.pages.conftest import Open

NAMES = ("audio", "text")


def judged(root: Path, reversed_on: int = 0) -> str:
    """A run that leans on audio, its curves taken; on so many of 30 steps the gradient of audio was reversed."""
    run_id = create_run(root, making.config(name="judged").to_json())
    writer = open_writer(run_folder(root, run_id))
    writer.event(0, "start", "training starts", {
        "modalities": list(NAMES), "chance": 0.1, "score": "accuracy", "samples": {"val": 300},
    })  # fmt: skip
    steps = writer.stream("step", [MetricKey("balance_coefficient", m) for m in NAMES])
    for step in range(30 if reversed_on else 0):
        writer.log(steps, step, step // 10, [-1.0 if step < reversed_on else 1.0, 1.0])
    stream = writer.stream("epoch:val", [MetricKey("val_unimodal_score", m) for m in NAMES])
    for epoch in range(3):
        writer.log(stream, 10 * epoch + 9, epoch, [0.8, 0.2])
        writer.contribution(Contribution(
            10 * epoch + 9, epoch, NAMES, "accuracy", 300, True, 0.8, 0.1, (0.78, 0.2), (0.2, 0.79), (0.65, 0.05),
            ((1e-4, 0.0), (0.0, 1e-4)), 0.02, (0.02, 0.02), (0.02, 0.02), (0.02, 0.01), (0.15, 0.77), (0.02, 0.01),
            (200, 20, 80), 5, 2,
        ))  # fmt: skip
    for kind in ("removal", "permutation", "noise"):
        for m, last in zip(NAMES, (0.2, 0.79), strict=True):
            writer.robustness(RobustnessCurve(29, 2, kind, m, "accuracy", (0.0, 1.0), (0.8, last), (0.02, 0.02), 300))  # type: ignore[arg-type]
    writer.finish("finished")
    return run_id


def test_the_verdict_stands_on_top_in_words_with_its_findings(root: Path, open_page: Open) -> None:
    at = open_page("diagnosis", run=judged(root))
    assert not at.exception
    words = [element.value for element in at.markdown]
    assert any("audio carries the prediction since epoch 1" in text for text in words)
    assert any("Dominant: **audio**" in text and "lagging: **text**" in text for text in words)
    assert any("**One modality dominates**" in text for text in words)
    assert not any("contributions" in info.value or "curves" in info.value for info in at.info)


def test_an_older_run_says_what_is_missing_and_how_to_get_it(root: Path, open_page: Open) -> None:
    at = open_page("diagnosis", run=making.finished(root))
    assert any("recorded no contributions" in info.value and "contributions" in info.value for info in at.info)


def test_try_it_chooses_the_advised_preset_and_bears_settings_of_another_program(root: Path, open_page: Open) -> None:
    run_id = judged(root, reversed_on=10)
    path = root / run_id / "config.json"
    config = json.loads(path.read_text())
    strange = {"training": config["training"] | {"epochs": "many", "batch_size": 7}, "model_params": {"width": [1]}}
    path.write_text(json.dumps(config | strange))
    at = open_page("diagnosis", run=run_id)
    at.button("diagnosis.finding.negative_coefficient.try").click()
    at.run()
    assert not at.exception
    assert not at.error
    assert next(box for box in at.multiselect if box.label == "Methods").value == [("cggm", "stable")]
    assert 7 in [number.value for number in at.number_input]


def test_try_it_opens_the_form_with_the_run_s_data(root: Path, open_page: Open) -> None:
    at = open_page("diagnosis", run=judged(root))
    buttons = [button for button in at.button if button.label == "Try CGGM stable"]
    assert buttons
    buttons[0].click()
    at.run()
    assert not at.exception
    assert at.title[0].value == "New run"
    chosen = next(box for box in at.selectbox if box.label == "Data set")
    assert chosen.value == making.config().dataset
    assert any("a method to try next" in caption.value for caption in at.caption)
    at.button(key="new.preset.back").click().run()
    assert not any("a method to try next" in caption.value for caption in at.caption)


def test_evidence_is_numbers_and_a_figure_once_it_is_opened(root: Path, open_page: Open) -> None:
    at = open_page("diagnosis", run=judged(root, reversed_on=10))
    assert not any("Share negative" in list(table.value.iloc[:, 0]) for table in at.dataframe)
    at.session_state["diagnosis.finding.negative_coefficient.evidence"] = True
    at.run()
    assert not at.exception
    table = next(one.value for one in at.dataframe if "Share negative" in list(one.value.iloc[:, 0]))
    assert table.set_index("Number")["Value"]["Share negative"] == "0.333"


@pytest.mark.parametrize(
    ("config", "tried"),
    [
        ({"method": "joint", "preset": ""}, ("cggm", "paper")),
        ({"method": "cggm", "preset": "paper"}, ("cggm", "stable")),
        ({"method": "cggm", "preset": "stable"}, ("cggm", "paper")),
        ({}, ("cggm", "paper")),
    ],
)
def test_what_to_try_is_not_what_was_done(config: dict[str, str], tried: tuple[str, str]) -> None:
    assert next_try(config, "cggm", "") == tried
    assert next_try({"method": "cggm", "preset": "stable"}, "cggm", "stable") == ("joint", "")


def test_every_rule_that_can_speak_has_a_title() -> None:
    folder = Path(verdict.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("verdict*.py"))
    rules = set(re.findall(r'Finding\(\s*"([a-z_]+)"', text))
    assert len(rules) > 12
    assert rules <= set(TITLES)
