"""`diagnose` on a trained run: words for people, a document for programs."""

import json
from pathlib import Path

import pytest

from cggm_core.cli import main
from cggm_core.engine import worker
from cggm_core.store import create_run, run_folder
from tests.support.training import tiny_config


@pytest.fixture
def run_id(runs_root: Path) -> str:
    config = tiny_config(**{"dataset.informative": "1,0", "dataset.noise": "0.2", "dataset.modalities": 2,
                            "dataset.samples": 600, "epochs": 6})  # fmt: skip
    made = create_run(runs_root, config.to_json())
    worker.run(worker.prepare(config), run_folder(runs_root, made))
    return made


def test_the_verdict_in_words_and_as_a_document(runs_root: Path, run_id: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["diagnose", run_id[:20], "--runs", str(runs_root)]) == 0
    words = capsys.readouterr().out
    assert words.startswith("m1 carries the prediction")
    assert "evidence: shapley" in words
    assert main(["diagnose", run_id, "--runs", str(runs_root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dominant"] == "m1"
    assert document["lagging"] == ["m2"]
    assert document["missing"] == []
    for finding in document["findings"]:
        assert {"rule", "modality", "severity", "text", "evidence"} <= set(finding)
    assert document["findings"][0]["evidence"]["measures_agreeing"] == document["findings"][0]["evidence"]["measures"]


def test_a_run_that_is_not_there_is_one_sentence(runs_root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["diagnose", "01M7XY", "--runs", str(runs_root)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
