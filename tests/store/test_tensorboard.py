"""Runs as event files: TensorBoard itself reads what we write, and what comes back is the same run."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cggm_core.names import METRICS, MetricKey
from cggm_core.store import (
    MemoryRun,
    RunReader,
    create_run,
    open_reader,
    open_writer,
    run_folder,
    take_in,
    update_marks,
)
from cggm_core.store.export import folder_name
from cggm_core.store.tensorboard_export import file_name, write_events
from cggm_core.store.tensorboard_tags import EPOCH, EXACT, RUN, Names, key_of, tags

LOSS, SCORE, PAIR = MetricKey("loss"), MetricKey("unimodal_score", "audio"), MetricKey("pair_cosine", "audio|text")
STRANGE = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 0.1, 2.0**53 + 2)
CONFIG = {
    "name": "a/b <i>", "method": "cggm", "dataset": "/home/somebody/secret/mosi.npz", "preset": "paper",
    "training": {"seed": 7, "lr": 0.1}, "on": True,
}  # fmt: skip


def made(root: Path, *, end: str = "finished") -> Path:
    """A run with two streams, strange numbers, a superseded end, events and marks."""
    root.mkdir(exist_ok=True)
    folder = run_folder(root, create_run(root, json.dumps(CONFIG)))
    writer = open_writer(folder)
    late, stream = writer.stream("late", [MetricKey("m", "x/y"), MetricKey("m/x", "y")]), -1
    stream = writer.stream("step", [LOSS, SCORE, PAIR])
    writer.event(0, "start", "training starts\non two lines", {"torch": "2.13.0", "device": "cpu"})
    for step in range(40):
        value = STRANGE[step % len(STRANGE)]
        writer.log(stream, step, step // 10, (value, step / 3, -step))
        if step % 10 == 9:
            writer.log(late, step, step // 10, (step, -value))
    writer.event(4, "knobs", "read /home/somebody/secret/mosi.npz", {"rho": 1.2, "file": "/root/x/y.txt"})
    writer.event(-1, "warning", "# *no* <b>markdown</b> ![](http://example.org/x.png)")
    writer.progress(40, 4)
    writer.finish(end, "as asked" if end != "finished" else "")  # type: ignore[arg-type]
    update_marks(folder, tags=["x"], notes="mine")
    return folder


def written(reader: RunReader, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(reader)
    with open(path, "wb") as file:
        write_events(reader, file)
    return path


def same(old: RunReader, new: RunReader) -> None:
    assert new.keys() == old.keys()
    for key in old.keys():  # noqa: SIM118
        a, b = old.series([key])[key], new.series([key])[key]
        assert a.value.tobytes() == b.value.tobytes()
        assert a.step.tolist() == b.step.tolist()
        assert a.epoch.tolist() == b.epoch.tolist()
        assert b.seconds == pytest.approx(a.seconds, abs=1e-5)


@pytest.mark.parametrize("end", ["finished", "stopped", "failed"])
def test_a_run_comes_back_with_every_bit(tmp_path: Path, end: str) -> None:
    folder = made(tmp_path / "a", end=end)
    old = open_reader(folder)
    written(old, tmp_path / "logs" / "one")
    (tmp_path / "b").mkdir()
    (run_id,) = take_in(tmp_path / "logs", tmp_path / "b")
    new = open_reader(tmp_path / "b" / run_id)
    same(old, new)
    info = new.info()
    assert (info.state, info.reason, info.damaged) == (end, old.info().reason, "")
    assert (info.name, info.tags, info.notes) == ("a/b <i>", ("x",), "mine")
    assert (info.step, info.epoch, info.steps, info.epochs) == (39, 3, 40, 4)
    assert info.updated_at == pytest.approx(old.info().updated_at, abs=5)
    assert info.config["imported"]["configuration"]["training"] == {"seed": 7, "lr": 0.1}
    assert (info.config["method"], info.config["dataset"]) == ("cggm", "mosi.npz")
    told = [(e.step, e.kind, e.text, dict(e.data)) for e in new.events()]
    assert told[:3] == [
        (0, "start", "training starts\non two lines", {"torch": "2.13.0", "device": "cpu"}),
        (4, "knobs", "read mosi.npz", {"rho": 1.2, "file": "y.txt"}),
        (-1, "warning", "# *no* <b>markdown</b> ![](http://example.org/x.png)", {}),
    ]
    assert told[3][1:3] == ("import", "taken in from 1 event file of TensorBoard")
    assert len(told) == 4


def test_tensorboard_s_own_server_shows_the_scalars_texts_and_settings(tmp_path: Path) -> None:
    """Its data server is a program of its own, and takes less than the reader beside it does."""
    pytest.importorskip("tensorboard")
    old = open_reader(made(tmp_path / "a"))
    written(old, tmp_path / "logs" / "one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path / "logs"), "--port", str(port)]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}/data/plugin"
        shown = until_served(f"{address}/scalars/tags", server)["one"]
        assert set(tags(old.keys()).values()) | {EPOCH} == set(shown)
        loss = until_served(f"{address}/scalars/scalars?run=one&tag=unimodal_score/audio", server)
        assert [(step, value) for _, step, value in loss] == [(n, pytest.approx(n / 3, rel=1e-6)) for n in range(40)]
        assert {RUN, "events/knobs", "events/start"} <= set(until_served(f"{address}/text/tags", server)["one"])
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its data server with it
        server.wait(20)


def until_served(address: str, server: subprocess.Popen[bytes]) -> Any:
    """What the server answers, as soon as it has read the files."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=10) as answer:
            if found := json.load(answer):
                return found
        time.sleep(0.2)
    raise AssertionError(f"nothing at {address}")


