"""The whole way of a person through the app, in a real Chromium, with a real training."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cggm_core import catalog
from cggm_core.store import Catalogue, open_reader, read_marks, trash, trashed
from tests.browser.charts import hidden, hide_a_line, last_step, wait_draws, x_range, zoom
from tests.browser.conftest import ROOT, Visit, Watched, address_of, served
from tests.pages import making
from tests.pages.test_pages import HOSTILE, hostile

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
PAINT_SECONDS = 2.0


def sample_run(runs: Path) -> str:
    """A run that came with the lab; a finished one of ours where there is none."""
    samples = [info for info in Catalogue(ROOT / "sample_runs").runs() if info.state == "finished"]
    return samples[0].id if samples else making.finished(runs, making.config(name="reference"))


def event_on_every_chart(page: Any) -> int:
    """Look at one chart after the other until each draws the changed setting; how many there are."""
    plots = page.locator(".cggm-plot").all()
    for plot in plots:
        plot.scroll_into_view_if_needed()
        drawn = "(plot) => (plot.layout?.shapes || []).some((shape) => shape.name === 'event set')"
        assert wait_for(lambda plot=plot, drawn=drawn: plot.evaluate(drawn))
    plots[0].scroll_into_view_if_needed()
    return len(plots)


def start_through_the_form(watched: Watched, name: str, epochs: int) -> str:
    """Fill the form, start, arrive at the monitor; the id of the run."""
    page = watched.page
    page.get_by_role("button", name="New run").click()
    page.wait_for_selector("h1:has-text('New run')")
    page.get_by_role("spinbutton", name="epochs", exact=True).fill(str(epochs))
    page.keyboard.press("Tab")
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    page.keyboard.press("Tab")
    watched.settled()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_selector("h1:has-text('Monitor')", timeout=120_000)
    page.wait_for_function("new URL(location.href).searchParams.get('run') !== null")
    return str(page.evaluate("new URL(location.href).searchParams.get('run')"))


def test_start_watch_intervene_stop_and_compare(visit: Visit, runs: Path, pictures: Path) -> None:
    reference = sample_run(runs)
    watched = visit()
    page = watched.page
    page.wait_for_selector("[data-testid=stDataFrame] canvas")
    page.screenshot(path=pictures / "1-runs.png")

    run_id = start_through_the_form(watched, "journey", epochs=5000)
    page.wait_for_selector(".cggm-plot .scatterlayer .trace", timeout=120_000)
    first = last_step(page)
    page.wait_for_function(
        "([...document.querySelectorAll('.cggm-plot')]).some((plot) => (plot.data || [])"
        f".some((trace) => trace.x.length && trace.x[trace.x.length - 1] > {first} + 5))"
    )
    page.screenshot(path=pictures / "2-monitor-live.png")

    mounted = page.evaluate(
        "[...document.querySelectorAll('.cggm-plot')].map((plot) => { plot.dataset.mounted = 'first'; }).length"
    )
    away, zoomed, drawn = hide_a_line(page), zoom(page), last_step(page)

    rho = page.get_by_role("spinbutton", name="ρ (rho)", exact=True)
    rho.fill("1.7")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Apply").click()
    wait_draws(page, 5)
    assert event_on_every_chart(page) >= 5
    # Past a thousand steps a sentence says how lines are thinned; nothing that comes and goes may mount a chart anew.
    page.wait_for_function("document.body.innerText.includes('steps are recorded')")
    assert page.locator(".cggm-plot[data-mounted=first]").count() == mounted
    heard = wait_for(lambda: [e for e in open_reader(runs / run_id).events() if e.kind == "set"])
    assert heard[0].data["rho"] == 1.7
    page.wait_for_selector("text=Done at step")
    assert last_step(page) > drawn
    assert x_range(page) == pytest.approx(zoomed)
    assert hidden(page) == away != []
    page.screenshot(path=pictures / "3-monitor-after-rho.png", full_page=True)

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Stop this run").click()
    assert wait_for(lambda: open_reader(runs / run_id).info().state == "stopped")
    page.wait_for_selector("text=Stopped before its planned end")
    watched.settled()
    page.screenshot(path=pictures / "4-monitor-stopped.png")

    watched.open(f"/compare?runs={reference},{run_id}")
    page.wait_for_selector(".cggm-plot .scatterlayer .trace")
    watched.settled()
    page.screenshot(path=pictures / "5-compare.png")
    assert watched.page.locator("text=journey").count() > 0
    watched.check()


def wait_for(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What a question answers once the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return answer


@pytest.mark.parametrize("page", catalog.all_cards("page"))
def test_what_users_typed_loads_links_and_draws_nothing(page: str, visit: Visit, runs: Path) -> None:
    text = " ".join(HOSTILE[kind] for kind in ("image", "html", "link", "icons", "latex"))
    run_id = hostile(runs, text)
    watched = visit(address_of(page, run_id))
    watched.settled()
    watched.page.wait_for_timeout(700)
    main = watched.page.locator("[data-testid=stMain]")
    assert main.locator("img[src*='evil'], a[href*='evil'], a[href^='javascript'], .katex, script").count() == 0
    watched.check()


def tick_first_row(watched: Watched, table: int = 0, said: str = "1 run, 1 ticked.") -> None:
    found = watched.page.locator("[data-testid=stDataFrame]").nth(table)
    found.locator("canvas").first.wait_for()
    watched.settled()
    found.scroll_into_view_if_needed()
    box = found.bounding_box()
    watched.page.mouse.click(box["x"] + 16, box["y"] + 36 + 18)
    watched.page.wait_for_selector(f"text={said}")


def test_a_chosen_run_stays_chosen_when_another_one_starts(visit: Visit, runs: Path) -> None:
    making.finished(runs, making.config(name="to be chosen"))
    watched = visit("/?q=chosen")
    page = watched.page
    tick_first_row(watched)
    making.finished(runs, making.config(name="chosen later"))
    page.get_by_role("button", name="Show 1 more that came since").click(timeout=30_000)
    page.wait_for_selector("text=2 runs, 1 ticked.")
    page.get_by_role("button", name="Edit").click()
    name = page.get_by_role("dialog").get_by_role("textbox", name="Name")
    assert wait_for(lambda: name.input_value() == "to be chosen")
    watched.check()


def test_a_run_is_described_deleted_restored_and_deleted_for_good(visit: Visit, runs: Path) -> None:
    run_id = making.finished(runs, making.config(name="to be mended"))
    watched = visit("/?q=mended")
    page = watched.page
    tick_first_row(watched)
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Tags").fill("x, y")
    dialog.get_by_role("textbox", name="Notes").fill("why it was mended")
    dialog.get_by_role("button", name="Save").click()
    marks = wait_for(lambda: read_marks(runs / run_id, {}).notes and read_marks(runs / run_id, {}))
    assert (marks.name, marks.tags, marks.notes) == ("to be mended", ("x", "y"), "why it was mended")
    page.wait_for_selector("text=why it was mended")

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Move 1 to the trash").click()
    assert wait_for(lambda: trashed(runs) == (run_id,))
    for action, left in (("Restore", ()), ("Delete for good", ())):
        if not trashed(runs):
            trash(runs, run_id)
            watched.open("/?q=mended")
        # A dialog that closes gives the keyboard back to the button that opened it.
        page.get_by_role("dialog").wait_for(state="detached")
        watched.settled()
        page.get_by_text("Trash (1)").click()
        # While a table without rows stands above it, the trash is the first one.
        page.get_by_label("Search the trash").wait_for()
        tick_first_row(watched, said="1 listed, 1 ticked.")
        page.get_by_role("button", name=action).click()
        if action == "Delete for good":
            page.get_by_role("dialog").get_by_role("button", name=action).click()
        assert wait_for(lambda left=left: trashed(runs) == left)
    assert not (runs / run_id).exists()
    watched.settled()
    watched.check()


def test_a_thousand_runs_paint_in_time(driver: Any, tmp_path: Path, pictures: Path) -> None:
    making.many(tmp_path, 1000)
    with served(tmp_path, tmp_path / "server.log") as address:
        warm = Watched(driver, address)
        warm.open()
        warm.page.wait_for_selector("[data-testid=stDataFrame] canvas")
        paints = []
        for _ in range(3):
            began = time.perf_counter()
            warm.open()
            warm.page.wait_for_selector("[data-testid=stDataFrame] canvas")
            paints.append(time.perf_counter() - began)
        painted = min(paints)
        warm.page.screenshot(path=pictures / "thousand-runs.png")
        warm.check()
        warm.close()
    # The machine of the tests is shared, so twice the budget is still a pass and more is a fault of ours.
    assert painted <= 2 * PAINT_SECONDS, f"{painted:.2f} s"
    (pictures / "thousand-runs.txt").write_text(f"painted after {painted:.2f} s\n")
