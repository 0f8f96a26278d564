"""Every page of the catalog opens in every situation, and shows what users typed as text."""

from __future__ import annotations

import json
import re
import string
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from cggm_core import catalog
from cggm_core.names import MetricKey
from cggm_core.store import create_run, open_writer, run_folder
from tests.pages import making
from tests.pages.conftest import Open
from tests.store.test_faults import mounted

PAGES = tuple(catalog.all_cards("page"))
SITUATIONS = {
    "none": lambda root: None,
    "finished": making.finished,
    "stopped": lambda root: making.finished(root, state="stopped", reason="stopped by request"),
    "failed": lambda root: making.finished(root, state="failed", reason="ValueError: loss is NaN", steps=3),
    "starting": making.starting,
    "died": making.died,
    "damaged": making.damaged,
    "foreign": making.foreign,
    "event files": making.from_event_files,
    "no rows": lambda root: making.finished(root, steps=0),
    "one step": lambda root: making.finished(root, steps=1),
    "newer": making.newer,
    "not finite": making.not_finite,
    "one epoch, no validation": making.one_epoch,
    "imported": making.imported,
    "watched": making.watched,
    "enormous": making.enormous,
}
# The most seconds a page may take to draw; machines that run tests are shared.
PATIENCE = 30.0
Made = Callable[[str, Callable[[Path], str | None]], tuple[Path, str | None]]
HOSTILE = {
    "html": "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>",
    "image": "![x](http://evil.test/x.png)",
    "link": "[click](javascript:alert(1)) https://evil.test www.evil.test a@evil.test",
    "latex": "$latex$ $$x^2$$",
    "icons": ":material/home: :smile: :red[stop] :small[x] :streamlit:",
    "emoji": "\N{FAMILY}" * 10_000,
    "path": "../../etc/passwd\\..\\x",
    "direction": "abc\u202egpj.exe\u202c",
    "sql": "'); DROP TABLE run; --",
    "blocks": "# head\n- list\n> quote\n```\ncode\n```\n| a | b |\n|---|---|\n1. one",
}
# What must not reach a surface that reads Markdown: each would load, link, draw or format something.
RAW = ("<img", "<script", "<b>", "![x]", "[click]", "$latex$", "$$x", ":red[stop", ":small[x", "\u202e",
       "```\ncode", "\n# head", "\n- list")  # fmt: skip