def test_no_folder_of_the_machine_leaves_with_it(tmp_path: Path) -> None:
    raw = written(open_reader(made(tmp_path / "a")), tmp_path / "logs").read_bytes()
    assert b"mosi.npz" in raw
    for secret in (b"somebody", b"/root/x", b'"host"', str(tmp_path).encode()):
        assert secret not in raw


def test_tensorboard_reads_what_we_write(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util

    old = open_reader(made(tmp_path / "a"))
    written(old, tmp_path / "logs")
    read = accumulators.EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    for key, tag in tags(old.keys()).items():
        series, found = old.series([key])[key], read.Scalars(tag)
        with np.errstate(over="ignore"):
            assert np.float32([one.value for one in found]).tobytes() == series.value.astype(np.float32).tobytes()
        assert [one.step for one in found] == series.step.tolist()
        began = old.attempts()[0].started_at
        assert [one.wall_time - began for one in found] == pytest.approx(series.seconds.tolist(), abs=1e-5)
        assert read.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    assert read.SummaryMetadata("loss").summary_description == METRICS["loss"].description
    assert {"loss", "unimodal_score/audio", "pair_cosine/audio|text", EPOCH} <= set(read.Tags()["scalars"])
    # Indented, Markdown shows a text letter by letter.
    for tag in (RUN, "events/start", "events/warning"):
        text = tensor_util.make_ndarray(read.Tensors(tag)[0].tensor_proto).item().decode()
        assert all(line.startswith("    ") for line in text.split("\n"))
        assert read.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    content = read.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(content).hparams
    assert settings["method"].string_value == "cggm"
    assert settings["training.lr"].number_value == 0.1
    assert settings["on"].bool_value is True
    end = read.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(end).status == 1


def test_tags_are_all_different_and_what_we_write_beside_them_is_not_taken(tmp_path: Path) -> None:
    keys = [
        MetricKey(EXACT),
        MetricKey("a", "b"), MetricKey("a/b"), MetricKey("a/b", ""), MetricKey(EPOCH), MetricKey(RUN), MetricKey(""),
        MetricKey("", "unnamed"), MetricKey("x" * 10_000, "1"), MetricKey("x" * 10_000, "2"), MetricKey("\ud800"),
    ]  # fmt: skip
    named = tags(keys)
    assert len(set(named.values())) == len(set(keys))
    assert not {EPOCH, EXACT, RUN} & set(named.values())
    run = MemoryRun()
    writer = run.writer()
    writer.log(writer.stream("s", list(dict.fromkeys(keys[:-1]))), 3, 2, [float(n) for n in range(len(set(keys)) - 1)])
    writer.finish("finished")
    written(run.reader(), tmp_path / "logs")
    (tmp_path / "b").mkdir()
    (run_id,) = take_in(tmp_path / "logs", tmp_path / "b")
    same(run.reader(), open_reader(tmp_path / "b" / run_id))


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        ("loss", MetricKey("loss")),
        ("cggm/loss", MetricKey("loss")),
        ("gradient_norm/audio", MetricKey("gradient_norm", "audio")),
        ("cggm/pair_cosine/a-b", MetricKey("pair_cosine", "a|b")),
        ("cggm/pair_cosine/a-b-c", MetricKey("pair_cosine", "a-b-c")),
        ("train/loss", MetricKey("train/loss")),
        ("loss/train", MetricKey("loss/train")),
        ("../../etc/passwd", MetricKey("../../etc/passwd")),
        ("<img src=x onerror=alert(1)>", MetricKey("<img src=x onerror=alert(1)>")),
        ("a\x00b\u202ec\n", MetricKey("abc")),
        ("\x1b", MetricKey("unnamed")),
        ("x" * 10_000, MetricKey("x" * 120)),
    ],
)
def test_a_foreign_tag_becomes_a_legal_name(tag: str, key: MetricKey) -> None:
    assert key_of(tag) == key


