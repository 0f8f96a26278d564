"""The pages against their budget, as a person meets them: a real server, a real Chromium.

    python benchmarks/pages.py [--quick] [--only refresh paint viewers soak] [--minutes 10] [--runs 1000 10000]

`paint`: from asking for a page to its first useful content, with so many runs in the folder; best of three, the server
warm; then searches on the runs page, and the server's memory. `refresh`: the monitor on a run of 100,000 steps that
grows by 20 steps a second: processor time of the server and bytes a refresh, and how long the browser was blocked by
drawing a figure. `viewers`: a real training on one core, the app and ten viewers (benchmarks/_viewers.py) on the other;
they look in every other stretch of time, and steps a processor second and steps a second are compared pair by pair.
`soak`: an open monitor for ten minutes.

Prints a table; leaves with 1 where a budget is missed. Processor time is used where it can be, because a machine is
rarely quiet.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks._many_runs import make_runs
from benchmarks._viewers import Crowd
from cggm_core import catalog
from cggm_core.config import RunConfig
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_reader

ROOT = Path(__file__).resolve().parents[1]
STEPS = 100_000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
# What a page is opened for; a page not named here is there when its script has ended.
USEFUL = {
    "runs": "[data-testid=stDataFrame] canvas",
    "new_run": "button:has-text('Start')",
    "monitor": ".cggm-plot .scatterlayer .trace",
    "compare": ".cggm-plot .scatterlayer .trace",
}
ENDED = "[data-testid=stApp][data-test-script-state=notRunning]"
# Every drawing of a chart writes how long it took beside the chart.
OBSERVE = """() => {
  window.seen = { draws: [], tasks: [] };
  new MutationObserver((all) => all.forEach((one) => window.seen.draws.push(Number(one.target.dataset.blockedMs))))
    .observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-blocked-ms"] });
  new PerformanceObserver((list) => list.getEntries().forEach((one) => window.seen.tasks.push(one.duration)))
    .observe({ type: "longtask" });
}"""


@dataclass(frozen=True)
class Row:
    """A line of the table; a budget of None only informs."""

    what: str
    seen: float
    unit: str
    budget: float | None = None
    more: str = ""


@contextlib.contextmanager
def app(runs: Path, port: int = 0, cores: Sequence[int] = ()) -> Iterator[tuple[int, psutil.Process]]:
    """The app over a folder of runs: its port and its process."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "CGGM_RUNS": str(runs)})
    try:
        if cores:
            psutil.Process(process.pid).cpu_affinity(list(cores))
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
                break
            time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def growing(runs: Path, steps: int, seconds: float) -> Iterator[str]:
    """A run of so many steps that grows for so long; its id."""
    run_id = create_run(runs, RunConfig(method="cggm", name="growing").to_json())
    command = [sys.executable, str(ROOT / "benchmarks" / "_growing.py"), str(runs / run_id), str(steps), "20",
               str(seconds)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the growing run could not be written")
        yield run_id
        process.kill()


def spent(process: psutil.Process) -> float:
    """Processor seconds so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; `$CGGM_CHROMIUM` names it where it is not called chromium."""
    with sync_playwright() as playwright:
        named = os.environ.get("CGGM_CHROMIUM") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=named, args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Any, size: tuple[int, int] = (1440, 900)) -> Page:
    page: Page = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
    page.set_default_timeout(60_000)
    return page


