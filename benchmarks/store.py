"""The run store against its budget: `python benchmarks/store.py`.

Every figure is measured in one process on a temporary folder; a ratio up to 1 is within the budget.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from cggm_core.names import MetricKey
from cggm_core.store import Catalogue, create_run, layout, open_reader, open_writer, run_folder

COLUMNS = [MetricKey("gradient_norm", f"m{i}") for i in range(40)]
STEPS = 125_000  # times 40 columns: 5 million values


def median_ms(call: Callable[[], object], times: int = 9) -> float:
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        spent.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(spent)


def log_cost(root: Path, rows: int = 20_000) -> tuple[float, float]:
    """Microseconds of `log` in the training thread at the pace of a loop: median and 99th percentile."""
    writer = open_writer(run_folder(root, create_run(root, "{}")))
    stream, values, spent = (
        writer.stream("step", COLUMNS),
        np.random.default_rng(0).normal(size=40).tolist(),
        [],
    )
    for step in range(rows):
        begun = time.perf_counter()
        writer.log(stream, step, 0, values)
        spent.append((time.perf_counter() - begun) * 1e6)
        if step % 50 == 0:
            time.sleep(0.002)
    writer.finish("finished")
    return statistics.median(spent), float(np.percentile(spent, 99))


def big_run(root: Path) -> tuple[Path, float, float]:
    """A run of 5 million values: its folder, values a second, and ms of `news` while it was live."""
    folder = run_folder(root, create_run(root, "{}"))
    writer, rows = open_writer(folder), np.random.default_rng(1).normal(size=(1000, 40)).tolist()
    stream = writer.stream("step", COLUMNS)
    begun = time.perf_counter()
    for step in range(STEPS):
        writer.log(stream, step, step // 1000, rows[step % 1000])
    writer.flush(120.0)
    rate = STEPS * 40 / (time.perf_counter() - begun)
    reader = open_reader(folder)
    cursor = reader.news().cursor
    spent = []
    for step in range(STEPS, STEPS + 200, 10):
        for more in range(10):
            writer.log(stream, step + more, 125, rows[more])
        writer.flush(10.0)
        begun = time.perf_counter()
        news = reader.news(cursor)
        spent.append((time.perf_counter() - begun) * 1e3)
        cursor = news.cursor
        assert len(news.series[COLUMNS[0]].step) == 10
    writer.finish("finished")
    return folder, rate, statistics.median(spent)


def catalogue(root: Path, count: int) -> tuple[float, float]:
    """Milliseconds to list runs from the cache in a fresh catalogue, and again when nothing changed."""
    root.mkdir()
    run_id = create_run(root, '{"method": "cggm", "dataset": "digits_views"}')
    writer = open_writer(run_folder(root, run_id))
    writer.log(writer.stream("step", COLUMNS), 0, 0, [1.0] * 40)
    writer.finish("finished")
    for _ in range(count - 1):
        shutil.copytree(root / run_id, root / layout.new_run_id())
    time.sleep(0.1)
    Catalogue(root).runs()
    fresh = median_ms(lambda: Catalogue(root).runs(), 3)
    warm = Catalogue(root)
    warm.runs()
    return fresh, median_ms(warm.runs, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[1000, 10_000], help="sizes of the catalogue")
    sizes = parser.parse_args().runs
    table: list[tuple[str, float, float, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "runs"
        root.mkdir()
        middle, high = log_cost(root)
        table += [
            ("log of 40 values, median", middle, 30.0, "us"),
            ("log of 40 values, p99", high, 1000.0, "us"),
        ]
        folder, rate, news = big_run(root)
        table.append(("values recorded a second", rate, 1e6, "/s"))
        reader = open_reader(folder)
        key = COLUMNS[-1]
        table.append(("one series of 5M values, 2,000 points",
                      median_ms(lambda: reader.series([key], max_points=2000)), 50.0, "ms"))  # fmt: skip
        table.append(("what is new on that run", news, 5.0, "ms"))
        for size, fresh_budget in zip(sizes, [500.0, 4000.0], strict=False):
            fresh, warm = catalogue(Path(temporary) / f"runs{size}", size)
            table.append((f"list {size:,} runs from the cache", fresh, fresh_budget, "ms"))
            table.append((f"list {size:,} runs, nothing changed", warm, fresh_budget, "ms"))
    print(f"{'what':<42}{'measured':>14}{'budget':>14}  {'':<3}{'ratio':>7}")
    for what, measured, budget, unit in table:
        ratio = budget / measured if unit == "/s" else measured / budget
        print(f"{what:<42}{measured:>14,.2f}{budget:>14,.0f}  {unit:<3}{ratio:>7.2f}")


if __name__ == "__main__":
    main()
