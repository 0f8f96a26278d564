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
import sys
from pathlib import Path
from cggm_core.config import RunConfig
from cggm_core.engine import worker
folder = Path(sys.argv[1])
config = RunConfig.from_json((folder / "config.json").read_text())
print("ready", flush=True)
print(worker.run(worker.prepare(config), folder, resume=(folder / "checkpoint.pt").exists()), flush=True)
"""


def life(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", LIFE, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


def losses(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    series = open_reader(folder).series([LOSS])[LOSS]
    return series.step, series.value, series.seconds


def last_written(folder: Path, since: float, began: float) -> tuple[int, float]:
    """Newest step a reader sees, and how long before now it was recorded."""
    step, _, seconds = losses(folder)
    return (int(step[-1]), since - (began + seconds[-1])) if len(step) else (-1, 0.0)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_kills(runs_root: Path) -> None:
    config: RunConfig = tiny_config("cggm", epochs=400, checkpoint_seconds=0.2)
    folder = runs_root / create_run(runs_root, config.to_json())
    moment = random.Random(0)
    for kill in range(KILLS):
        process = life(folder)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        first = open_reader(folder).attempts()
        while len(open_reader(folder).attempts()) == len(first) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moment.uniform(0.0, 0.5))
        began = open_reader(folder).attempts()[0].started_at
        committed = losses(folder)
        process.send_signal(signal.SIGKILL)
        killed = time.time()
        process.communicate()
        reader = open_reader(folder)
        assert reader.info().state == "died", f"kill {kill}"
        step, value, _ = losses(folder)
        np.testing.assert_array_equal(step, np.arange(len(step)))
        assert len(step) >= len(committed[0]), "what a reader had seen is still there"
        np.testing.assert_array_equal(value[: len(committed[1])], committed[1])
        newest, age = last_written(folder, killed, began)
        # A quarter second is promised; the rest is the time a busy machine takes to come round to the writer.
        assert newest < 0 or age < 0.25 + 4.75, f"kill {kill}: the newest row is {age:.2f} s old"
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