# Replaced after Markdown was parsed, so a backslash does not protect from these.
LATE = ("://evil", "www.evil", "a@evil", ":material/home:", ":smile:", ":streamlit:")
ESCAPED = re.compile("\\\\([" + re.escape(string.punctuation) + "])")
# Surfaces that show text as it is: measured, and guarded by the browser journey.
PLAIN_FIELDS = {
    ("Text", "body"), ("Code", "code_text"), ("Selectbox", "options"), ("Selectbox", "raw_value"),
    ("MultiSelect", "options"), ("MultiSelect", "raw_values"),
    ("TextInput", "default"), ("TextInput", "value"),
    ("TextArea", "default"), ("TextArea", "value"), ("Dataframe", "columns"), ("Arrow", "columns"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Makes a folder of runs once and gives it, with the run's id, to every page: no page changes a run by looking."""
    with making.quick_folder(tmp_path_factory.mktemp("pages")) as place:
        known: dict[str, tuple[Path, str | None]] = {}

        def of(name: str, make: Callable[[Path], str | None]) -> tuple[Path, str | None]:
            if name not in known:
                (folder := place / f"folder {len(known)}").mkdir()
                known[name] = folder, make(folder)
            return known[name]

        yield of


@pytest.fixture
def opened(made: Made, open_page: Open, root: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a page on what `made` made; a page that changed the run, or took too long, has failed."""

    def open_(page: str, name: str, make: Callable[[Path], str | None]) -> AppTest:
        folder, run_id = made(name, make)
        monkeypatch.setenv("CGGM_RUNS", str(folder))
        before = contents(folder)
        began = time.perf_counter()
        at = open_page(page, **({"run": run_id, "runs": run_id} if run_id else {}))
        assert time.perf_counter() - began < PATIENCE
        assert contents(folder) == before
        assert sound(at), at.exception
        assert at.title[0].value == catalog.card("page", page).title
        return at

    return open_


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of every run; not of the catalogue over them, which anyone may rebuild."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.glob("*/*")
        if not path.parent.name.startswith(".") and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_page_opens_in_every_situation(page: str, situation: str, opened: Open) -> None:
    at = opened(page, situation, SITUATIONS[situation])
    assert not [text for _, text in markdown_texts(at) if "Traceback (most recent" in text]


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_on_a_read_only_folder(
    page: str, tmp_path: Path, made: Made, open_page: Open, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run_id = made("finished", making.finished)
    with mounted(tmp_path / "view", "--bind", str(folder)) as view:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        monkeypatch.setenv("CGGM_RUNS", str(view))
        assert sound(open_page(page, run=run_id, runs=run_id))


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_on_a_running_run(page: str, root: Path, living: str, open_page: Open) -> None:
    assert sound(open_page(page, run=living, runs=living))


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_on_a_sample_run(page: str, samples: Path, open_page: Open) -> None:
    run_id = making.finished(samples)
    assert sound(open_page(page, run=run_id, runs=run_id))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("address", ["nothing", "../../etc", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "%2e%2e", "a,b,,c" * 500])
def test_page_answers_an_address_that_names_no_run(page: str, address: str, root: Path, open_page: Open) -> None:
    making.finished(root)
    assert sound(open_page(page, run=address, runs=address))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_opens_among_a_thousand_runs(
    page: str, thousand: Path, root: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CGGM_RUNS", str(thousand))
    open_page(page)
    start = time.perf_counter()
    at = open_page(page)
    assert sound(at)
    assert time.perf_counter() - start < PATIENCE  # the budget of a quiet machine is 2 s


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_page_shows_what_users_typed_as_text(page: str, kind: str, opened: Open) -> None:
    at = opened(page, f"hostile {kind}", lambda folder: hostile(folder, HOSTILE[kind]))
    for where, text in markdown_texts(at):
        assert not dangers(text), (where, text[:300])
        assert len(text) < 20_000, where


def test_the_injection_check_can_fail() -> None:
    def script() -> None:
        import streamlit as st

        st.caption("![x](http://evil.test/x.png)")

    at = AppTest.from_function(script).run()
    assert any(dangers(text) for _, text in markdown_texts(at))


def dangers(text: str) -> list[str]:
    """What a Markdown surface would make of hostile text in `text`."""
    bare, unescaped = ESCAPED.sub("", text), ESCAPED.sub(r"\1", text)
    return [raw for raw in RAW if raw in bare] + [raw for raw in LATE if raw in unescaped]


def sound(at: AppTest) -> bool:
    """Whether a page drew a title and no failure."""
    return not at.exception and len(at.title) == 1


def hostile(root: Path, text: str) -> str:
    """A run that carries the text wherever a user or a foreign program may put one."""
    given = {
        "name": text, "notes": text, "tags": [text, "plain"], "dataset": text + ".npz", "method": text,
        "preset": text, "model": text, "training": {"seed": text, "epochs": text}, text[:100]: text,
    }  # fmt: skip
    run_id = create_run(root, json.dumps(given))
    writer = open_writer(run_folder(root, run_id))
    modality = text[:60]
    named = ("unimodal_score", "balance_coefficient", "val_unimodal_score")
    keys = [MetricKey("loss"), MetricKey("val_score"), MetricKey(text[:80])]
    keys += [MetricKey(metric, modality) for metric in named]
    stream = writer.stream("mine", keys)
    for step in range(20):
        writer.log(stream, step, 0, [1.0 / (step + 1)] * len(keys))
    writer.event(5, text[:60], text, {text[:50]: text})
    writer.finish("failed", text)
    (run_folder(root, run_id) / "worker.log").write_text(text, encoding="utf-8")
    return run_id


def markdown_texts(at: AppTest) -> Iterator[tuple[str, str]]:
    """Every text of the page that may be read as Markdown or HTML, with where it stands."""
    for tree in (at.main, at.sidebar):
        for node in tree:
            proto = getattr(node, "proto", None)
            if isinstance(proto, Message):
                yield from texts(proto)


def texts(message: Message) -> Iterator[tuple[str, str]]:
    name = message.DESCRIPTOR.name
    if name == "BidiComponent":
        return  # drawn by Plotly, where names were measured to be inert
    for field, value in message.ListFields():
        values: Any = value if field.is_repeated else [value]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        for one in values:
            if isinstance(one, Message):
                yield from texts(one)
            elif isinstance(one, str) and field.name != "id" and (name, field.name) not in PLAIN_FIELDS:
                yield f"{name}.{field.name}", one


def test_the_form_offers_the_models_that_fit_the_data(root: Path, open_page: Open) -> None:
    page = open_page("new_run")
    assert page.selectbox(key="new.model.classification").value == "late_fusion"
    page.selectbox(key="new.dataset").set_value("phantom").run()
    offered = page.selectbox(key="new.model.segmentation").options
    assert [text.split(" ")[0] for text in offered] == ["segmentation_fusion"]
    assert not page.error
    page.selectbox(key="new.dataset").set_value("own data").run()
    assert page.selectbox(key="new.model.file").value == "auto"