def paint(counts: Sequence[int], port: int, repeats: int) -> list[Row]:
    """Seconds from asking for a page to its first useful content."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            make_runs(Path(folder), count)
            with app(Path(folder), port) as (where, process), chromium() as browser:
                page = opened(browser)
                rows += [painted(page, where, name, count, repeats) for name in catalog.all_cards("page")]
                rows.append(searched(page, where, count))
                rows.append(Row(f"server's memory, {count:,} runs", process.memory_info().rss / 1e6, "MB"))
    return rows


def painted(page: Page, port: int, name: str, count: int, repeats: int) -> Row:
    took = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}/{'' if name == 'runs' else name}")
        page.wait_for_selector("h1")
        page.wait_for_selector(USEFUL.get(name, ENDED))
        took.append(time.perf_counter() - began)
    # The first visit compiles modules and fills caches of the server; it is told beside the others.
    return Row(f"first useful paint of {name}, {count:,} runs", min(took[1:]), "s", 2.0 if count <= 1000 else 4.0,
               f"first visit {took[0]:.2f}, others to {max(took[1:]):.2f}")  # fmt: skip


def searched(page: Page, port: int, count: int) -> Row:
    """Seconds from a word typed on the runs page to the count of the runs that have it."""
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector(USEFUL["runs"])
    field, said, took = page.get_by_label("Search", exact=True), page.get_by_text("Tick rows to open"), []
    for words in ("ogm", "umt sweep-0", "stable", "for paper"):
        page.wait_for_selector(ENDED)
        before = said.inner_text()
        began = time.perf_counter()
        field.fill(words)
        field.press("Enter")
        while said.inner_text() == before:
            page.wait_for_timeout(5)
        took.append(time.perf_counter() - began)
    return Row(f"search among {count:,} runs", statistics.median(took), "s", None, f"to {max(took):.2f}")


def refresh(port: int, seconds: float) -> list[Row]:
    """What one refresh of the monitor costs the server, the line and the browser."""
    with (
        tempfile.TemporaryDirectory() as folder, growing(Path(folder), STEPS, 3600) as run_id,
        app(Path(folder), port) as (where, process),
    ):  # fmt: skip
        with Crowd(where, f"run={run_id}", 1) as crowd:
            viewer = crowd.viewers[0]
            time.sleep(3)
            before, bytes_, finished = spent(process), viewer.bytes, viewer.finished
            viewer.waited.clear()
            time.sleep(seconds)
            count = viewer.finished - finished
            server = (spent(process) - before) / count
            kilobytes = (viewer.bytes - bytes_) / count / 1000
            waited = statistics.median(viewer.waited)
        with chromium() as browser:
            page = opened(browser, (1440, 2600))
            page.goto(f"http://127.0.0.1:{where}/monitor?run={run_id}")
            page.wait_for_selector(USEFUL["monitor"])
            page.wait_for_timeout(3000)
            page.evaluate(OBSERVE)
            page.wait_for_timeout(1000 * seconds)
            seen = page.evaluate("window.seen")
    draws = sorted(seen["draws"])
    late = draws[int(0.95 * len(draws))]
    return [
        Row("monitor at 100,000 steps: server's processor time a refresh", server, "s", 0.1,
            f"{count} refreshes, median answer after {1000 * waited:.0f} ms"),
        Row("monitor at 100,000 steps: sent a refresh", kilobytes, "kB", 300.0),
        Row("monitor at 100,000 steps: browser blocked a figure", statistics.median(draws), "ms", 50.0,
            f"{len(draws)} drawings, 95 of 100 within {late:.0f}; {len(seen['tasks'])} long tasks"),
    ]  # fmt: skip


def soak(port: int, minutes: float) -> list[Row]:
    """Memory of browser and server over a page that stays open."""
    heaps, server = [], []
    with (
        tempfile.TemporaryDirectory() as folder, growing(Path(folder), STEPS, 60 * minutes + 300) as run_id,
        app(Path(folder), port) as (where, process), chromium() as browser,
    ):  # fmt: skip
        page = opened(browser)
        page.goto(f"http://127.0.0.1:{where}/monitor?run={run_id}")
        page.wait_for_selector(USEFUL["monitor"])
        page.wait_for_timeout(30_000)
        tell = page.context.new_cdp_session(page)
        tell.send("Performance.enable")
        draws = "Number(document.querySelector('.cggm-plot').dataset.draws)"
        drawn, end = page.evaluate(draws), time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            page.wait_for_timeout(5000)
            told = {one["name"]: one["value"] for one in tell.send("Performance.getMetrics")["metrics"]}
            heaps.append(told["JSHeapUsedSize"] / 1e6)
            server.append(process.memory_info().rss / 1e6)
        drawn = page.evaluate(draws) - drawn
    part = max(1, len(server) // 10)
    growth = statistics.median(server[-part:]) - statistics.median(server[:part])
    return [
        Row(f"{minutes:g} min of a live page: browser heap, highest", max(heaps), "MB", 200.0,
            f"{drawn} drawings; {heaps[0]:.0f} MB at first, {heaps[-1]:.0f} at last"),
        Row(f"{minutes:g} min of a live page: growth of the server", growth, "MB", 20.0,
            f"{server[0]:.0f} MB at first, {max(server):.0f} at most"),
    ]  # fmt: skip


def viewers(port: int, count: int, pairs: int, stretch: float) -> list[Row]:
    """How much a training loses to viewers of its run."""
    cores = sorted(os.sched_getaffinity(0))
    own, others = cores[:1], cores[1:] or cores
    with tempfile.TemporaryDirectory() as folder, app(Path(folder), port, others) as (where, _):
        runs = Path(folder)
        command = [sys.executable, "-m", "cggm_core", "train", "--dataset", "synthetic", "--method", "cggm", "--epochs",
                   "100000", "--set", "threads=1", "--runs", str(runs)]  # fmt: skip
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            run_id = process.stdout.readline().strip()
            trainer = psutil.Process(process.pid)
            trainer.cpu_affinity(own)
            for thread in psutil.Process().threads():
                os.sched_setaffinity(thread.id, others)
            reader = open_reader(runs / run_id)
            while reader.info().step < 50:
                time.sleep(0.5)
            with Crowd(where, f"run={run_id}", count) as crowd:
                measured = []
                for turn in range(2 * pairs):
                    # ABBA: what drifts in one direction hits both sides alike.
                    watched = turn % 4 in (1, 2)
                    (crowd.open.set if watched else crowd.open.clear)()
                    time.sleep(1.5)
                    measured.append((watched, *paced(reader, trainer, stretch)))
                looks = sum(viewer.finished for viewer in crowd.viewers)
            process.terminate()
            process.communicate(timeout=60)
    return [
        compared(f"{count} viewers: training slower, by its processor time", [(m[0], m[1]) for m in measured],
                 f"{looks} refreshes"),
        compared(f"{count} viewers: training slower, by the clock", [(m[0], m[2]) for m in measured],
                 f"trainer alone on core {own[0]}"),
    ]  # fmt: skip


def paced(reader: Any, trainer: psutil.Process, stretch: float) -> tuple[float, float]:
    """Steps a processor second and steps a second over a stretch of time; steps are told by the rows' own clock."""
    first, began, used = newest(reader), time.monotonic(), spent(trainer)
    time.sleep(stretch)
    used, took = spent(trainer) - used, time.monotonic() - began
    last = newest(reader)
    rate = (last[0] - first[0]) / (last[1] - first[1])
    return rate * took / used, rate


