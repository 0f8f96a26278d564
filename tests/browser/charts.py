"""What a test asks of the live charts of a page, and does to them with the mouse."""

from __future__ import annotations

from typing import Any


def draws(page: Any, chart: int = 0) -> int:
    """How often the chart was drawn so far."""
    return int(page.evaluate(f"Number(document.querySelectorAll('.cggm-plot')[{chart}].dataset.draws)"))


def wait_draws(page: Any, more: int, chart: int = 0) -> None:
    """Wait until the chart was drawn so many times more."""
    wanted = draws(page, chart) + more
    page.wait_for_function(f"Number(document.querySelectorAll('.cggm-plot')[{chart}].dataset.draws) >= {wanted}")


def x_range(page: Any, chart: int = 0) -> list[float]:
    return list(page.evaluate(f"[...document.querySelectorAll('.cggm-plot')[{chart}].layout.xaxis.range]"))


def points(page: Any, chart: int = 0) -> int:
    """Points of the longest line."""
    return int(
        page.evaluate(f"Math.max(...document.querySelectorAll('.cggm-plot')[{chart}].data.map((t) => t.x.length))")
    )


def last_step(page: Any) -> float:
    """The largest step on any chart; -1 where nothing is drawn."""
    return float(
        page.evaluate(
            "Math.max(-1, ...[...document.querySelectorAll('.cggm-plot')].flatMap("
            "(plot) => (plot.data || []).map((trace) => trace.x.length ? trace.x[trace.x.length - 1] : -1)))"
        )
    )


def hidden(page: Any) -> list[str]:
    """Lines of the first chart that its legend hides."""
    return list(
        page.evaluate(
            "document.querySelector('.cggm-plot')._fullData.filter((t) => t.visible === 'legendonly')"
            ".map((t) => t.name)"
        )
    )


def hide_a_line(page: Any) -> list[str]:
    """Hide the second line of the first chart; the names that are hidden now."""
    page.locator(".cggm-plot").first.locator(".legendtoggle").nth(1).click()
    page.wait_for_function("document.querySelector('.cggm-plot')._fullData.some((t) => t.visible === 'legendonly')")
    found = hidden(page)
    page.wait_for_timeout(600)  # the legend waits for a second click before it lets the mouse go
    return found


def zoom(page: Any) -> list[float]:
    """Drag over a part of the first chart; the x range it shows then."""
    box = page.locator(".cggm-plot").first.locator(".nsewdrag").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=6)
    page.mouse.up()
    page.wait_for_timeout(500)
    return x_range(page)
