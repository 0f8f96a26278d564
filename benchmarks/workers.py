"""Two workers at once against one after the other: `python benchmarks/workers.py`.

Both ways start the same two trainings through the launcher, as the app does. Counted is training alone, from
a run's first recorded step to its last, and beside it everything from the start of the first process to the end
of the last. Budget: at once at least 1.6 times the throughput on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cggm_core import launch
from cggm_core.config import RunConfig
from cggm_core.names import MetricKey
from cggm_core.store import ENDED, open_reader, run_folder

BUDGET = 1.6
LOSS = MetricKey("loss")


def configuration(epochs: int, seed: int) -> RunConfig:
    """Sequences through transformer encoders: arithmetic in large pieces, as a real training has it."""
    config = RunConfig(dataset="synthetic", method="cggm", dataset_params={"length": 20, "samples": 1000})
    return config.with_settings({"epochs": epochs, "seed": seed, "checkpoint_seconds": 3600.0})


def steps_and_span(root: Path, run_id: str) -> tuple[int, float, float]:
    """Steps of an ended run, and when its training began and ended, in Unix seconds."""
    reader = open_reader(run_folder(root, run_id))
    info = reader.info()
    if info.state != "finished":
        raise SystemExit(f"a worker {info.state}: {info.reason}")
    series = reader.series([LOSS])[LOSS]
    started = reader.attempts()[0].started_at
    reader.close()
    return len(series.step), started + float(series.seconds[0]), started + float(series.seconds[-1])


def wait(root: Path, run_ids: list[str]) -> None:
    while not all(open_reader(run_folder(root, one)).info().state in ENDED for one in run_ids):
        time.sleep(0.1)


def measure(root: Path, epochs: int, *, at_once: bool) -> tuple[float, float]:
    """Steps a second of training alone, and seconds in all."""
    begun = time.time()
    run_ids = []
    for seed in (0, 1):
        run_ids.append(launch.start(configuration(epochs, seed), root))
        if not at_once:
            wait(root, run_ids)
    wait(root, run_ids)
    whole = time.time() - begun
    spans = [steps_and_span(root, one) for one in run_ids]
    steps = sum(span[0] for span in spans)
    if at_once:
        return steps / (max(s[2] for s in spans) - min(s[1] for s in spans)), whole
    return steps / sum(s[2] - s[1] for s in spans), whole


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        measure(root, 1, at_once=False)  # files of torch into the system's memory
        alone, alone_whole = measure(root, epochs, at_once=False)
        both, both_whole = measure(root, epochs, at_once=True)
    ratio = both / alone
    print(f"usable cores {launch.usable_cores()}, share of a worker {launch.share()}")
    print(f"{'':24}{'steps a second':>16}{'whole time':>12}")
    print(f"{'one after the other':24}{alone:16.1f}{alone_whole:10.1f} s")
    print(f"{'two at once':24}{both:16.1f}{both_whole:10.1f} s")
    print(f"throughput ratio {ratio:.2f} (budget >= {BUDGET}), whole time {alone_whole / both_whole:.2f}")
    return 0 if ratio >= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