def newest(reader: Any) -> tuple[int, float]:
    """Step and time of the newest row."""
    key = MetricKey("loss")
    found = reader.series([key], first=max(0, reader.info().step - 2000))[key]
    return int(found.step[-1]), float(found.seconds[-1])


def compared(what: str, measured: list[tuple[bool, float]], more: str) -> Row:
    """Per cent lost while watched, pair by pair."""
    lost = []
    for (first, one), (_, other) in zip(measured[::2], measured[1::2], strict=True):
        watched, alone = (one, other) if first else (other, one)
        lost.append(100 * (1 - watched / alone))
    spread = statistics.stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else 0.0
    return Row(what, statistics.median(lost), "%", 3.0,
               f"{len(lost)} pairs from {min(lost):.1f} to {max(lost):.1f}, mean {statistics.mean(lost):.1f} "
               f"± {spread:.1f}; {more}")  # fmt: skip


def main() -> int:
    """Measure what is asked for; 1 where a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("refresh", "paint", "viewers", "soak")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--quick", action="store_true", help="shorter stretches, 1,000 runs, one minute")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the page stays open")
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000], help="runs in the folder")
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--port", type=int, default=0, help="of the app; a free one where none is named")
    given = parser.parse_args()
    quick = given.quick
    rows: list[Row] = []
    for kind in given.only:
        if kind == "refresh":
            rows += refresh(given.port, 8.0 if quick else 20.0)
        elif kind == "paint":
            rows += paint(given.runs[:1] if quick else given.runs, given.port, 1 if quick else 3)
        elif kind == "viewers":
            rows += viewers(given.port, given.viewers, 4 if quick else 12, 4.0 if quick else 8.0)
        else:
            rows += soak(given.port, min(1.0, given.minutes) if quick else given.minutes)
    print("| what | seen | budget | | |\n|---|---|---|---|---|")
    for row in rows:
        kept = "" if row.budget is None else "kept" if row.seen <= row.budget else "MISSED"
        print(f"| {row.what} | {row.seen:.3g} {row.unit} | {row.budget or ''} | {kept} | {row.more} |")
    return int(any(row.budget is not None and row.seen > row.budget for row in rows))


if __name__ == "__main__":
    sys.exit(main())