def test_two_tags_never_share_a_name_and_the_original_is_kept() -> None:
    names = Names({"own": MetricKey("loss")})
    found = [names.of(tag) for tag in ("loss", "cggm/loss", "\x01loss", "own", "loss")]
    assert [str(key) for key in found] == ["loss (2)", "loss (3)", "loss (4)", "loss", "loss (2)"]
    assert dict(names.changed()) == {"loss (2)": "loss", "loss (3)": "cggm/loss", "loss (4)": "\x01loss"}


@pytest.mark.filterwarnings("ignore")  # of loggers that are not ours
def test_a_folder_of_somebody_else_s_runs(tmp_path: Path) -> None:
    boards = pytest.importorskip("torch.utils.tensorboard")
    for name in ("first", "deep/second"):
        with boards.SummaryWriter(str(tmp_path / "logs" / name)) as writer:
            for step in range(25):
                writer.add_scalar("train/loss", 1 / (step + 1), step, walltime=1.9e9 + step)
                writer.add_scalar("cggm/gradient_norm/audio", step, step, new_style=True)
            writer.add_scalar("\u202ebad name", math.nan, 5)
            writer.add_text("note", "hello")
            writer.add_histogram("weights", np.arange(9.0))
            writer.add_image("picture", np.zeros((3, 8, 8)))
            writer.add_hparams({"lr": 0.1}, {"final": 1.0}, run_name="hparams")
    (tmp_path / "b").mkdir()
    found = [open_reader(tmp_path / "b" / run_id) for run_id in take_in(tmp_path / "logs", tmp_path / "b")]
    infos = {reader.info().name: reader for reader in found}
    # The values of a hyperparameter table are a folder, and so a run, of their own: as in TensorBoard.
    assert set(infos) == {"first", "first/hparams", "deep/second", "deep/second/hparams"}
    reader = infos["first"]
    info = reader.info()
    assert (info.state, info.step, info.steps, info.damaged) == ("finished", 24, 25, "")
    assert set(reader.keys()) == {MetricKey("train/loss"), MetricKey("gradient_norm", "audio"), MetricKey("bad name")}
    loss = reader.series([MetricKey("train/loss")])[MetricKey("train/loss")]
    assert loss.value.tolist() == [float(np.float32(1 / (step + 1))) for step in range(25)]
    assert np.diff(loss.seconds).tolist() == pytest.approx([1.0] * 24)
    bad = reader.series([MetricKey("bad name")])[MetricKey("bad name")]
    assert (bad.step.tolist(), math.isnan(bad.value[0])) == ([5], True)
    assert "3 records of images, graphs, histograms or texts left out" in reader.events()[-1].text
    assert info.config["imported"]["renamed"] == {"bad name": r"\u202ebad name"}
    assert r"bad name was \u202ebad name" in info.notes


