import base64
import json
from typing import Any

import numpy as np

from cggm_core.ui.chart.delta import Picture, message


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


def told(drawn: dict[str, Any], before: Picture | None, *, whole: bool = False) -> tuple[dict[str, Any], Picture]:
    sent, after = message(Picture.of(drawn), before, whole=whole)
    return json.loads(sent), after


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
        sent, before = told(drawn, before)
        assert browser.take(sent)
        assert same(browser, drawn)
        sizes.append(len(str(sent)))
    assert sizes[3] < sizes[2] / 10
    assert sizes[4] < 60


def test_a_change_inside_is_sent_from_there_on() -> None:
    browser = Browser()
    sent, before = told(figure(50), None)
    browser.take(sent)
    changed = figure(50, first=7.0)
    sent, _ = told(changed, before)
    assert sent["traces"][0]["keep"] == 0
    assert browser.take(sent)
    assert same(browser, changed)


def test_a_new_layout_or_style_is_sent_and_arrays_are_not() -> None:
    _, before = told(figure(50), None)
    sent, before = told(figure(50, title="new"), before)
    assert sent["layout"] == {"title": "new"}
    assert all(set(trace) == {"uid"} for trace in sent["traces"])
    renamed = figure(50, title="new")
    renamed["data"][0]["name"] = "other"
    sent, _ = told(renamed, before)
    assert [set(trace) for trace in sent["traces"]] == [{"uid", "style"}, {"uid"}]


def test_a_lost_message_is_noticed_and_everything_mends_it() -> None:
    browser = Browser()
    sent, before = told(figure(5), None)
    browser.take(sent)
    _, before = told(figure(6), before)  # never arrives
    sent, before = told(figure(7), before)
    assert not browser.take(sent)
    sent, before = told(figure(7), before, whole=True)
    assert sent["base"] is None
    assert browser.take(sent)
    assert same(browser, figure(7))
    assert len(str(told(figure(7), before)[0])) < 60


def test_other_traces_start_afresh() -> None:
    _, before = told(figure(5), None)
    other = figure(5)
    other["data"] = other["data"][:1]
    sent, _ = told(other, before)
    assert sent["base"] is None


def test_another_type_of_array_is_sent_whole() -> None:
    _, before = told(figure(5), None)
    floats = figure(5)
    floats["data"][0]["x"] = floats["data"][0]["x"].astype(np.float32)
    sent, _ = told(floats, before)
    assert sent["traces"][0]["keep"] == 0


def test_viewers_who_hold_the_same_are_told_the_same_worked_out_once() -> None:
    first, second = Picture.of(figure(100)), Picture.of(figure(110))
    sent = [message(second, first)[0] for _ in range(3)]
    assert sent[0] is sent[1] is sent[2]
    late, _ = message(second, None)
    assert json.loads(late)["base"] is None
    assert json.loads(message(second, second)[0]) == {"version": second.version, "base": second.version}
