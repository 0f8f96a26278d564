import base64
from typing import Any

import numpy as np

from cggm_core.ui.chart.delta import Sent, message


class Browser:
    """The browser's side of the messages, as chart.js has it."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.traces: dict[str, dict[str, Any]] = {}
        self.layout: Any = None

    def take(self, sent: dict[str, Any]) -> bool:
        if sent["version"] == self.version:
            return True
        if sent["base"] is not None and sent["base"] != self.version:
            return False
        known = {} if sent["base"] is None else self.traces
        self.traces = {}
        for one in sent["traces"]:
            trace = known.get(one["uid"], {})
            trace["style"] = one.get("style", trace.get("style"))
            for name in ("x", "y"):
                if name in one:
                    tail = np.frombuffer(base64.b64decode(one[name]["bdata"]), one[name]["dtype"])
                    old = trace.get(name, tail[:0])[: one["keep"]]
                    trace[name] = np.concatenate([old, tail]).astype(tail.dtype)
            self.traces[one["uid"]] = trace
        self.layout = sent.get("layout", self.layout)
        self.version = sent["version"]
        return True


def figure(rows: int, *, title: str = "", first: float = 0.0) -> dict[str, Any]:
    y = np.arange(rows, dtype=np.float32) * 0.5
    if rows > 2:
        y[1] = np.nan
        y[0] = first
    traces = [{"uid": uid, "name": uid, "x": np.arange(rows, dtype=np.int32), "y": y} for uid in ("a", "b")]
    return {"data": traces, "layout": {"title": title}}


def same(browser: Browser, drawn: dict[str, Any]) -> bool:
    return browser.layout == drawn["layout"] and all(
        np.array_equal(browser.traces[t["uid"]]["y"], t["y"], equal_nan=True)
        and np.array_equal(browser.traces[t["uid"]]["x"], t["x"])
        for t in drawn["data"]
    )


def test_a_growing_figure_arrives_whole_and_only_its_end_is_sent() -> None:
    browser, before = Browser(), None
    sizes = []
    for rows in (0, 1, 500, 501, 501, 520, 300):
        drawn = figure(rows)
        sent, before = message(drawn, before, "s")
        assert browser.take(sent)
        assert same(browser, drawn)
        sizes.append(len(str(sent)))
    assert sizes[3] < sizes[2] / 10
    assert sizes[4] < 60


def test_a_change_inside_is_sent_from_there_on() -> None:
    browser = Browser()
    sent, before = message(figure(50), None, "s")
    browser.take(sent)
    changed = figure(50, first=7.0)
    sent, _ = message(changed, before, "s")
    assert sent["traces"][0]["keep"] == 0
    assert browser.take(sent)
    assert same(browser, changed)


def test_a_new_layout_or_style_is_sent_and_arrays_are_not() -> None:
    _, before = message(figure(50), None, "s")
    sent, before = message(figure(50, title="new"), before, "s")
    assert sent["layout"] == {"title": "new"}
    assert all(set(trace) == {"uid"} for trace in sent["traces"])
    renamed = figure(50, title="new")
    renamed["data"][0]["name"] = "other"
    sent, _ = message(renamed, before, "s")
    assert [set(trace) for trace in sent["traces"]] == [{"uid", "style"}, {"uid"}]


def test_a_lost_message_is_noticed_and_everything_mends_it() -> None:
    browser = Browser()
    sent, before = message(figure(5), None, "s")
    browser.take(sent)
    _, before = message(figure(6), before, "s")  # never arrives
    sent, before = message(figure(7), before, "s")
    assert not browser.take(sent)
    sent, before = message(figure(7), before, "s", whole=True)
    assert sent["base"] is None
    assert browser.take(sent)
    assert same(browser, figure(7))
    assert len(str(message(figure(7), before, "s")[0])) < 60


def test_other_traces_start_afresh() -> None:
    _, before = message(figure(5), None, "s")
    other = figure(5)
    other["data"] = other["data"][:1]
    sent, _ = message(other, before, "s")
    assert sent["base"] is None


def test_another_type_of_array_is_sent_whole() -> None:
    _, before = message(figure(5), None, "s")
    assert isinstance(before, Sent)
    floats = figure(5)
    floats["data"][0]["x"] = floats["data"][0]["x"].astype(np.float32)
    sent, _ = message(floats, before, "s")
    assert sent["traces"][0]["keep"] == 0
