"""The live chart in a real Chromium: what a person set stays set while the data grows.

`st.plotly_chart` fails the first test in all six updates; when it no longer does, the component can go.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[str]:
    """Address of the page of tests/browser/chart_app.py, served by Streamlit."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("chart_app")
    command = [sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("chart_app.py")),
               "--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true",
               "--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]  # fmt: skip
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                        break
                except OSError:
                    assert process.poll() is None, (folder / "log.txt").read_text()
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait(20)


class Watched:
    """A page with everything it complained of and every foreign host it asked for."""

    def __init__(self, context, address: str) -> None:
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.note(request.url))
        self.page.goto(address)
        self.page.wait_for_selector(".js-plotly-plot .scatterlayer .trace", timeout=60_000)

    def note(self, url: str) -> None:
        if url.startswith("http") and urlparse(url).hostname != "127.0.0.1":
            self.foreign.append(url)

    def draws(self, chart: int = 0) -> int:
        return int(self.page.evaluate(f"document.querySelectorAll('.cggm-plot')[{chart}].dataset.draws"))

    def updates(self, count: int, chart: int = 0) -> None:
        """Wait until the chart was drawn so many times more."""
        wanted = self.draws(chart) + count
        self.page.wait_for_function(
            f"Number(document.querySelectorAll('.cggm-plot')[{chart}].dataset.draws) >= {wanted}", timeout=60_000
        )

    def x_range(self, chart: int = 0) -> list[float]:
        return self.page.evaluate(f"[...document.querySelectorAll('.cggm-plot')[{chart}].layout.xaxis.range]")

    def points(self, chart: int = 0) -> int:
        return self.page.evaluate(
            f"Math.max(...document.querySelectorAll('.cggm-plot')[{chart}].data.map((t) => t.x.length))"
        )

    def hidden(self) -> list[str]:
        return self.page.evaluate(
            "document.querySelector('.cggm-plot')._fullData.filter((t) => t.visible === 'legendonly')"
            ".map((t) => t.name)"
        )


@pytest.fixture
def watched(server: str, driver: Any) -> Iterator[Any]:
    """Opens pages of a context of their own; every one must end without complaint and without a foreign request."""
    opened: list[Watched] = []

    def open_page(query: str = "", scheme: str = "light") -> Watched:
        context = driver.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
        opened.append(Watched(context, f"{server}/?{query}"))
        return opened[-1]

    yield open_page
    for page in opened:
        assert page.complaints == []
        assert page.foreign == []
        assert page.page.locator(".cggm-chart-error:visible").count() == 0
        page.page.context.close()


def drag_zoom(watched: Watched) -> None:
    box = watched.page.locator(".cggm-plot").first.locator(".nsewdrag").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    watched.page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    watched.page.mouse.down()
    watched.page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=6)
    watched.page.mouse.up()
    watched.page.wait_for_timeout(400)


def test_zoom_and_a_hidden_line_survive_live_updates_in_the_same_node(watched) -> None:
    page = watched()
    page.page.evaluate(
        "window.first = document.querySelector('.cggm-plot'); window.inner = window.first.querySelector('.main-svg')"
    )
    page.page.locator(".cggm-plot").first.locator(".legendtoggle").nth(1).click()
    page.page.wait_for_function(
        "document.querySelector('.cggm-plot')._fullData.some((t) => t.visible === 'legendonly')"
    )
    hidden = page.hidden()
    page.page.wait_for_timeout(500)
    before = page.x_range()
    drag_zoom(page)
    zoomed = page.x_range()
    assert zoomed[1] - zoomed[0] < 0.5 * (before[1] - before[0])
    points = page.points()

    page.updates(7)

    assert page.points() > points
    assert page.x_range() == pytest.approx(zoomed)
    assert page.hidden() == hidden != []
    rebuilt = "document.querySelector('.cggm-plot') !== window.first || !window.inner.isConnected"
    assert page.page.evaluate(rebuilt) is False


