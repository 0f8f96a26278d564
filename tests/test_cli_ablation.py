"""`ablation`: the same tables as on the page, from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cggm_core import cli, launch
from cggm_core._commands import finding
from cggm_core.config import RunConfig
from tests.pages import making


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(finding, "SAMPLES", tmp_path / "samples")
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def told(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main(["ablation", *arguments, "--runs", str(root), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_components_of_the_settings_of_a_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joint = [making.scored(root, 0.5, seed, method="joint") for seed in (0, 1)]
    one = [making.scored(root, 0.75, seed, method_params={"direction": False}) for seed in (0, 1)]
    for run_id in (*joint, *one):
        found = told(root, capsys, "components", "--of", run_id, "--seeds", "0", "1")
        rows = {row["configuration"]: row for row in found["rows"]}
        assert (rows["magnitude only"]["mean"], rows["magnitude only"]["paired"]["mean"]) == (0.75, 0.25)
        assert rows["direction only"]["mean"] is None
        assert sorted((one["name"], one["seed"]) for one in found["missing"]) == [
            ("direction only, seed 0", 0), ("direction only, seed 1", 1),
            ("magnitude and direction, seed 0", 0), ("magnitude and direction, seed 1", 1)]  # fmt: skip
        # A run without direction still knows the lambda that "both" is to have.
        assert {one["config"]["method_params"]["lam"] for one in found["missing"]} == {0.15}
    assert cli.main(["ablation", "components", "--of", joint[0], "--seeds", "1", "2", "--runs", str(root)]) == 0
    out = capsys.readouterr().out
    assert "No difference to joint training is established. Largest mean gain: magnitude only, +0.2500" in out
    assert "6 runs are missing, 0 wait or train; --start queues them" in out


def test_a_run_that_was_changed_while_it_trained_is_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joint = making.scored(root, 0.5, method="joint")
    making.scored(root, 0.9, changed=True)
    assert cli.main(["ablation", "components", "--of", joint, "--seeds", "0", "--runs", str(root)]) == 0
    out = capsys.readouterr().out
    assert "1 runs are left out: knobs were changed while they trained" in out
    assert "3 runs are missing" in out


def test_a_sweep_from_flags_is_queued_once(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cggm_core.launch.queue.wake", lambda root: None)
    given = ["ablation", "rho", "--values", "0.8", "1.2", "--seeds", "4", "--epochs", "3", "--runs", str(root)]
    assert cli.main([*given, "--start"]) == 0
    assert capsys.readouterr().out == "3 runs queued, 0 were waiting or training already\n"
    assert cli.main([*given, "--start"]) == 0
    assert capsys.readouterr().out == "0 runs queued, 3 were waiting or training already\n"
    configs = [RunConfig.from_dict(job.config) for job in launch.queue_state(root).jobs]
    assert [(c.method, c.method_params.get("rho"), c.training.epochs, c.training.seed) for c in configs] == [
        ("joint", None, 3, 4), ("cggm", 0.8, 3, 4), ("cggm", 1.2, 3, 4)]  # fmt: skip


def test_classifiers_and_other_forms(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joint = making.scored(root, 0.5, method="joint")
    found = told(root, capsys, "classifiers", "--of", joint, "--seeds", "0")
    assert len(found["missing"]) == 4
    assert cli.main(["ablation", "lam", "--of", joint, "--to", "latex", "--runs", str(root)]) == 0
    assert r"$\lambda$ = 0.15" in capsys.readouterr().out
    assert cli.main(["ablation", "lam", "--of", joint, "--to", "csv", "--runs", str(root)]) == 0
    assert capsys.readouterr().out.startswith("configuration,metric,n,mean")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rho", "--method", "ogm"], "an ablation is of cggm, not of 'ogm'"),
        (["rho", "--dataset", "./none.npz"], "name one with --model, or a run with --of"),
        (["rho", "--values", "0"], "rho must be above 0"),
        (["classifiers"], "train one first"),
        (["rho", "--of", "OWN"], "was not configured by the lab"),
        (["rho", "--of", "OWN", "--epochs", "3"], "leave --epochs out"),
        (["rho", "--of", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], "there is no run 01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: list[str], sentence: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = making.foreign(root)
    assert cli.main(["ablation", *(own if word == "OWN" else word for word in arguments), "--runs", str(root)]) == 2
    assert sentence in capsys.readouterr().err
