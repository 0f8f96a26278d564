"""The command line: what it prints, what it leaves, and one clear sentence for every mistake."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

import cggm_core
from cggm_core import cli
from cggm_core._commands import app
from cggm_core._commands.settings import pairs, parsed
from cggm_core.errors import ConfigError, LaunchError
from cggm_core.names import METRICS
from cggm_core.store import create_run, is_run_id, open_reader, open_writer, run_folder
from tests.support import data, workers
from tests.support.workers import PROJECT, until, until_state, until_step

TINY = ("--epochs", "1", "--batch-size", "512")


@pytest.fixture
def root(runs_root: Path) -> Iterator[Path]:
    with workers.swept(runs_root):
        yield runs_root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, subprocess.CompletedProcess[str]]:
    """A finished CGGM run, made by the command line in another folder than the project's."""
    root = tmp_path_factory.mktemp("trained") / "runs"
    done = workers.cli(
        "train", "--method", "cggm", "--preset", "paper", "--rho", "1.5", "--no-direction", "--epochs", "2",
        "--batch-size", "256", "--seed", "5", "--name", "<b>mine</b>", "--set", "model.width=16",
        "--runs", str(root),
    )  # fmt: skip
    return root, done.stdout.splitlines()[0], done


def refused(*arguments: str, root: Path) -> str:
    """The one sentence that a command refuses with; it must leave nothing."""
    before = sorted(os.listdir(root)) if root.is_dir() else None
    done = workers.cli(*arguments, "--runs", str(root))
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert (sorted(os.listdir(root)) if root.is_dir() else None) == before
    return done.stderr


def test_train_prints_the_id_first_and_nothing_else_on_standard_output(trained) -> None:
    root, run_id, done = trained
    assert done.returncode == 0, done.stderr
    assert is_run_id(run_id)
    assert done.stdout == f"{run_id}\n"
    # Not a terminal, so no bar; one closing line for people.
    assert done.stderr.startswith("finished after 10 steps")
    assert (root / run_id / "config.json").is_file()


def test_flags_become_the_configuration(trained) -> None:
    root, run_id, _ = trained
    config = open_reader(run_folder(root, run_id)).info().config
    assert config["method"] == "cggm"
    assert config["preset"] == "paper"
    assert config["method_params"]["rho"] == 1.5
    assert config["method_params"]["direction"] is False
    assert config["method_params"]["magnitude"] is True
    assert config["model_params"]["width"] == 16
    assert config["training"]["seed"] == 5
    assert config["name"] == "<b>mine</b>"


