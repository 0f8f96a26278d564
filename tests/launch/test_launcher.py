"""Real workers: start, refuse, survive the app, die, resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cggm_core import launch
from cggm_core.config import RunConfig
from cggm_core.errors import ConfigError, ControlError, LaunchError, RunNotFoundError, StoreError
from cggm_core.launch.launcher import checked_knobs
from cggm_core.names import MetricKey
from cggm_core.store import is_alive, open_reader, run_folder
from tests.support import data, workers
from tests.support.workers import info, until, until_state, until_step, writer_of

HOSTILE = [
    "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "a && touch PWNED", "| tee PWNED", "> PWNED",
    "--runs=/nowhere", "-h", "'\"\\", "line\nbreak", "../../etc/passwd", "<script>alert(1)</script>",
    "\u202eevil", "émoji 👩\u200d🔬", "%s %n {0}", "x" * 10_000, "\x1b[31m", "a\tb",
]  # fmt: skip


@pytest.fixture
def root(runs_root: Path) -> Iterator[Path]:
    with workers.swept(runs_root):
        yield runs_root


def test_a_run_starts_finishes_and_leaves_a_log(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    begun = time.monotonic()
    run_id = launch.start(workers.short(name="mine", seed=3), root)
    took = time.monotonic() - begun
    ended = until_state(root, run_id, "finished")
    assert took < 60
    assert ended.name == "mine"
    assert ended.config["training"]["seed"] == 3
    assert ended.step == ended.steps - 1
    until(lambda: "finished" in (run_folder(root, run_id) / "worker.log").read_text())
    assert list(tmp_path.glob("cggm-start-*")) == []


def test_a_worker_takes_its_share_of_the_cores_and_no_secrets(root: Path, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    run_id = launch.start(workers.endless(), root)
    until_step(root, run_id, 0)
    who = writer_of(root, run_id)
    environment = Path(f"/proc/{who.pid}/environ").read_bytes().split(b"\0")
    started = next(event for event in open_reader(run_folder(root, run_id)).events() if event.kind == "start")
    assert f"OMP_NUM_THREADS={launch.share()}".encode() in environment
    assert b"GOMP_SPINCOUNT=0" in environment
    assert not any(entry.startswith(b"SECRET_TOKEN") for entry in environment)
    assert started.data["threads"] == launch.share()
    assert os.getsid(who.pid) == who.pid
    assert launch.stop(root, run_id) == "stopped"


def test_hostile_texts_reach_the_worker_as_plain_arguments(root: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join(HOSTILE)
    config = workers.short(name=HOSTILE[0] + HOSTILE[7], notes=text)
    odd = data.write_npz(tmp_path / "$(touch PWNED); --runs=x 'a\" b.npz")
    run_id = launch.start(RunConfig.from_dict(config.to_dict() | {"dataset": odd.name, "dataset_params": {}}), root)
    ended = until_state(root, run_id, "finished")
    assert ended.config["name"] == config.name
    assert ended.config["notes"] == config.notes
    assert ended.config["dataset"] == str(odd)
    assert not list(tmp_path.rglob("PWNED"))
    assert not Path("/PWNED").exists()


FAULTY = {
    "one modality": {"drop": "x_text"},
    "no number": {"x_audio": np.full((60, 5), np.nan, np.float32)},
    "wrong shape": {"x_audio": np.zeros((59, 5), np.float32)},
    "label out of range": {"y": np.full(60, -7, np.int64)},
    "no labels": {"drop": "y"},
}


@pytest.mark.parametrize("fault", FAULTY)
def test_bad_data_give_the_workers_sentence_and_no_run(root: Path, tmp_path: Path, fault: str) -> None:
    path = data.write_npz(tmp_path / "bad.npz", **FAULTY[fault])
    with pytest.raises(LaunchError) as caught:
        launch.start(RunConfig(dataset=str(path)), root)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert os.listdir(root) == []


def test_a_folder_that_cannot_be_written_gives_one_sentence() -> None:
    with pytest.raises(LaunchError, match="runs folder /proc/none cannot be made"):
        launch.start(workers.short(), "/proc/none")


def test_a_worker_that_does_not_begin_in_time_is_ended(root: Path) -> None:
    with pytest.raises(LaunchError, match="not begun within 0 s"):
        launch.start(workers.short(), root, timeout=0.0)
    time.sleep(0.5)
    assert os.listdir(root) == []


def test_the_worker_outlives_the_app(root: Path) -> None:
    code = (
        "import json, sys; from cggm_core import launch; from cggm_core.config import RunConfig;"
        "print(launch.start(RunConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2]), flush=True);"
        "import time; time.sleep(600)"
    )
    config = json.dumps(workers.endless().to_dict())
    app = subprocess.Popen(
        [sys.executable, "-c", code, config, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert app.stdout is not None
    run_id = app.stdout.readline().strip()
    # The whole group, as a closed terminal does it, and without a chance to say goodbye.
    os.killpg(app.pid, signal.SIGKILL)
    app.wait()
    app.stdout.close()
    step = info(root, run_id).step
    until_step(root, run_id, step + 3)
    assert os.stat(f"/proc/{writer_of(root, run_id).pid}").st_uid == os.getuid()
    assert launch.stop(root, run_id) == "stopped"


def test_a_killed_worker_shows_as_died_and_resumes(root: Path) -> None:
    run_id = launch.start(workers.endless(), root)
    until_step(root, run_id, 5)
    who = writer_of(root, run_id)
    os.kill(who.pid, signal.SIGKILL)
    died = until_state(root, run_id, "died")
    assert died.step >= 5
    assert str(who.pid) in died.reason
    until(lambda: not Path(f"/proc/{who.pid}").exists())
    assert launch.resume(root, run_id) == run_id
    until_state(root, run_id, "running")
    until_step(root, run_id, died.step + 3)
    lives = open_reader(run_folder(root, run_id)).attempts()
    assert [life.number for life in lives] == [1, 2]
    assert lives[0].ended == "died"
    # From its checkpoint, not from the beginning.
    assert lives[1].first_step >= died.step - 2
    steps = open_reader(run_folder(root, run_id)).series([MetricKey("loss")])[MetricKey("loss")].step
    assert list(steps) == list(range(len(steps)))
    with pytest.raises(LaunchError, match="is running; stop it before"):
        launch.resume(root, run_id)
    assert launch.stop(root, run_id) == "stopped"


def test_what_cannot_be_resumed_says_why(root: Path) -> None:
    run_id = launch.start(workers.short(), root)
    until_state(root, run_id, "finished")
    with pytest.raises(LaunchError, match="has finished all its steps"):
        launch.resume(root, run_id)
    with pytest.raises(RunNotFoundError):
        launch.resume(root, "0" * 26)
    with pytest.raises(RunNotFoundError):
        launch.resume(root, "../../etc/passwd")
    with pytest.raises(ControlError, match="is finished; only a run that goes on"):
        launch.request(root, run_id, "pause")


def test_requests_reach_a_running_worker(root: Path) -> None:
    run_id = launch.start(RunConfig(method="cggm").with_settings(workers.endless().to_dict()["training"]), root)
    until_step(root, run_id, 2)
    launch.request(root, run_id, "set", {"method.rho": 2, "direction": False})
    until(lambda: any(e.kind == "set" for e in open_reader(run_folder(root, run_id)).events()))
    launch.request(root, run_id, "pause")
    until_state(root, run_id, "paused")
    with pytest.raises(ConfigError, match="rho must be"):
        launch.request(root, run_id, "set", {"rho": -1})
    launch.request(root, run_id, "resume")
    until_state(root, run_id, "running")
    launch.request(root, run_id, "pause")
    until_state(root, run_id, "paused")
    who = writer_of(root, run_id)
    assert launch.stop(root, run_id) == "stopped"
    until(lambda: not is_alive(who))


def test_knobs_are_checked_against_the_methods_card() -> None:
    config = RunConfig(method="cggm").to_dict()
    assert checked_knobs(config, {"rho": 1, "method.lam": 0.5, "magnitude": False}) == {
        "rho": 1.0, "lam": 0.5, "magnitude": False,
    }  # fmt: skip
    for bad in ({"rho": 0}, {"lam": "much"}, {"colour": 1}, {"variant": "stable"}, {"magnitude": 1}):
        with pytest.raises(ConfigError):
            checked_knobs(config, bad)


def test_a_saved_configuration_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        launch.saved_config(tmp_path)
