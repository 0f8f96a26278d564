"""A first visit, from the command of `make run` on, with the seconds that each step of it took."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from cggm_core.store import open_reader
from tests.browser.charts import last_step, wait_draws
from tests.browser.conftest import ROOT, Watched, listening
from tests.browser.test_journey import start_through_the_form, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]


class Stations:
    """Seconds from station to station, and a picture of each."""

    def __init__(self, page: Any, pictures: Path, began: float) -> None:
        self._page, self._pictures, self._last = page, pictures, began
        self.seconds: dict[str, float] = {}

    def reached(self, name: str) -> None:
        self.seconds[name] = round(time.perf_counter() - self._last, 2)
        self._page.screenshot(path=self._pictures / f"first-visit-{len(self.seconds)}-{name.replace(' ', '-')}.png")
        self._last = time.perf_counter()


def fonts(document: bytes) -> list[tuple[str, bool]]:
    """Every font of a PDF with whether its shapes are in the file."""
    found = []
    for page in PdfReader(io.BytesIO(document)).pages:
        for font in (page["/Resources"].get("/Font") or {}).values():
            parts = [part.get_object() for part in font.get_object().get("/DescendantFonts", [font])]
            for part in parts:
                shapes = part.get_object().get("/FontDescriptor", {})
                inside = any(f"/FontFile{kind}" in shapes for kind in ("", "2", "3")) or "/CharProcs" in part
                found.append((str(part.get_object().get("/BaseFont", "")), inside))
    return found


def downloaded(page: Any, button: Any) -> tuple[str, bytes]:
    """Name and bytes of what a button saves."""
    with page.expect_download() as caught:
        button.click()
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def test_what_make_run_runs() -> None:
    # Under a make of its own, that one would say which folder it leaves.
    command = ["make", "-n", "--no-print-directory", "run"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert re.search(r"python -m cggm_core app$", said.strip().splitlines()[-1])


def test_a_first_visit_has_no_dead_end(driver: Any, tmp_path: Path, pictures: Path) -> None:
    runs = tmp_path / "runs"
    began = time.perf_counter()
    with listening(runs, tmp_path / "log", "cggm_core", "app", "--port") as address:
        watched = Watched(driver, address)
        page = watched.page
        at = Stations(page, pictures, began)
        watched.open()
        page.wait_for_selector("[data-testid=stDataFrame] canvas")
        at.reached("app open")

        page.locator("[data-testid=stSidebarNavLink]", has_text="Compare").click()
        page.wait_for_selector("h1:has-text('Compare')")
        page.locator(".cggm-plot .scatterlayer .trace").first.wait_for(state="attached")
        page.locator("text=difference").first.wait_for(state="attached")
        at.reached("samples compared")

        page.locator("[data-testid=stSidebarNavLink]").first.click()
        page.wait_for_selector("h1:has-text('Runs')")
        run_id = start_through_the_form(watched, "first", epochs=2000)
        at.reached("own run started")

        page.locator(".cggm-plot .scatterlayer .trace").first.wait_for(state="attached")
        before = last_step(page)
        wait_draws(page, 3)
        assert wait_for(lambda: last_step(page) > before)
        at.reached("monitor moving")

        page.get_by_role("button", name="Save", exact=True).first.click()
        name, figure = downloaded(page, page.get_by_role("button", name="PDF", exact=True))
        assert re.fullmatch(r"cggm-[\w-]+\.pdf", name)
        embedded = fonts(figure)
        assert embedded
        assert all(inside for _, inside in embedded), embedded
        assert "Step" in PdfReader(io.BytesIO(figure)).pages[0].extract_text()
        at.reached("figure exported")

        page.keyboard.press("Escape")
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Stop this run").click()
        assert wait_for(lambda: open_reader(runs / run_id).info().state == "stopped")
        page.wait_for_selector("text=Stopped before its planned end")
        at.reached("run stopped")

        watched.open(f"/report?runs={run_id}")
        page.get_by_role("button", name="Make the report").click()
        name, archive = downloaded(page, page.get_by_role("button", name=re.compile("^.*Download, ")))
        assert name == "cggm-report.zip"
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            assert opened.testzip() is None
            pdfs = [member for member in opened.namelist() if member.endswith(".pdf")]
            assert len(pdfs) >= 5
            assert all(inside for member in pdfs for _, inside in fonts(opened.read(member)))
            assert any(member.endswith(".tex") for member in opened.namelist())
        at.reached("report downloaded")
        watched.check()
        watched.close()
    (pictures.parent / "first-visit.json").write_text(json.dumps(at.seconds, indent=2) + "\n")
    print("seconds at each station:", at.seconds)
