"""Every page in a real Chromium: in its frame, in light and dark, wide and narrow, and open to everyone (axe-core)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cggm_core import catalog
from tests.browser.conftest import Visit, Watched, address_of
from tests.pages import making

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
PAGES = tuple(catalog.all_cards("page"))
BAD = ("serious", "critical")


class Allowed(NamedTuple):
    """A finding that cannot be mended from here: the rule, which elements, and why."""

    rule: str
    selector: str
    reason: str


# Short, and better kept so: what a rule of style can mend is mended by `ui/theme_css.py`.
ALLOWED = (
    Allowed("list", "[data-testid=stSidebarNavItems]", "Streamlit puts the pages of a section into a div of the list"),
    Allowed("listitem", "[data-testid=stSidebarNavItems] > div > li", "the same div, seen from the pages' side"),
)


def findings(page: Any) -> list[str]:
    """What axe finds serious or critical and nobody allowed; also headings that skip a level."""
    answer = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{violation['id']}: {node['html'][:200]}: {[why['message'] for why in node['any'] + node['all']][:1]}"
        for violation in answer["violations"]
        if violation["impact"] in BAD or violation["id"] == "heading-order"
        for node in violation["nodes"]
        if not allowed(page, violation["id"], node["target"])
    ]


def allowed(page: Any, rule: str, target: list[str]) -> bool:
    """Whether the element is one of those the list excuses from the rule."""
    selectors = [one.selector for one in ALLOWED if one.rule == rule]
    asked = "([at, all]) => all.some((one) => document.querySelector(at)?.matches(one))"
    return bool(selectors) and bool(page.evaluate(asked, [target[-1], selectors]))


def lasting(page: Any) -> list[str]:
    """Findings of a page that refreshes itself: what is being drawn anew is faded for a moment."""
    for _ in range(4):
        if not (found := findings(page)):
            return []
        page.wait_for_timeout(500)
    return found


def sideways(watched: Watched) -> int:
    """By how many pixels the page is wider than its window."""
    return int(watched.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def finished(runs: Path) -> str:
    return making.finished(runs, making.config(name="looked at"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_stands_in_its_frame_and_axe_finds_nothing(
    page: str, scheme: str, visit: Visit, finished: str, pictures: Path
) -> None:
    watched = visit(address_of(page, finished), scheme=scheme)
    watched.settled()
    titles = watched.page.locator("[data-testid=stSidebarNavLink]").all_inner_texts()
    assert len(titles) == len(PAGES)
    watched.page.wait_for_timeout(700)
    watched.page.screenshot(path=pictures / f"page-{page}-{scheme}-1440.png")
    assert findings(watched.page) == []
    for width in (800, 320) if scheme == "light" else ():
        watched.page.set_viewport_size({"width": width, "height": 900})
        watched.page.wait_for_timeout(500)
        watched.page.screenshot(path=pictures / f"page-{page}-{scheme}-{width}.png")
        assert sideways(watched) <= 0, f"the page scrolls sideways at {width} pixels"
    watched.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_monitor_of_a_live_run_and_in_its_menus(
    scheme: str, visit: Visit, runs: Path, pictures: Path
) -> None:
    run_id, process = making.living(runs)
    try:
        watched = visit(f"/monitor?run={run_id}", scheme=scheme)
        watched.page.wait_for_selector(".cggm-plot .scatterlayer .trace", state="attached")
        assert lasting(watched.page) == []
        for name in ("Save", "Stop"):
            watched.page.get_by_role("button", name=name, exact=True).first.click()
            watched.page.get_by_role("dialog").wait_for()
            watched.settled()
            watched.page.screenshot(path=pictures / f"monitor-{name.lower()}-{scheme}.png")
            assert lasting(watched.page) == []
            watched.page.keyboard.press("Escape")
            watched.page.get_by_role("dialog").wait_for(state="detached")
        watched.check()
    finally:
        process.kill()
        process.communicate()


def test_axe_finds_what_is_planted(driver: Any) -> None:
    page = driver.new_page()
    page.set_content("<html lang=en><title>x</title><main><h1>a</h1><h3>b</h3><img src='data:,'><input></main>")
    found = " ".join(findings(page))
    page.close()
    for rule in ("image-alt", "label", "heading-order"):
        assert f"{rule}:" in found


# Whether what has the focus, or what it stands in, looks otherwise with it than without.
SHOWN = """async () => {
  const e = document.activeElement;
  const name = e.getAttribute('href') || e.innerText || e.getAttribute('aria-label') || '';
  // The place that scrolls takes the focus for the arrow keys; there is nothing in it to press.
  if (e === document.body || e.matches('[data-testid=stMain]')) return ['', true];
  const look = () => {
    const found = [];
    for (let at = e, up = 0; at && up < 4; at = at.parentElement, up += 1) {
      const s = getComputedStyle(at);
      found.push(s.outline, s.boxShadow, s.borderColor, s.backgroundColor, s.textDecoration);
    }
    return found.join();
  };
  const settle = () => new Promise((done) => setTimeout(done, 120));
  await settle();
  const focused = look();
  e.blur();
  await settle();
  const plain = look();
  e.focus();
  return [name, focused !== plain];
}"""


def test_the_keyboard_reaches_the_way_to_every_page_and_shows_where_it_is(visit: Visit, finished: str) -> None:
    watched = visit(address_of("report", finished))
    watched.settled()
    reached: set[str] = set()
    unseen: set[str] = set()
    for _ in range(60):
        watched.page.keyboard.press("Tab")
        name, seen = watched.page.evaluate(SHOWN)
        reached.add(name.rstrip("/").rsplit("/", 1)[-1])
        if not seen:
            unseen.add(name)
    assert not unseen
    assert {page for page in PAGES if page != "runs"} <= reached
    watched.check()
