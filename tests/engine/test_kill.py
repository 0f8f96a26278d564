"""kill -9 of the worker at twenty random moments of one training, and what must be true after each."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cggm_core.config import RunConfig
from cggm_core.engine import checkpoint, worker
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_reader
from tests.support.training import tiny_config

LOSS = MetricKey("loss")
KILLS = 20
# One process a life; what it imports is the price of a life, so it starts from the engine and not from the app.
LIFE = """
import sys, time
from pathlib import Path
from cggm_core.config import RunConfig
from cggm_core.engine import worker
folder = Path(sys.argv[1])
config = RunConfig.from_json((folder / "config.json").read_text())
print("ready", flush=True)
def say(progress):
    print(time.time(), progress.step - 1, flush=True)
resume = (folder / "checkpoint.pt").exists()
print(worker.run(worker.prepare(config), folder, resume=resume, progress=say), flush=True)
"""


def life(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", LIFE, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


def losses(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    series = open_reader(folder).series([LOSS])[LOSS]
    return series.step, series.value, series.seconds


def lost_seconds(said: str, newest: int, killed: float) -> float:
    """How long before the kill the oldest row was recorded that is not in the store; 0 if none is missing.

    Args:
        said: lines of the worker, each a time and the newest step it had recorded by then.
        newest: newest step a reader sees.
        killed: Unix seconds.
    """
    told = [line.split() for line in said.splitlines()[:-1]]  # the last line may be cut
    missing = [float(at) for at, step in told if int(step) > newest]
    return max(0.0, killed - min(missing)) if missing else 0.0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_kills(runs_root: Path) -> None:
    config: RunConfig = tiny_config("cggm", epochs=400, checkpoint_seconds=0.2)
    folder = runs_root / create_run(runs_root, config.to_json())
    moment = random.Random(0)
    lost: list[float] = []
    for kill in range(KILLS):
        process = life(folder)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        first = open_reader(folder).attempts()
        while len(open_reader(folder).attempts()) == len(first) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moment.uniform(0.0, 1.5))
        committed = losses(folder)
        process.send_signal(signal.SIGKILL)
        killed = time.time()
        said, _ = process.communicate()
        reader = open_reader(folder)
        assert reader.info().state == "died", f"kill {kill}"
        step, value, _ = losses(folder)
        np.testing.assert_array_equal(step, np.arange(len(step)))
        assert len(step) >= len(committed[0]), "what a reader had seen is still there"
        np.testing.assert_array_equal(value[: len(committed[1])], committed[1])
        lost.append(lost_seconds(said, int(step[-1]) if len(step) else -1, killed))
    print("recorded before the kill and lost, s:", " ".join(f"{seconds:.2f}" for seconds in sorted(lost)))
    # A quarter second is promised. All but the worst two show it kept; these may have met a busy machine, on which
    # the writer's thread comes round late.
    assert sorted(lost)[-3] <= 0.25
    assert max(lost) < 5
    last = life(folder)
    assert last.communicate(timeout=200)[0].splitlines()[-1] == "finished"
    assert len(open_reader(folder).attempts()) == KILLS + 1
    other = runs_root / create_run(runs_root, config.to_json())
    whole = worker.prepare(config)
    worker.run(whole, other)
    for key in (LOSS, MetricKey("balance_coefficient", "m2"), MetricKey("val_score")):
        pieced, once = (open_reader(f).series([key])[key] for f in (folder, other))
        np.testing.assert_array_equal(pieced.step, once.step)
        np.testing.assert_array_equal(pieced.value, once.value)
    assert open_reader(folder).info().state == "finished"
    assert checkpoint.load(folder, whole.trainer.device)["trainer"]["place"]["step"] == whole.trainer.steps
