"""The address is the view: reload, Back and two people at once; and a file larger than the page takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import Visit
from tests.pages import making

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
TOO_LARGE = 21 << 20  # bytes; the settings take 20 MB


def test_reload_and_back_show_what_was_there_and_two_people_do_not_meet(visit: Visit, runs: Path) -> None:
    one, two = (making.finished(runs, making.config(name=name)) for name in ("first of two", "second of two"))
    mine, theirs = visit(f"/monitor?run={one}"), visit(f"/monitor?run={two}")
    mine.page.get_by_role("heading", name="first of two").wait_for()
    theirs.page.get_by_role("heading", name="second of two").wait_for()

    mine.page.get_by_text("epoch", exact=True).click()
    mine.settled()
    mine.page.reload()
    mine.page.get_by_role("heading", name="first of two").wait_for()
    assert theirs.page.get_by_role("heading", name="second of two").count() == 1

    mine.page.locator("[data-testid=stSidebarNavLink]", has_text="Library").click()
    mine.page.wait_for_selector("h1:has-text('Library')")
    mine.page.go_back()
    mine.page.wait_for_selector("h1:has-text('Monitor')")
    mine.page.get_by_role("heading", name="first of two").wait_for()
    for watched in (mine, theirs):
        watched.settled()
        watched.check()


def test_a_file_larger_than_the_page_takes_is_refused_in_words(visit: Visit, runs: Path, tmp_path: Path) -> None:
    before = sorted(path.parent.name for path in runs.glob("*/run.db"))
    (tmp_path / "large.zip").write_bytes(bytes(TOO_LARGE))
    watched = visit()
    watched.page.get_by_role("button", name="Import").first.click()
    watched.page.locator("input[type=file]").set_input_files(tmp_path / "large.zip")
    watched.page.get_by_text("must be 20").first.wait_for(timeout=20_000)
    watched.settled()
    assert sorted(path.parent.name for path in runs.glob("*/run.db")) == before
    watched.check()
