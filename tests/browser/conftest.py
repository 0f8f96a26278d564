from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from cggm_core import launch
from cggm_core.store import ENDED, Catalogue

ROOT = Path(__file__).resolve().parents[2]
START_PAGE = "runs"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


Visit = Callable[..., "Watched"]


# Ended with its module: while it lives, an asyncio loop runs in this thread, and no other test could start one.
@pytest.fixture(scope="module")
def driver(chromium: str) -> Iterator[Any]:
    """A Chromium driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of runs of a module; what still trains in it is stopped at the end."""
    folder = tmp_path_factory.mktemp("browser") / "runs"
    folder.mkdir()
    yield folder
    for info in Catalogue(folder).runs():
        if info.state not in ENDED and not info.damaged:
            launch.stop(folder, info.id, grace=5)


@pytest.fixture(scope="module")
def address(runs: Path, chromium: str) -> Iterator[str]:
    """Address of the app over the module's runs."""
    with served(runs, runs.parent / "server.log") as found:
        yield found


@pytest.fixture
def visit(driver: Any, address: str) -> Iterator[Visit]:
    """Opens pages of the app, each in a context of its own, and closes them all."""
    opened: list[Watched] = []

    def visited(path: str = "/", **given: Any) -> Watched:
        opened.append(Watched(driver, address, **given))
        opened[-1].open(path)
        return opened[-1]

    yield visited
    for watched in opened:
        watched.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept."""
    folder = Path(os.environ.get("CGGM_ARTIFACTS") or ROOT / "artifacts") / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def address_of(page: str, run_id: str) -> str:
    """Where a page stands, with a run for it to show."""
    return f"/{'' if page == START_PAGE else page}?run={run_id}&runs={run_id}"


@contextlib.contextmanager
def served(runs: Path, log: Path, app: str = "app.py", port: int = 0) -> Iterator[str]:
    """The app over a folder of runs, or another script for Streamlit, on a free port or a named one; its address."""
    with listening(runs, log, "streamlit", "run", app, "--server.port", port=port) as address:
        yield address


@contextlib.contextmanager
def listening(runs: Path, log: Path, *module: str, port: int = 0) -> Iterator[str]:
    """A module of Python that serves the app, the last word of its command being the port; its address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
    here = {**os.environ, "CGGM_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, str(port)], cwd=ROOT, env=here, stdout=output, stderr=output
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Watched:
    """A page with everything it complained of and every foreign host it asked for."""

    def __init__(self, browser: Any, address: str, *, size: tuple[int, int] = (1440, 900), scheme: str = "light"):
        self.address = address
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))

    def open(self, path: str = "/", until: str = "h1") -> Any:
        """Go to an address of the app and wait until a page has drawn its title, or what else is named."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector(until)
        return self.page

    def settled(self) -> None:
        """Wait until the script of the page has ended."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")

    def check(self) -> None:
        """Nothing failed, nothing was said on the console, nothing foreign was asked for."""
        assert self.page.locator("[data-testid=stException], .cggm-chart-error:visible").count() == 0
        assert self.complaints == []
        assert self.foreign == []

    def close(self) -> None:
        self.context.close()

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({urlparse(message.location.get('url', '')).path})")

    def _asked(self, url: str) -> None:
        if url.startswith(("http", "ws")) and urlparse(url).hostname != "127.0.0.1":
            self.foreign.append(url)
