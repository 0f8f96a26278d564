"""The verdict on joint trainings of real data, held against what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cggm_core.analysis.verdict import Verdict, diagnose
from cggm_core.config import RunConfig
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data, described
from cggm_core.store import MemoryRun

pytestmark = pytest.mark.data


def verdict(path: Path, epochs: int, params: dict[str, str] | None = None, **training: Any) -> Verdict:
    """Of a joint training with the defaults."""
    config = RunConfig.from_dict({
        "dataset": str(path), "dataset_params": params or {},
        "training": {"epochs": epochs, "device": "cpu", "threads": 1, **training},
    })  # fmt: skip
    trainer, run = Trainer(config, build_data(config)), MemoryRun()
    writer = run.writer()
    writer.progress(trainer.steps, epochs)
    writer.event(0, "start", "training starts", described(trainer))
    trainer.fit(Recorder(writer, trainer.device))
    return diagnose(run.reader())


def rules(said: Verdict) -> set[tuple[str, str]]:
    return {(finding.rule, finding.modality) for finding in said.findings}


def test_text_dominates_sentiment(data_folder: Path) -> None:
    said = verdict(data_folder / "cmu_mosi.npz", 5)
    assert (said.dominant, set(said.lagging)) == ("text", {"audio", "video"})


def test_audio_overfits_speakers(data_folder: Path) -> None:
    found = rules(verdict(data_folder / "avdigits.npz", 8))
    assert {("overfitting", "audio"), ("harmful", "audio")} & found
    assert not {("overfitting", "image"), ("harmful", "image")} & found


def test_where_speakers_are_known_nobody_dominates(data_folder: Path) -> None:
    said = verdict(data_folder / "avdigits.npz", 15, {"split": "official"})
    assert said.dominant is None
    assert not {("overfitting", "audio"), ("harmful", "audio")} & rules(said)


def test_six_views_of_one_digit_share_the_work(data_folder: Path) -> None:
    said = verdict(data_folder / "mfeat.npz", 5)
    assert said.dominant is None
    assert not {"harmful", "overfitting", "nothing_learnt"} & {rule for rule, _ in rules(said)}
