from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from cggm_core.config import RunConfig
from cggm_core.launch.worker import Starting, absolute, spawn, worker_environment
from cggm_core.store import identity_of, is_alive, own_identity
from cggm_core.store.layout import new_run_id
from tests.support.workers import until


def test_secrets_of_the_shell_do_not_reach_a_worker() -> None:
    given = {
        "PATH": "/bin", "HOME": "/h", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "1", "CGGM_DATA": "/d",
        "AWS_SECRET_ACCESS_KEY": "x", "GITHUB_TOKEN": "y", "MY_PASSWORD": "z", "PYTHONSTARTUP": "/evil.py",
        "BASH_ENV": "/evil.sh", "OMP_NUM_THREADS": "64",
    }  # fmt: skip
    made = worker_environment(given)
    assert {"PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", "CGGM_DATA"} <= set(made)
    assert not {"AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_PASSWORD", "PYTHONSTARTUP", "BASH_ENV"} & set(made)
    assert made["OMP_NUM_THREADS"] != "64"


def test_the_package_is_found_from_any_folder_and_a_folder_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [sys.executable, "-m", "cggm_core", "runs", "--runs", str(tmp_path)],
        cwd=tmp_path, env=worker_environment(os.environ), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_relative_data_file_becomes_absolute_and_a_name_stays(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute(RunConfig(dataset="sub/../a.npz")).dataset == str(tmp_path / "a.npz")
    assert absolute(RunConfig(dataset="~/a.npz")).dataset == os.path.expanduser("~/a.npz")
    assert absolute(RunConfig()).dataset == "digits_views"


def test_a_worker_that_ended_is_reaped_and_not_alive(tmp_path: Path) -> None:
    process = spawn(["--version"], tmp_path / "out", tmp_path / "err")
    who = identity_of(process.pid)
    until(lambda: process.returncode is not None)
    assert process.returncode == 0
    assert who is None or not is_alive(who)
    assert not Path(f"/proc/{process.pid}").exists()
    assert (tmp_path / "out").read_text().startswith("CGGM Lab")


def test_a_worker_has_a_session_of_its_own_and_no_input(tmp_path: Path) -> None:
    process = spawn(["queue", "--runs", str(tmp_path)], tmp_path / "out", tmp_path / "err")
    # As soon as the new program runs, its session is its own.
    until(lambda: process.returncode is not None or os.getsid(process.pid) == process.pid)
    until(lambda: process.returncode is not None)


def test_the_run_id_counts_only_as_a_whole_first_line(tmp_path: Path) -> None:
    starting, run_id = Starting(tmp_path, own_identity()), new_run_id()
    assert starting.run_id() == ""
    for text, found in (
        (run_id[:20], ""), (run_id, ""), (f"{run_id}\n", run_id), (f"{run_id}\nmore", run_id),
        ("Warning: something\n", ""), ("../../etc\n", ""),
    ):  # fmt: skip
        (tmp_path / "out").write_text(text)
        assert starting.run_id() == found


def test_the_sentence_is_the_workers_own(tmp_path: Path) -> None:
    starting = Starting(tmp_path, None)
    assert "without a word" in starting.sentence()
    (tmp_path / "err").write_text("UserWarning: old\nerror: rho must be above 0\n")
    assert starting.sentence() == "rho must be above 0"
    (tmp_path / "err").write_text("Traceback:\n  File\nImportError: no torch\n\n")
    assert starting.sentence() == "ImportError: no torch"


def test_nothing_waits_for_a_worker_that_was_gone_before_it_could_be_named(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert not Starting(tmp_path, None).alive()
    assert time.monotonic() - begun < 1