def test_charts_of_one_page_share_their_x_range_and_a_double_click_resets_both(watched) -> None:
    page = watched()
    drag_zoom(page)
    page.updates(1, chart=1)
    assert page.x_range(1) == pytest.approx(page.x_range(0))
    page.page.locator(".cggm-plot").first.locator(".nsewdrag").first.dblclick()
    page.updates(2)
    assert page.x_range(0)[1] > 500
    assert page.x_range(1)[1] == pytest.approx(page.x_range(0)[1], rel=0.2)


def test_the_page_keeps_its_scroll_place(watched) -> None:
    page = watched()
    page.page.set_viewport_size({"width": 1000, "height": 420})
    page.page.mouse.move(500, 200)
    page.page.mouse.wheel(0, 260)
    page.page.wait_for_timeout(500)
    place = "document.querySelector('[data-testid=stMain]').scrollTop"
    scrolled = page.page.evaluate(place)
    assert scrolled > 0
    page.updates(3)
    assert page.page.evaluate(place) == scrolled


def test_a_lost_message_is_asked_for_again(watched) -> None:
    page = watched("lose=1")
    page.page.wait_for_function(
        "document.body.innerText.includes('tick 4') || /tick ([5-9]|\\d\\d)/.test(document.body.innerText)",
        timeout=30_000,
    )
    points = page.points()
    page.updates(4)
    assert page.points() > points


def test_the_keyboard_zooms_and_the_chart_says_what_it_shows(watched) -> None:
    page = watched()
    chart = page.page.locator(".cggm-chart").first
    label = chart.get_attribute("aria-label")
    assert "Scores on training batches by step. Newest values:" in label
    assert "audio" in label
    assert chart.get_attribute("tabindex") == "0"
    chart.focus()
    before = page.x_range()
    page.page.keyboard.press("+")
    page.updates(1)
    after = page.x_range()
    assert after[1] - after[0] < before[1] - before[0]
    page.page.keyboard.press("0")
    page.updates(1)
    assert page.x_range()[0] <= before[0] + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_page(watched, scheme: str) -> None:
    page = watched(scheme=scheme)
    page.page.wait_for_selector(".cggm-plot .xtick text", state="attached")
    text = page.page.evaluate("getComputedStyle(document.querySelector('.cggm-plot .xtick text')).fill")
    red = int(text.split("(")[1].split(",")[0])
    assert (red > 128) == (scheme == "dark")


def test_a_picture_can_be_saved_and_nothing_goes_to_a_cloud(watched) -> None:
    page = watched()
    titles = page.page.evaluate(
        "[...document.querySelectorAll('.cggm-plot')[0].querySelectorAll('.modebar-btn')]"
        ".map((b) => b.dataset.title ?? b.getAttribute('aria-label'))"
    )
    assert "Save as PNG" in titles
    assert "Save as SVG" in titles
    assert not any("share" in title.lower() or "cloud" in title.lower() for title in titles)
    page.page.locator(".cggm-plot").first.hover()
    with page.page.expect_download(timeout=20_000) as caught:
        page.page.locator(".cggm-plot").first.locator(
            "[data-title='Save as SVG'], [aria-label='Save as SVG']"
        ).first.click()
    assert caught.value.suggested_filename == "cggm-scores.svg"


def test_a_refresh_is_small_and_quick(watched) -> None:
    page = watched()
    page.updates(5)
    sizes = page.page.locator("text=/tick \\d+ bytes/").first.inner_text()
    assert max(int(word.strip(" [],")) for word in sizes.split("bytes")[1].split(",")) < 300_000
    page.updates(3)
    # The budget is 50 ms; a shared machine without a GPU may be several times slower for a moment.
    assert (
        min(page.page.evaluate("[...document.querySelectorAll('.cggm-plot')].map((p) => Number(p.dataset.blockedMs))"))
        < 250
    )
