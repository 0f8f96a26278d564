"""Photograph every page of the app, light and dark: the pictures of the README, and what a designer looks at.

    python docs/pictures.py                              # into docs/pictures, 1440 pixels wide
    python docs/pictures.py --width 800 --to artifacts   # as a narrow window sees them

The app runs over the sample runs and two trainings begun for the occasion, one finished and one that lives, on made
data whose first modality tells far more than the others. It needs a Chromium, Playwright and Pillow
(`requirements-dev.txt`). Ids, times and the speed of this computer show in the pictures; nothing else differs from one
making to the next.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from cggm_core import catalog  # noqa: E402
from cggm_core.store import Catalogue  # noqa: E402

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCHEMES = ("light", "dark")
TALLEST = 4000  # pixels; a longer page is cut
WIDTH, HEIGHT = 1440, 900
FIRST = "first_visit"  # the first page before any training of one's own
WINDOW = {"verdict": "diagnosis"}  # a page as the window shows it before anybody scrolls
SETTLE_MS, PATIENCE_S = 900, 90
# Three modalities that tell less and less: the verdict has something to find.
TRAINED = ("--dataset", "synthetic", "--method", "cggm", "--set", "threads=1", "--set", "batch_size=64")


@dataclass(frozen=True)
class Shown:
    """The runs a page is opened with."""

    sample: str
    mapped: str
    several: str
    living: str
    judged: str


def address(page: str, shown: Shown) -> str:
    """Address of a page on the run that shows it best."""
    queries = {
        "monitor": f"?run={shown.living}",
        "compare": f"?runs={shown.several}",
        "report": f"?runs={shown.several}",
        "gradient_map": f"?run={shown.mapped}",
        "diagnosis": f"?run={shown.judged}",
    }
    first = min(catalog.all_cards("page").values(), key=lambda card: (card.order, card.name))
    return f"/{'' if page == first.name else page}{queries.get(page, '')}"


@contextlib.contextmanager
def served(runs: Path, port: int) -> Iterator[str]:
    """The app over a folder of runs; its address."""
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=HOME, env={**os.environ, "CGGM_RUNS": str(runs)}, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(10 * PATIENCE_S):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                break
            if process.poll() is not None:
                raise SystemExit(f"the app ended with code {process.returncode} instead of listening on port {port}")
            time.sleep(0.1)
        yield url
    finally:
        ended(process)


@contextlib.contextmanager
def trained(runs: Path) -> Iterator[tuple[str, str]]:
    """A finished training and one that goes on while the pictures are made; their ids."""
    judged = begun(runs, "--epochs", "12", "--name", "one strong modality")
    judged.wait()
    first = newest(runs, set())
    living = begun(runs, "--epochs", "5000", "--preset", "stable", "--name", "training now")
    try:
        yield first, newest(runs, {first})
    finally:
        ended(living)


def begun(runs: Path, *more: str) -> subprocess.Popen[bytes]:
    """A training of its own process."""
    command = [sys.executable, "-m", "cggm_core", "train", *TRAINED, *more, "--runs", str(runs)]
    return subprocess.Popen(command, cwd=HOME, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def newest(runs: Path, known: set[str]) -> str:
    """Id of a run that was not known before, once it has a validation score."""
    for _ in range(2 * PATIENCE_S):
        for info in Catalogue(runs).runs():
            if info.id not in known and not info.sample and any(key.metric == "val_score" for key in info.summary):
                return info.id
        time.sleep(0.5)
    raise SystemExit("no training came to its first validation in time")


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settled(page: Page) -> None:
    """Wait until scripts have ended, nothing spins and every chart is drawn."""
    deadline = time.monotonic() + PATIENCE_S
    busy = "[data-testid=stSpinner], [data-testid=stSkeleton], :text('Making the map')"
    while time.monotonic() < deadline:
        page.wait_for_timeout(SETTLE_MS)
        app = page.locator("[data-testid=stApp]").first.get_attribute("data-test-script-state")
        if app == "notRunning" and page.locator(busy).count() == 0:
            break
    page.wait_for_timeout(SETTLE_MS)


def photographed(page: Page, width: int) -> bytes:
    """The whole page: the window is made as high as what scrolls in it."""
    height = HEIGHT
    for _ in range(3):
        wanted = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        if wanted <= height:
            break
        height = min(TALLEST, int(wanted))
        page.set_viewport_size({"width": width, "height": height})
        settled(page)
    return page.screenshot()


def kept(png: bytes, file: Path) -> None:
    """Write the picture, pixel for pixel, in the form its name asks for; WebP takes half of the bytes of PNG."""
    given = {"lossless": True, "quality": 100, "method": 6} if file.suffix == ".webp" else {"optimize": True}
    Image.open(io.BytesIO(png)).convert("RGB").save(file, **given)
    print(f"{file.name:32s} {file.stat().st_size / 1e3:6.0f} kB", flush=True)


def chromium() -> str:
    """Path of a Chromium."""
    found = os.environ.get("CGGM_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not found:
        raise SystemExit("no Chromium found; install one, or name it in CGGM_CHROMIUM")
    return found


def chosen_runs(living: str, judged: str) -> Shown:
    """The runs shown, among the samples by what they are."""
    samples = Catalogue(HOME / "sample_runs").runs()
    paper = [info for info in samples if info.config.get("preset") == "paper" and not info.name.count("only")]
    stable = [info for info in samples if info.config.get("preset") == "stable"]
    joint = [info for info in samples if info.config.get("method") == "joint"]
    first = min(paper, key=lambda info: info.name)
    several = ",".join(info.id for info in (*joint, *paper, *stable))
    return Shown(first.id, min(stable, key=lambda i: i.name).id, several, living, judged)


def make(given: argparse.Namespace) -> None:
    """Every page in every scheme; before any training the first page as a newcomer finds it."""
    given.to.mkdir(parents=True, exist_ok=True)
    tail = f"{'' if given.width == WIDTH else f'-{given.width}'}.{given.form}"
    with tempfile.TemporaryDirectory(prefix="cggm-pictures-") as made, sync_playwright() as started:
        runs = Path(made) / "runs"
        runs.mkdir()
        browser = started.chromium.launch(executable_path=chromium(), args=FLAGS)
        with served(runs, given.port or free_port()) as url:

            def take(name: str, path: str) -> None:
                for scheme, png in seen(browser, url + path, given, whole=name not in WINDOW):
                    kept(png, given.to / f"{name}-{scheme}{tail}")

            if FIRST in given.page:
                take(FIRST, "/")
            with trained(runs) as (judged, living):
                shown = chosen_runs(living, judged)
                for name in (name for name in given.page if name != FIRST):
                    take(name, address(WINDOW.get(name, name), shown))
        browser.close()


def seen(browser: Any, url: str, given: argparse.Namespace, *, whole: bool) -> Iterator[tuple[str, bytes]]:
    """One page in every scheme asked for."""
    size = {"width": given.width, "height": HEIGHT}
    context = browser.new_context(viewport=size, color_scheme=given.scheme[0], reduced_motion="reduce")
    context.set_default_timeout(1000 * PATIENCE_S)
    try:
        page = context.new_page()
        for scheme in given.scheme:
            # Opened anew: tables do not paint themselves again when the scheme changes.
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            page.goto(url)
            page.wait_for_selector("h1")
            settled(page)
            yield scheme, photographed(page, given.width) if whole else page.screenshot()
    finally:
        context.close()


def free_port() -> int:
    """A port nobody holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Read what is asked for and make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    cards = sorted(catalog.all_cards("page").values(), key=lambda card: card.order)
    pages = [FIRST, *WINDOW, *(card.name for card in cards)]
    parser.add_argument("--to", type=Path, default=HOME / "docs" / "pictures", metavar="DIR")
    parser.add_argument("--form", choices=("webp", "png"), default="webp")
    parser.add_argument("--width", type=int, default=WIDTH, metavar="PIXELS")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of the app; default: a free one")
    parser.add_argument("--page", nargs="+", choices=pages, default=pages, help="these alone")
    parser.add_argument("--scheme", nargs="+", choices=SCHEMES, default=SCHEMES, help="this one alone")
    make(parser.parse_args())


if __name__ == "__main__":
    main()