def test_files_given_together_are_one_run_and_the_later_one_wins(tmp_path: Path) -> None:
    boards = pytest.importorskip("torch.utils.tensorboard")
    for number, steps in enumerate((range(10), range(6, 15))):
        with boards.SummaryWriter(str(tmp_path / str(number))) as writer:
            for step in steps:
                writer.add_scalar("loss", step + 100 * number, step)
    files = [(f"{n} {path.name}", path) for n in (1, 0) for path in (tmp_path / str(n)).iterdir()]
    (tmp_path / "b").mkdir()
    (run_id,) = take_in(files, tmp_path / "b")
    value = open_reader(tmp_path / "b" / run_id).series([LOSS])[LOSS].value
    assert value.tolist() == [*range(6), *range(106, 115)]


def test_a_zip_of_event_files_is_read_where_it_lies(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a"), made(tmp_path / "a", end="stopped")
    with zipfile.ZipFile(tmp_path / "logs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in (first, second):
            reader = open_reader(folder)
            path = written(reader, tmp_path / "logs" / folder_name(reader.info()))
            archive.write(path, f"../../{folder_name(reader.info())}/{path.name}")
        archive.writestr("readme.txt", "and something else")
    (tmp_path / "b").mkdir()
    before = {p for p in tmp_path.rglob("*") if tmp_path / "b" not in p.parents}
    found = [open_reader(tmp_path / "b" / run_id) for run_id in take_in(tmp_path / "logs.zip", tmp_path / "b")]
    assert sorted(reader.info().state for reader in found) == ["finished", "stopped"]
    for reader in found:
        same(open_reader(first if reader.info().state == "finished" else second), reader)
    assert {p for p in tmp_path.rglob("*") if tmp_path / "b" not in p.parents} == before


def test_integers_and_packed_tensors_are_scalars_too(tmp_path: Path) -> None:
    from cggm_core.store.tensorboard_messages import Event
    from cggm_core.store.tensorboard_records import framed

    forms = {
        "f": (1, struct.pack("<f", 0.5)), "d": (2, struct.pack("<d", 0.1)), "i": (3, struct.pack("<i", -3)),
        "q": (9, struct.pack("<q", 2**40)), "u": (17, b"\x07\x00"), "long": (2, struct.pack("<dd", 1, 2)),
    }  # fmt: skip
    with open(tmp_path / "x.tfevents", "wb") as file:
        for tag, (dtype, content) in forms.items():
            event = Event(wall_time=1.0, step=1)
            value = event.summary.value.add(tag=tag.encode())
            value.metadata.plugin.name, value.tensor.dtype, value.tensor.content = b"scalars", dtype, content
            file.write(framed(event.SerializeToString()))
    (tmp_path / "b").mkdir()
    (run_id,) = take_in(tmp_path / "x.tfevents", tmp_path / "b")
    reader = open_reader(tmp_path / "b" / run_id)
    found = {key.metric: reader.series([key])[key].value.tolist() for key in reader.keys()}  # noqa: SIM118
    assert found == {"f": [0.5], "d": [0.1], "i": [-3.0], "q": [2.0**40]}
