"""Whether a second process that reads a run while it is written slows its training.

    python benchmarks/reading.py [rounds]

One training writes its run to disk; a second process follows it by `news` four times a second, in every other round.
Rounds with and without the reader alternate, so a machine that slows down slows both; the ratio is taken pair by pair.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

from cggm_core.config import RunConfig
from cggm_core.engine.recorder import Recorder
from cggm_core.engine.trainer import Trainer
from cggm_core.engine.worker import build_data
from cggm_core.store import create_run, open_writer

SECONDS = 2.0
READER = """
import sys, time
from pathlib import Path
from cggm_core.store import open_reader
folder, gate = Path(sys.argv[1]), Path(sys.argv[2])
reader, cursor, rows = open_reader(folder), None, 0
print("ready", flush=True)
while gate.parent.exists():
    if gate.exists():
        news = reader.news(cursor)
        cursor = news.cursor
        rows += sum(len(series.step) for series in news.series.values())
    time.sleep(0.25)
"""


def main() -> None:
    """Print the median ratio of steps a second with a reader to without."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    config = RunConfig(method="cggm").with_settings({"epochs": 100_000, "threads": 1})
    trainer = Trainer(config, build_data(config))
    with tempfile.TemporaryDirectory() as root:
        gates = Path(root) / "gates"
        gates.mkdir()
        folder = Path(root) / create_run(root, config.to_json())
        writer = open_writer(folder)
        recorder = Recorder(writer, trainer.device)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(folder), str(gates / "open")],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        )  # fmt: skip
        assert reader.stdout is not None
        reader.stdout.readline()

        def rate() -> float:
            began, first = time.perf_counter(), trainer.place.step
            trainer.fit(recorder, between=lambda _: time.perf_counter() - began < SECONDS)
            return (trainer.place.step - first) / (time.perf_counter() - began)

        rate()
        pairs: list[tuple[float, float]] = []
        for turn in range(2 * rounds):
            watched = turn % 2 == 1
            (gates / "open").touch() if watched else (gates / "open").unlink(missing_ok=True)
            steps = rate()
            pairs = [*pairs[:-1], (pairs[-1][0], steps)] if watched else [*pairs, (steps, 0.0)]
        (gates / "open").unlink()
        gates.rmdir()
        reader.communicate()
        writer.finish("stopped")
    ratios = [with_reader / without for without, with_reader in pairs]
    print(f"steps a second without a reader: {statistics.median(p[0] for p in pairs):.1f}")
    print(f"with a reader over without: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
