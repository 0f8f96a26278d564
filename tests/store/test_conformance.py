"""One suite over every implementation of the protocols."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cggm_core.errors import StoreError, WriterConflictError
from cggm_core.names import MetricKey
from cggm_core.store import (
    Contribution,
    MemoryRun,
    RobustnessCurve,
    create_run,
    open_reader,
    open_writer,
    run_folder,
)
from cggm_core.store.protocols import News, RunReader, RunWriter

LOSS, SCORE, OTHER = MetricKey("loss"), MetricKey("score", "audio"), MetricKey("other")


@dataclass
class Store:
    """A fresh run of one implementation; `writer` may be called again after the first one finished."""

    writer: Callable[..., RunWriter]
    reader: Callable[[], RunReader]


def memory_store(tmp_path: Path) -> Store:
    run = MemoryRun({"name": "a run", "method": "joint"})
    return Store(run.writer, run.reader)


def sqlite_store(tmp_path: Path) -> Store:
    folder = run_folder(tmp_path, create_run(tmp_path, '{"name": "a run", "method": "joint"}'))
    return Store(lambda **named: open_writer(folder, **named), lambda: open_reader(folder))


IMPLEMENTATIONS = {"memory": memory_store, "sqlite": sqlite_store}


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: IMPLEMENTATIONS[request.param](tmp_path)


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    return make()


def bits(values: Any) -> list[int]:
    return np.asarray(values, np.float64).view(np.int64).tolist()


def values_of(reader: RunReader, key: MetricKey, **named: Any) -> tuple[list[int], list[float]]:
    series = reader.series([key], **named)[key]
    assert len(series.step) == len(series.epoch) == len(series.seconds) == len(series.value)
    return series.step.tolist(), series.value.tolist()


class Consumer:
    """What a page holds when it follows the news as the contract says."""

    def __init__(self, reader: RunReader) -> None:
        self.reader, self.cursor = reader, None
        self.held: dict[MetricKey, list[tuple[int, int]]] = {}
        self.events: list[int] = []

    def poll(self) -> News:
        news = self.reader.news(self.cursor)
        self.cursor = news.cursor
        if news.restart:
            self.held = {key: [p for p in rows if p[0] < news.restart_from] for key, rows in self.held.items()}
        for key, series in news.series.items():
            self.held.setdefault(key, []).extend(zip(series.step.tolist(), bits(series.value), strict=True))
        self.events += [event.seq for event in news.events]
        return news

    def check(self) -> None:
        for key, series in self.reader.series(self.reader.keys()).items():
            assert self.held.get(key, []) == list(zip(series.step.tolist(), bits(series.value), strict=True))
        assert self.events == [event.seq for event in self.reader.events()]


def test_a_fresh_run_is_starting_and_empty(store: Store) -> None:
    reader = store.reader()
    info = reader.info()
    assert (info.state, info.step, info.epoch, info.damaged) == ("starting", -1, -1, "")
    assert info.name == "a run"
    assert info.config["method"] == "joint"
    assert reader.keys() == reader.events() == reader.attempts() == reader.snapshots() == ()
    assert reader.contributions() == reader.robustness() == ()
    assert reader.series([LOSS])[LOSS].total == 0
    news = reader.news()
    assert (dict(news.series), news.events, news.restart) == ({}, (), False)


def test_rows_come_back_with_step_epoch_and_order(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(300):
        writer.log(stream, step, step // 100, [step / 7, -float(step)])
    assert writer.flush()
    series = store.reader().series([SCORE, LOSS])
    assert list(series) == [SCORE, LOSS]
    assert series[LOSS].step.tolist() == list(range(300))
    assert series[LOSS].epoch.tolist() == [step // 100 for step in range(300)]
    assert series[LOSS].value.tolist() == [step / 7 for step in range(300)]
    assert series[SCORE].value.tolist() == [-float(step) for step in range(300)]
    assert np.all(np.diff(series[LOSS].seconds) >= 0)
    assert store.reader().keys() == (LOSS, SCORE)
    writer.finish("finished")


def test_range_and_points(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS])
    for step in range(500):
        writer.log(stream, step, 0, [math.sin(step)])
    writer.flush()
    reader = store.reader()
    assert values_of(reader, LOSS, first=10, last=12)[0] == [10, 11, 12]
    few = reader.series([LOSS], max_points=50)[LOSS]
    assert len(few.step) <= 50
    assert few.total == 500
    assert {0, 499} <= set(few.step.tolist())
    with pytest.raises(StoreError, match="max_points"):
        reader.series([LOSS], max_points=3)
    writer.finish("finished")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40))
def test_every_bit_pattern_survives(make: Callable[[], Store], patterns: list[int]) -> None:
    values = np.array(patterns, np.uint64).view(np.float64)
    store = make()
    writer = store.writer()
    stream = writer.stream("step", [LOSS, SCORE])
    for step, value in enumerate(values):
        writer.log(stream, step, 0, np.array([value, -value]))
    writer.finish("finished")
    found = store.reader().series([LOSS])[LOSS].value
    assert found.view(np.uint64).tolist() == patterns


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7e308, float(2**53 + 2)]


def test_special_values_as_tuple_list_array_float32_and_function(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("s", [MetricKey(f"m{i}") for i in range(len(SPECIAL))])
    negative_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0123))[0]
    row = [*SPECIAL[:4], negative_nan, *SPECIAL[5:]]
    reused = np.array(row)
    writer.log(stream, 0, 0, tuple(row))
    writer.log(stream, 1, 0, list(row))
    writer.log(stream, 2, 0, reused)
    writer.log(stream, 3, 0, lambda: np.array(row))
    reused[:] = 7.0
    writer.flush()
    series = store.reader().series(store.reader().keys())
    for place, value in enumerate(row):
        assert bits(series[MetricKey(f"m{place}")].value) == bits([value] * 4)
    writer.finish("finished")


NAMES = [
    "step",
    "time",
    "__proto__",
    "a/b",
    "../../x",
    "<script>",
    "=1+1",
    "ε 𝛼 🎧",
    "",
    "x" * 10_000,
    "y" * 4096,
]


def test_any_name_is_only_a_name(store: Store) -> None:
    writer = store.writer()
    keys = [MetricKey(name, modality) for name in NAMES for modality in ("", "audio|text", "mod'\";--")]
    stream = writer.stream(NAMES[-2], keys)
    writer.log(stream, 5, 0, [float(i) for i in range(len(keys))])
    writer.flush()
    assert store.reader().keys() == tuple(keys)
    assert [values_of(store.reader(), key)[1] for key in keys] == [[float(i)] for i in range(len(keys))]
    writer.finish("finished")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5, unique=True), st.text())
def test_unicode_names_and_texts(make: Callable[[], Store], names: list[tuple[str, str]], text: str) -> None:
    store = make()
    writer = store.writer()
    keys = [MetricKey(*name) for name in names]
    writer.log(writer.stream(text, keys), 0, 0, [1.0] * len(keys))
    writer.event(0, text, text, {text: text})
    writer.finish("finished", text)
    assert store.reader().keys() == tuple(keys)
    event = store.reader().events()[0]
    assert (event.kind, event.text, dict(event.data)) == (text, text, {text: text})
    assert store.reader().info().reason == text


def test_steps_in_any_order_and_the_last_row_of_a_step_wins(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS])
    for step, value in [(5, 1.0), (3, 2.0), (10**12, 3.0), (-4, 4.0), (5, 5.0), (3, 6.0)]:
        writer.log(stream, step, 0, [value])
    writer.flush()
    assert values_of(store.reader(), LOSS) == ([-4, 3, 5, 10**12], [4.0, 6.0, 5.0, 3.0])
    writer.finish("finished")
    assert values_of(store.reader(), LOSS) == ([-4, 3, 5, 10**12], [4.0, 6.0, 5.0, 3.0])
    summary = store.reader().info().summary[LOSS]
    assert (summary.count, summary.low, summary.high, summary.last) == (4, 3.0, 6.0, 3.0)


def test_a_new_metric_in_mid_run_and_a_sparse_stream(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS])
    for step in range(10):
        writer.log(stream, step, 0, [1.0])
    wider = writer.stream("step", [LOSS, OTHER])
    assert wider != stream
    assert writer.stream("step", [LOSS]) == stream
    sparse = writer.stream("epoch", [SCORE])
    for step in range(10, 20):
        writer.log(wider, step, 1, [2.0, 3.0])
    writer.log(sparse, 9, 0, [0.5])
    writer.flush()
    reader = store.reader()
    assert reader.keys() == (LOSS, OTHER, SCORE)
    assert values_of(reader, LOSS) == (list(range(20)), [1.0] * 10 + [2.0] * 10)
    assert values_of(reader, OTHER)[0] == list(range(10, 20))
    assert values_of(reader, SCORE) == ([9], [0.5])
    assert reader.info().summary[LOSS].count == 20
    writer.finish("finished")


def test_no_columns_and_five_thousand(store: Store) -> None:
    writer = store.writer()
    writer.log(writer.stream("none", []), 0, 0, [])
    keys = [MetricKey(f"m{i}") for i in range(5000)]
    wide = writer.stream("wide", keys)
    for step in range(3):
        writer.log(wide, step, 0, np.arange(5000.0) + step)
    writer.flush()
    assert values_of(store.reader(), keys[4321])[1] == [4321.0, 4322.0, 4323.0]
    writer.finish("finished")


def test_wrong_calls_say_what_is_expected(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS, SCORE])
    with pytest.raises(StoreError, match="2 columns, got 3"):
        writer.log(stream, 0, 0, [1.0, 2.0, 3.0])
    with pytest.raises(StoreError, match="no stream 7"):
        writer.log(7, 0, 0, [1.0, 2.0])
    with pytest.raises(StoreError, match="twice"):
        writer.stream("step", [LOSS, LOSS])
    with pytest.raises(StoreError, match="numeric"):
        writer.snapshot(0, 0, "fused", "", np.array([object()]))
    writer.finish("finished")


def test_summaries_agree_with_the_histories(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS, SCORE])
    generator = np.random.default_rng(3)
    values = generator.normal(size=(200, 2))
    values[::7, 0], values[3, 1], values[5, 1] = np.nan, np.inf, -np.inf
    for step, row in enumerate(values):
        writer.log(stream, step, 0, row)
        if step % 50 == 49:
            writer.flush()
    writer.flush()
    info = store.reader().info()
    for column, key in enumerate((LOSS, SCORE)):
        shown = np.where(np.isfinite(values[:, column]), values[:, column], np.nan)
        found = info.summary[key]
        assert (found.count, found.nonfinite) == (200, int(np.isnan(shown).sum()))
        assert (found.low, found.low_step) == (np.nanmin(shown), int(np.nanargmin(shown)))
        assert (found.high, found.high_step) == (np.nanmax(shown), int(np.nanargmax(shown)))
        assert bits(found.last) == bits(values[-1, column])
        assert found.last_step == 199
    assert (info.step, info.epoch) == (199, 0)
    writer.finish("finished")


def test_a_series_of_nan_only_has_no_extremes(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS])
    writer.log(stream, 4, 0, [math.nan])
    writer.flush()
    found = store.reader().info().summary[LOSS]
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.low_step, found.high_step, found.last_step, found.nonfinite) == (-1, -1, 4, 1)
    writer.finish("finished")


def test_states_progress_and_the_end(store: Store) -> None:
    writer = store.writer()
    reader = store.reader()
    writer.progress(1000, 10)
    writer.flush()
    assert (reader.info().state, reader.info().steps, reader.info().epochs) == ("starting", 1000, 10)
    stream = writer.stream("step", [LOSS])
    writer.log(stream, 0, 0, [1.0])
    writer.flush()
    assert reader.info().state == "running"
    writer.state("paused")
    writer.flush()
    assert reader.info().state == "paused"
    writer.state("running")
    writer.log(stream, 1, 3, [1.0])
    writer.finish("failed", "loss became NaN at step 1")
    info = reader.info()
    assert (info.state, info.reason, info.step, info.epoch) == ("failed", "loss became NaN at step 1", 1, 3)
    assert reader.attempts()[0].ended == "failed"
    writer.finish("finished")
    writer.log(stream, 2, 3, [1.0])
    writer.event(2, "late", "nobody hears this")
    writer.state("running")
    assert not writer.flush(0.1)
    assert reader.info().state == "failed"
    assert values_of(reader, LOSS)[0] == [0, 1]
    assert reader.events() == ()


def test_events_keep_their_order(store: Store) -> None:
    writer = store.writer()
    writer.event(5, "set", "rho 1 to 2", {"rho": 2.0, "why": [1, None, {"x": True}]})
    writer.flush()
    writer.event(3, "warning", "x" * 200)
    writer.flush()
    events = store.reader().events()
    assert [(e.seq, e.step, e.kind) for e in events] == [(0, 5, "set"), (1, 3, "warning")]
    assert dict(events[0].data) == {"rho": 2.0, "why": [1, None, {"x": True}]}
    assert [e.seq for e in store.reader().events(after=0)] == [1]
    assert store.reader().events(after=1) == ()
    writer.finish("finished")


def test_snapshots_keep_dtype_shape_and_filters(store: Store) -> None:
    writer = store.writer()
    generator = np.random.default_rng(0)
    big = generator.normal(size=(7, 3, 2)).astype(np.float32)
    writer.snapshot(20, 0, "unimodal", "text", big[:, 0].T, {"seed": 4})
    writer.snapshot(10, 1, "classifier", "audio", big)
    writer.snapshot(10, 0, "fused", "", np.array(3, np.int16))
    writer.snapshot(10, 0, "fused", "", np.array(4, np.int16))
    writer.flush()
    found = store.reader().snapshots()
    assert [(s.step, s.batch, s.kind, s.modality) for s in found] == [
        (10, 0, "fused", ""), (10, 1, "classifier", "audio"), (20, 0, "unimodal", "text"),
    ]  # fmt: skip
    assert found[0].array.dtype == np.int16
    assert found[0].array.shape == ()
    assert int(found[0].array) == 4
    assert found[1].array.dtype == np.float32
    assert np.array_equal(found[1].array, big)
    assert np.array_equal(found[2].array, big[:, 0].T)
    assert dict(found[2].data) == {"seed": 4}
    assert [s.step for s in store.reader().snapshots(kind="unimodal")] == [20]
    assert [s.step for s in store.reader().snapshots(modality="audio")] == [10]
    assert store.reader().snapshots(kind="unimodal", modality="audio") == ()
    writer.finish("finished")


def test_a_resume_wins_from_its_first_step_on(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS])
    for step in range(100):
        writer.log(stream, step, step // 10, [1.0])
    writer.snapshot(90, 0, "fused", "", np.zeros(2))
    writer.snapshot(10, 0, "fused", "", np.zeros(2))
    writer.finish("stopped", "by the user")
    again = store.writer(resume_at=40)
    assert store.reader().info().step == 39
    stream = again.stream("step", [LOSS])
    for step in range(40, 60):
        again.log(stream, step, step // 10, [2.0])
    again.flush()
    reader = store.reader()
    assert values_of(reader, LOSS) == (list(range(60)), [1.0] * 40 + [2.0] * 20)
    info = reader.info()
    assert (info.step, info.epoch, info.summary[LOSS].count, info.summary[LOSS].high) == (59, 5, 60, 2.0)
    assert [(a.number, a.first_step, a.ended) for a in reader.attempts()] == [(1, 0, "stopped"), (2, 40, "")]
    assert [s.step for s in reader.snapshots()] == [10]
    assert [e.kind for e in reader.events()] == ["resume"]
    again.finish("finished")
    third = store.writer()
    third.log(third.stream("step", [LOSS]), 60, 6, [3.0])
    third.finish("finished")
    assert reader.attempts()[2].first_step == 60
    assert values_of(reader, LOSS)[1] == [1.0] * 40 + [2.0] * 20 + [3.0]


def test_a_second_writer_is_refused(store: Store) -> None:
    writer = store.writer()
    with pytest.raises(WriterConflictError, match=r"finish|process"):
        store.writer()
    writer.finish("finished")
    store.writer().finish("finished")


def test_news_hands_out_each_row_once(store: Store) -> None:
    writer = store.writer()
    consumer = Consumer(store.reader())
    stream = writer.stream("step", [LOSS, SCORE])
    for step in range(400):
        writer.log(stream, step, 0, [step, -step])
        if step % 9 == 0:
            writer.event(step, "mark", "x")
            writer.flush()
            assert not consumer.poll().restart
    writer.finish("finished")
    assert not consumer.poll().restart
    consumer.check()
    again = consumer.poll()
    assert (dict(again.series), again.events) == ({}, ())


def test_news_of_some_keys(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS, SCORE])
    writer.log(stream, 0, 0, [1.0, 2.0])
    writer.flush()
    news = store.reader().news(None, [SCORE])
    assert list(news.series) == [SCORE]
    assert store.reader().news(news.cursor, [SCORE]).series == {}
    writer.finish("finished")


def test_news_tells_of_superseded_rows(store: Store) -> None:
    writer = store.writer()
    consumer = Consumer(store.reader())
    stream = writer.stream("step", [LOSS])
    for step in range(100):
        writer.log(stream, step, 0, [1.0])
    writer.finish("stopped")
    consumer.poll()
    again = store.writer(resume_at=70)
    news = consumer.poll()
    assert (news.restart, news.restart_from) == (True, 70)
    again.log(again.stream("step", [LOSS]), 70, 0, [2.0])
    again.finish("finished")
    assert not consumer.poll().restart
    consumer.check()
    assert len(consumer.held[LOSS]) == 71


STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(STEPS, st.integers(0, 25)), min_size=1, max_size=4))
def test_following_the_news_equals_reading(
    make: Callable[[], Store], lives: list[tuple[list[tuple[int, int]], int]]
) -> None:
    store = make()
    consumer = Consumer(store.reader())
    value = 0.0
    for number, (rows, resume_at) in enumerate(lives):
        writer = store.writer(resume_at=resume_at if number else None)
        names = {"a": [LOSS, SCORE], "b": [LOSS, OTHER], "c": [MetricKey("x"), MetricKey("y")]}
        streams = [writer.stream(name, keys) for name, keys in names.items()]
        for place, (stream, step) in enumerate(rows):
            value += 1.0
            writer.log(streams[stream], step, 0, [value, -value])
            if place % 5 == 4:
                writer.flush()
                consumer.poll()
                consumer.check()
        writer.finish("stopped")
        consumer.poll()
        consumer.check()


def test_the_change_token_changes_when_anything_does(store: Store) -> None:
    reader = store.reader()
    seen = [reader.change_token()]
    writer = store.writer()
    stream = writer.stream("step", [LOSS])

    def changed() -> bool:
        seen.append(reader.change_token())
        return seen[-1] != seen[-2]

    writer.flush()
    assert changed()
    writer.log(stream, 0, 0, [1.0])
    writer.flush()
    assert changed()
    writer.event(0, "x", "y")
    writer.flush()
    assert changed()
    writer.finish("finished")
    assert changed()


def test_what_was_read_does_not_change(store: Store) -> None:
    writer = store.writer()
    stream = writer.stream("step", [LOSS])
    writer.log(stream, 0, 0, [1.0])
    writer.flush()
    series = store.reader().series([LOSS])[LOSS]
    writer.log(stream, 0, 0, [2.0])
    writer.finish("finished")
    assert series.value.tolist() == [1.0]
    with pytest.raises(ValueError, match="read-only"):
        series.value[0] = 3.0


def looked(step: int, shift: float = 0.0) -> Contribution:
    return Contribution(
        step, step // 10, ("audio", "text"), "accuracy", 40, True, 0.8, math.nan, (0.1 + shift, 1 / 3), (0.5, 0.7),
        (0.3, 0.5), ((1e-3, -math.inf), (-1e-17, 2e-3)), preferred=(3, 4, 33), subsets={0: math.nan, 3: 0.8},
    )  # fmt: skip


def curve(step: int, modality: str, kind: str = "noise") -> RobustnessCurve:
    return RobustnessCurve(step, 0, kind, modality, "skill", (0.0, 0.5), (0.1, -2.5), (0.01, 0.02), 40)  # type: ignore[arg-type]


def test_looks_come_back_exactly_and_in_order(store: Store) -> None:
    writer = store.writer()
    for found in (looked(20), looked(10), looked(10, 0.5)):
        writer.contribution(found)
    shapes = (curve(20, "text"), curve(20, "audio"), curve(20, "text", "removal"), curve(5, "text"))
    for shape in shapes:
        writer.robustness(shape)
    assert writer.flush()
    for reader in (store.reader(), store.reader()):
        assert [repr(c) for c in reader.contributions()] == [repr(looked(10, 0.5)), repr(looked(20))]
        assert reader.robustness() == (shapes[3], shapes[2], shapes[0], shapes[1])
        writer.finish("finished")


def test_a_resume_supersedes_looks_from_its_first_step_on(store: Store) -> None:
    writer = store.writer()
    for step in (9, 19, 29):
        writer.contribution(looked(step))
        writer.robustness(curve(step, "text"))
    writer.finish("stopped")
    again = store.writer(resume_at=20)
    again.contribution(looked(39))
    assert again.flush()
    assert [c.step for c in store.reader().contributions()] == [9, 19, 39]
    assert [c.step for c in store.reader().robustness()] == [9, 19]
    again.finish("finished")
    again.contribution(looked(49))
    assert len(store.reader().contributions()) == 3