def test_runs_lists_what_a_program_needs(trained, capsys: pytest.CaptureFixture[str]) -> None:
    root, run_id, _ = trained
    assert cli.main(["runs", "--json", "--runs", str(root)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 1
    expected = {
        "id": run_id, "name": "<b>mine</b>", "state": "finished", "dataset": "digits_views", "method": "cggm",
        "preset": "paper", "seed": 5, "step": 9, "steps": 10,
    }  # fmt: skip
    assert expected.items() <= listed[0].items()
    assert isinstance(listed[0]["val_score"], float)
    assert listed[0]["epoch"] == 1
    assert cli.main(["runs", "--runs", str(root)]) == 0
    assert run_id in capsys.readouterr().out


def test_runs_of_an_empty_folder_and_of_none(runs_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", "--json", "--runs", str(runs_root)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.main(["runs", "--runs", str(runs_root / "none")]) == 0
    assert "no runs in" in capsys.readouterr().out
    assert not (runs_root / "none").exists()


def test_the_runs_folder_comes_from_the_flag_then_the_variable(trained, monkeypatch, capsys) -> None:
    root, run_id, _ = trained
    monkeypatch.setenv("CGGM_RUNS", str(root))
    assert cli.main(["runs"]) == 0
    assert run_id in capsys.readouterr().out
    assert cli.main(["runs", "--runs", str(root / "other")]) == 0
    assert run_id not in capsys.readouterr().out


def test_show_takes_a_shortened_id(trained, capsys: pytest.CaptureFixture[str]) -> None:
    root, run_id, _ = trained
    assert cli.main(["show", run_id[:10].lower(), "--runs", str(root)]) == 0
    assert "balance_coefficient[pixels]" in capsys.readouterr().out
    assert cli.main(["show", run_id[:10], "--json", "--runs", str(root)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["id"] == run_id
    assert shown["attempts"][0]["number"] == 1
    assert any(event["kind"] == "start" for event in shown["events"])
    assert {"metric", "modality", "last"} <= set(shown["series"][0])


def test_show_bears_settings_of_another_program(runs_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = create_run(runs_root, json.dumps({"method": "mine", "training": [1], "model_params": "none"}))
    open_writer(run_folder(runs_root, run_id)).finish("finished")
    assert cli.main(["show", run_id, "--runs", str(runs_root)]) == 0
    assert "training: \n" in capsys.readouterr().out


def test_export_writes_exact_numbers_and_refuses_to_overwrite(trained, tmp_path: Path, capsys) -> None:
    root, run_id, _ = trained
    out = tmp_path / "out.csv"
    assert cli.main(["export", run_id, "--to", "csv", "--out", str(out), "--runs", str(root)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "epoch", "metric", "modality", "value"]
    names = {row["metric"] for row in rows}
    assert {"loss", "unimodal_score", "balance_coefficient", "gradient_norm", "val_score"} <= names <= set(METRICS)
    capsys.readouterr()
    assert cli.main(["export", run_id, "--out", str(out), "--runs", str(root)]) == 2
    assert "is there already; take another name, or --force" in capsys.readouterr().err
    assert cli.main(["export", run_id, "--out", str(out), "--force", "--runs", str(root)]) == 0
    capsys.readouterr()
    assert cli.main(["export", run_id, "--out", "-", "--runs", str(root)]) == 0
    assert capsys.readouterr().out == out.read_text()
    typed = tmp_path / "run.parquet"
    assert cli.main(["export", run_id, "--to", "parquet", "--out", str(typed), "--runs", str(root)]) == 0
    assert parquet.read_metadata(typed).num_rows == len(rows)
    assert cli.main(["export", run_id, "--to", "parquet", "--out", "-", "--runs", str(root)]) == 2
    assert cli.main(["export", run_id, "--out", str(tmp_path), "--runs", str(root)]) == 2
    assert cli.main(["export", run_id, "--out", str(tmp_path / "no" / "x.csv"), "--runs", str(root)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "run.parquet"]


def test_runs_leave_for_tensorboard_and_come_back(trained, tmp_path: Path, capsys) -> None:
    root, run_id, _ = trained
    logs, there = tmp_path / "logs", tmp_path / "there"
    leave = ["export", run_id, "--to", "tensorboard", "--out", str(logs), "--runs", str(root)]
    assert cli.main(leave) == 0
    assert " values of 1 run in " in capsys.readouterr().out
    assert cli.main(leave) == 2
    assert "is there already; take another folder, or --force" in capsys.readouterr().err
    assert cli.main([*leave, "--force"]) == 0
    assert [path.name.startswith("events.out.tfevents.") for path in logs.rglob("*") if path.is_file()] == [True]
    capsys.readouterr()
    assert cli.main(["import", str(logs), "--json", "--runs", str(there)]) == 0
    (new,) = json.loads(capsys.readouterr().out)
    assert (open_reader(there / new).keys(), new != run_id) == (open_reader(root / run_id).keys(), True)
    assert cli.main(["export", run_id, "--to", "tensorboard", "--out", "-", "--runs", str(root)]) == 2
    assert cli.main(["import", str(tmp_path / "nowhere"), "--runs", str(there)]) == 2
    assert "is not a file or folder" in capsys.readouterr().err


def test_runs_travel_as_one_archive(trained, tmp_path: Path, capsys) -> None:
    root, run_id, _ = trained
    packed, there = tmp_path / "runs.zip", tmp_path / "there"
    assert cli.main(["export", run_id, "--to", "archive", "--out", str(packed), "--runs", str(root)]) == 0
    assert capsys.readouterr().out.startswith("1 run, ")
    assert cli.main(["import", str(packed), "--runs", str(there)]) == 0
    assert capsys.readouterr().out == f"{run_id}\n"
    assert cli.main(["import", str(packed), "--json", "--runs", str(there)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    tables = []
    for folder in (root, there):
        assert cli.main(["export", run_id, "--out", "-", "--runs", str(folder)]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    broken = tmp_path / "broken.zip"
    broken.write_bytes(packed.read_bytes()[:-40])
    assert cli.main(["import", str(broken), "--runs", str(tmp_path / "other")]) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert cli.main(["export", run_id, "--to", "archive", "--out", "-", "--runs", str(root)]) == 2
    assert cli.main(["export", run_id, run_id, "--out", str(tmp_path / "x.csv"), "--runs", str(root)]) == 2


def test_compare_and_report_of_one_run(trained, tmp_path: Path, capsys) -> None:
    root, run_id, _ = trained
    assert cli.main(["compare", run_id, "--json", "--runs", str(root)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["baseline"].startswith("cggm paper")
    assert {row["metric"] for row in told["rows"]} >= {"val_score", "test_score"}
    assert cli.main(["compare", run_id, "--to", "latex", "--runs", str(root)]) == 0
    assert "\\toprule" in capsys.readouterr().out
    assert cli.main(["compare", run_id, "--runs", str(root)]) == 0
    assert "nothing to compare it with" in capsys.readouterr().out
    assert cli.main(["compare", run_id, "--baseline", "none such", "--runs", str(root)]) == 2
    assert "there are: cggm paper" in capsys.readouterr().err
    out = tmp_path / "report.zip"
    assert cli.main(["export", run_id, "--to", "report", "--out", str(out), "--runs", str(root)]) == 0
    with zipfile.ZipFile(out) as held:
        assert {"index.html", "tables/scores.tex", f"configurations/{run_id}.json"} <= set(held.namelist())


def test_output_into_a_closed_pipe_is_no_fault(trained) -> None:
    root, run_id, _ = trained
    command = f"{sys.executable} -m cggm_core export {run_id} --out - --runs {root} | head -n 1"
    done = subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "step,epoch,metric,modality,value\n"
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["methods", "datasets"])
def test_cards_are_listed_for_programs_and_people(command: str, capsys) -> None:
    assert cli.main([command, "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert all({"name", "title", "params"} <= set(card) for card in cards)
    assert {"joint", "cggm", "digits_views", "synthetic"} & {card["name"] for card in cards}
    assert cli.main([command]) == 0
    assert cards[0]["name"] in capsys.readouterr().out
    if command == "methods":
        rho = next(p for card in cards for p in card["params"] if p["name"] == "rho")
        assert {"default", "low", "high", "text", "live"} <= set(rho)


def test_lists_load_no_torch() -> None:
    code = "import sys; from cggm_core import cli; cli.main(['methods']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.DEVNULL).returncode == 0


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown data set": (("--dataset", "nope"), "no dataset named 'nope'; there are: diabetes, digits_views"),
    "unknown method": (("--method", "nope"), "no method named 'nope'"),
    "unknown preset": (("--method", "cggm", "--preset", "nope"), "no preset 'nope'"),
    "rho of zero": (("--method", "cggm", "--rho", "0"), "rho must be above 0"),
    "negative lam": (("--method", "cggm", "--lam", "-1"), "lam must be"),
    "rho of a method without": (("--rho", "1"), "no setting 'rho'"),
    "rho that is no number": (("--method", "cggm", "--rho", "nan"), "rho must be a finite number"),
    "infinite rate": (("--lr", "1e999"), "lr must be a finite number"),
    "epochs in words": (("--epochs", "many"), "epochs must be"),
    "half an epoch": (("--epochs", "1.5"), "whole number"),
    "no such device": (("--device", "abacus"), "device must be"),
    "unknown setting": (("--set", "colour=red"), "no setting 'colour'"),
    "unknown part": (("--set", "data.noise=1"), "parts are dataset., model. and method."),
    "no equals sign": (("--set", "lr"), "a setting is written key=value"),
    "a list as value": (("--set", "lr=[1]"), "lr must be a finite number"),
    "unknown flag": (("--frobnicate",), "unrecognized arguments"),
    "no such file": (("--dataset", "/nowhere/x.npz"), "x.npz"),
    "no such configuration": (("--config", "/nowhere.json"), "cannot be read"),
    "no such run": (("--resume", "01ARZ3"), "was not found"),
    "resume with settings": (("--resume", "01ARZ3", "--lr", "1"), "leave --lr out"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_sentence_and_no_run(runs_root: Path, mistake: str, capsys) -> None:
    arguments, words = MISTAKES[mistake]
    try:
        code = cli.main(["train", *arguments, "--runs", str(runs_root)])
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert words in said.err
    # The catalogue may keep its cache of the sample runs there; it is no run.
    assert [name for name in os.listdir(runs_root) if name != ".catalogue.db"] == []


FAULTS: dict[str, dict[str, Any]] = {
    "one modality only": {"drop": "x_text"},
    "wrong shape": {"x_audio": np.zeros((59, 5), np.float32)},
    "NaN": {"x_audio": np.full((60, 5), np.nan, np.float32)},
    "labels out of range": {"y": np.full(60, 99, np.int64)},
    "no labels": {"drop": "y"},
    "no split": {"drop": "split"},
    "pickled": {"x_audio": np.array([{"a": 1}] * 60, dtype=object)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_data_are_refused_by_train_and_check_alike(runs_root: Path, tmp_path: Path, fault: str, capsys) -> None:
    path = data.write_npz(tmp_path / "bad.npz", **FAULTS[fault])
    assert cli.main(["train", "--dataset", str(path), "--runs", str(runs_root)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: bad.npz: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    # The catalogue may keep its cache of the sample runs there; it is no run.
    assert [name for name in os.listdir(runs_root) if name != ".catalogue.db"] == []
    assert cli.main(["check", "--dataset", str(path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert f"error: {found['error']}\n" == said.err


def test_a_mistake_in_a_process_of_its_own(runs_root: Path, tmp_path: Path) -> None:
    path = data.write_npz(tmp_path / "bad.npz", drop="x_text")
    assert "bad.npz" in refused("train", "--dataset", str(path), root=runs_root)
    assert "cannot be made" in refused("train", *TINY, root=Path("/proc/none"))
    assert "see python -m cggm_core" in refused("dance", root=runs_root)


def test_check_says_what_would_train_and_writes_nothing(tiny_npz: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "--dataset", tiny_npz.name, "--method", "cggm", "--json", *TINY]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["modalities"]["audio"] == {"kind": "vector", "shape": [5]}
    assert found["samples"] == {"train": 30, "val": 15, "test": 15}
    assert found["steps"] == 1
    assert found["config"]["dataset"] == str(tiny_npz)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.npz"]


def test_a_configuration_file_is_a_base_and_flags_win(tmp_path: Path, capsys) -> None:
    file = tmp_path / "settings.json"
    file.write_text(workers.short(lr=0.5, seed=9).to_json())
    arguments = [
        "check",
        "--config",
        str(file),
        "--method",
        "cggm",
        "--lr",
        "0.25",
        "--set",
        "lr=0.125",
        "--json",
    ]
    assert cli.main(arguments) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert (config["method"], config["training"]["lr"], config["training"]["seed"]) == ("cggm", 0.125, 9)
    for broken, words in (
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"x": 1}', "unknown setting"),
    ):
        file.write_text(broken)
        assert cli.main(["check", "--config", str(file)]) == 2
        assert words in capsys.readouterr().err


def test_values_are_read_as_json_reads_them() -> None:
    values = {
        "1": 1,
        "1e-3": 1e-3,
        "true": True,
        "False": False,
        '"a"': "a",
        "adam": "adam",
        "[1]": "[1]",
        "": "",
    }
    assert {text: parsed(text) for text in values} == values
    assert parsed("9" * 5000) == "9" * 5000
    assert pairs(["lr=1", "name=7", "a.b=c=d", "lr=2"]) == {"lr": 2, "name": "7", "a.b": "c=d"}
    with pytest.raises(ConfigError):
        pairs(["=1"])


def test_interrupt_checkpoints_leaves_with_130_and_resumes(root: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "cggm_core",
        "train",
        "--epochs",
        "100000",
        "--batch-size",
        "512",
        "--runs",
        root,
    ]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    until_step(root, run_id, 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("stopped after")
    assert "Traceback" not in said
    stopped = until_state(root, run_id, "stopped")
    resumed = subprocess.Popen(
        [sys.executable, "-m", "cggm_core", "train", "--resume", run_id[:12], "--runs", root],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert resumed.stdout is not None
    assert resumed.stdout.readline().strip() == run_id
    until_step(root, run_id, stopped.step + 2)
    assert workers.cli("control", run_id, "pause", "--runs", str(root)).returncode == 0
    until_state(root, run_id, "paused")
    done = workers.cli("control", run_id, "stop", "--runs", str(root))
    assert (done.returncode, done.stdout) == (0, f"{run_id} stopped\n")
    assert resumed.wait(30) == 130
    resumed.stdout.close()


def test_a_terminal_gets_a_bar(root: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "cggm_core", "train", *TINY, "--epochs", "2", "--runs", str(root)],
        cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert process.wait(30) == 0
    assert b"100%" in said
    assert b"6/6" in said


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_in_the_log(runs_root: Path, monkeypatch, capsys) -> None:
    from cggm_core.engine import worker

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a\nfault")

    monkeypatch.setattr(worker, "run", broken)
    assert cli.main(["train", *TINY, "--runs", str(runs_root)]) == 1
    said = capsys.readouterr()
    run_id = said.out.strip()
    assert said.err.count("\n") == 1
    assert "training failed: RuntimeError: a fault; see" in said.err
    assert f"{run_id}/worker.log" in said.err
    assert "Traceback" in (runs_root / run_id / "worker.log").read_text()


def test_a_fault_elsewhere_is_one_line_too(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("cggm_core.catalog.all_cards", lambda _: 1 / 0)
    assert cli.main(["methods"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ZeroDivisionError: division by zero; the traceback is in ")
    assert "Traceback" in Path(said.rsplit(" ", 1)[1].strip()).read_text()


def test_control_of_what_does_not_run(trained, capsys: pytest.CaptureFixture[str]) -> None:
    root, run_id, _ = trained
    cases = (
        (("pause",), "is finished; only a run that goes on"),
        (("set",), "takes at least one KEY=VALUE"),
        (("pause", "rho=1"), "takes no values"),
    )
    for arguments, words in cases:
        assert cli.main(["control", run_id, *arguments, "--runs", str(root)]) == 2
        assert words in capsys.readouterr().err
    assert cli.main(["control", run_id, "stop", "--runs", str(root)]) == 0
    assert capsys.readouterr().out == f"{run_id} finished\n"


def test_names_cannot_move_the_terminals_cursor(runs_root: Path, capsys) -> None:
    run_id = create_run(runs_root, json.dumps(workers.short().to_dict() | {"name": "a\x1b[2Jb\rc"}))
    writer = open_writer(run_folder(runs_root, run_id))
    writer.event(0, "note", "x\x1b]0;title\x07y")
    writer.finish("stopped")
    assert cli.main(["runs", "--runs", str(runs_root)]) == 0
    assert cli.main(["show", run_id, "--runs", str(runs_root)]) == 0
    assert not set("\x1b\r\x07") & set(capsys.readouterr().out)


def test_a_busy_port_is_named_and_a_free_one_found(monkeypatch, capsys) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"port {port} on 127.0.0.1 cannot be used .*--port"):
            app.checked_port("127.0.0.1", port)
        monkeypatch.setattr(app, "FIRST_PORT", port)
        monkeypatch.setattr(app, "LAST_PORT", port + 5)
        assert app.free_port("127.0.0.1") > port
        assert cli.main(["app", "--port", str(port)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["app", "--port", "0"]) == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_other_machines_are_refused_without_the_flag(host: str) -> None:
    with pytest.raises(ConfigError, match="--open-to-network"):
        app.check_host(host, allowed=False)
    app.check_host(host, allowed=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.5.5.5"])
def test_this_machine_is_always_allowed(host: str) -> None:
    app.check_host(host, allowed=False)


def test_the_app_starts_says_where_and_listens_on_this_machine_only(runs_root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cggm_core", "app", "--runs", str(runs_root)],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        port = int(said.rsplit(":", 1)[1])
        assert said == f"CGGM Lab: http://127.0.0.1:{port}"
        until(lambda: _listens("127.0.0.1", port))
        time.sleep(0.2)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def test_public_names_are_resolved_on_first_use() -> None:
    code = (
        "import sys, cggm_core; assert 'numpy' not in sys.modules; cggm_core.RunConfig;"
        "assert 'torch' not in sys.modules; cggm_core.BalanceMethod; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
    assert set(cggm_core.__all__) <= set(dir(cggm_core))
    for name in cggm_core.__all__:
        assert getattr(cggm_core, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'watchh'"):
        _ = cggm_core.watchh  # type: ignore[attr-defined]


@pytest.mark.data
@pytest.mark.slow
def test_real_audio_and_images_train(root: Path, data_folder: Path) -> None:
    done = workers.cli(
        "train", "--dataset", str(data_folder / "avdigits.npz"), "--method", "cggm", "--preset", "paper",
        "--epochs", "1", "--batch-size", "512", "--set", "model.width=16", "--runs", str(root), timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    info = open_reader(run_folder(root, done.stdout.splitlines()[0])).info()
    assert {key.modality for key in info.summary if key.metric == "unimodal_score"} == {"image", "audio"}
