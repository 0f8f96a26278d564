"""`matrix`: what is queued, what is said of the queue, trying again and taking back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cggm_core import cli, launch
from cggm_core.config import RunConfig
from cggm_core.launch.queue import changing


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("cggm_core.launch.queue.wake", lambda root: None)
    return tmp_path / "runs"


def test_methods_times_seeds_are_queued_with_the_settings_of_train(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = "--methods joint cggm:stable cggm --seeds 1 4 --slots 3 --epochs 2 --preset mosi --name mine"
    assert cli.main(["matrix", *given.split(), "--set", "model.width=20", "--runs", str(root)]) == 0
    assert "6 pending; 3 at once" in capsys.readouterr().out
    configs = [RunConfig.from_dict(job.config) for job in launch.queue_state(root).jobs]
    assert [(c.method, c.preset, c.training.seed) for c in configs] == [
        (*method, seed) for seed in (1, 4) for method in (("joint", "mosi"), ("cggm", "stable"), ("cggm", "mosi"))
    ]  # fmt: skip
    assert {(c.training.epochs, c.model_params["width"]) for c in configs} == {(2, 20)}
    assert configs[1].name == "mine · cggm stable · seed 1"
    # What a preset of whole runs says of the training holds where no other preset was named.
    assert [c.training.gradient_clip for c in configs[:3]] == [0.8, 0.0, 0.8]


def test_the_queue_in_words_and_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["matrix", "--runs", str(root)]) == 0
    assert capsys.readouterr().out == "The queue is empty.\n"
    cli.main(["matrix", "--methods", "joint", "--seeds", "0", "1", "2", "--slots", "1", "--runs", str(root)])
    with changing(root) as state:
        first, second, _ = state.jobs
        first.state, first.began_at, first.ended_at = "done", 100.0, 130.0
        second.state, second.error = "failed", "no memory\x1b[2J"
    capsys.readouterr()
    assert cli.main(["matrix", "--runs", str(root)]) == 0
    out = capsys.readouterr().out
    assert "1 pending, 1 done, 1 failed; 1 at once; about 30 s left" in out
    assert "no memory?[2J" in out
    assert cli.main(["matrix", "--json", "--runs", str(root)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["jobs"], told["ended"], told["seconds"], told["slots"]) == (3, 2, 30.0, 1)
    assert [job["state"] for job in told["queue"]] == ["done", "failed", "pending"]


def test_what_failed_is_tried_again_and_all_is_taken_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["matrix", "--methods", "joint", "--seeds", "0", "1", "--runs", str(root)])
    with changing(root) as state:
        state.jobs[0].state = "failed"
    assert cli.main(["matrix", "--retry", "--runs", str(root)]) == 0
    assert "2 pending" in capsys.readouterr().out.splitlines()[-1]
    assert cli.main(["matrix", "--cancel", "--runs", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 cancelled")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--methods", "nothing"], "no method named 'nothing'"),
        (["--methods", "cggm:nothing"], "cggm has no preset 'nothing'"),
        (["--methods", "joint", "--seeds", *map(str, range(501))], "501 runs at once are too many; at most 500"),
        (["--methods", "joint", "--retry"], "leave --retry and --cancel out"),
        (["--methods", "joint", "--slots", "-1"], "slots must be at least 1"),
        (["--methods", "joint", "--seeds", "-1"], "seed must be from 0"),
    ],
)
def test_what_does_not_fit_queues_nothing(
    arguments: list[str], sentence: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["matrix", *arguments, "--runs", str(root)]) == 2
    assert sentence in capsys.readouterr().err
    assert launch.queue_state(root).jobs == []
