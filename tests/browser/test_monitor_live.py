"""The monitor of a long run that grows, in a real Chromium: closer by zooming, quiet unseen, back after a restart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from cggm_core.config import RunConfig
from cggm_core.store import create_run
from tests.browser.conftest import ROOT, Watched, served

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
STEPS = 6000
DRAWS = "Number(document.querySelector('.cggm-plot').dataset.draws)"
# How many points the densest line of the first chart has in view.
IN_VIEW = """(() => {
  const plot = document.querySelector('.cggm-plot');
  if (!plot?.layout?.xaxis?.range) return -1;
  const [low, high] = plot.layout.xaxis.range;
  return Math.max(...plot.data.map((trace) => trace.x.filter((x) => x >= low && x <= high).length));
})()"""
# Chromium without a screen shows every tab; the page asks `document.hidden` and hears of it by this event.
HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with one run of 6,000 steps that a second process makes longer."""
    runs = tmp_path_factory.mktemp("live") / "runs"
    runs.mkdir()
    run_id = create_run(runs, RunConfig(method="cggm", name="growing").to_json())
    command = [sys.executable, str(ROOT / "benchmarks" / "_growing.py"), str(runs / run_id), str(STEPS), "20", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield runs, run_id
        process.kill()


def drawn_more(page: Any, times: int) -> None:
    wanted = page.evaluate(DRAWS) + times
    page.wait_for_function(f"{DRAWS} >= {wanted}")


def test_closer_quiet_and_back_again(driver: Any, growing: tuple[Path, str]) -> None:
    runs, run_id = growing
    with served(runs, runs.parent / "first.log") as address:
        watched = Watched(driver, address)
        page = watched.open(f"/monitor?run={run_id}", until=".cggm-plot .scatterlayer .trace")
        drawn_more(page, 2)

        chart = page.locator(".cggm-chart").first
        chart.focus()
        for _ in range(4):
            page.keyboard.press("+")
        page.wait_for_timeout(50)
        width = "(() => { const [a, b] = document.querySelector('.cggm-plot').layout.xaxis.range; return b - a; })()"
        page.wait_for_function(f"{width} < {STEPS / 5}")
        coarse, wide = page.evaluate(IN_VIEW), page.evaluate(width)
        page.wait_for_function(f"{IN_VIEW} > {max(2 * coarse, wide / 3)}")
        assert page.evaluate(width) == pytest.approx(wide)

        page.evaluate(HIDE, True)
        page.wait_for_timeout(1500)
        watched.settled()
        resting = page.evaluate(DRAWS)
        page.wait_for_timeout(3000)
        assert page.evaluate(DRAWS) == resting
        page.evaluate(HIDE, False)
        drawn_more(page, 2)
        watched.check()

    # The server is gone; what the page then says on the console is the browser's own complaint about that.
    with served(runs, runs.parent / "second.log", port=int(urlparse(address).port or 0)):
        drawn_more(page, 2)
        page.wait_for_function(f"{IN_VIEW} > {max(2 * coarse, wide / 3)}")
        assert page.evaluate(width) == pytest.approx(wide)
        assert page.locator("[data-testid=stException], .cggm-chart-error:visible, [role=dialog]").count() == 0
        watched.close()
