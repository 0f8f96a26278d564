"""What must be true of a watched run whatever becomes of the loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import cggm_core
from cggm_core.errors import CggmError
from cggm_core.launch import stop
from cggm_core.store import Catalogue, RunInfo
from tests.support.watching import batches, built, encoders, info, loop, series

PROJECT = Path(__file__).resolve().parents[2]
START = """
import signal, sys, time, torch, cggm_core
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
from tests.support.watching import built, encoders, loop
torch.set_num_threads(1)
net = built()
optimiser = torch.optim.Adam(net.parameters())
watch = cggm_core.watch(encoders(net), head=net.head, task="classification", run="loop", runs={root!r})
loop(net, optimiser, watch, 5)
"""


def begun(root: Path, code: str) -> subprocess.Popen[str]:
    """A program of its own that watches five steps and then does what `code` says."""
    script = START.format(root=str(root)) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(root: Path, code: str) -> tuple[RunInfo, str]:
    """The only run, and what the program said on standard error."""
    process = begun(root, code)
    _, said = process.communicate(timeout=120)
    (found,) = Catalogue(root).runs()
    return found, said


def test_a_forgotten_close_loses_nothing_and_says_so_once(runs_root: Path) -> None:
    found, said = ended(runs_root, "")
    assert (found.state, found.step) == ("stopped", 4)
    assert "without watch.close()" in found.reason
    assert said.count("never closed") == 1
    assert "Traceback" not in said


def test_an_exception_in_the_loop_is_the_reason_of_the_end(runs_root: Path) -> None:
    found, said = ended(runs_root, "raise ValueError('the loss is strange')")
    assert (found.state, found.step, found.reason) == ("failed", 4, "ValueError: the loss is strange")
    assert "never closed" not in said


def test_an_interrupt_stops_the_run(runs_root: Path) -> None:
    process = begun(runs_root, "print('ready', flush=True)\nwhile True: loop(net, optimiser, watch, 1)")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
    (found,) = Catalogue(runs_root).runs()
    assert (found.state, found.reason) == ("stopped", "interrupted")
    assert found.step >= 4


def test_a_killed_loop_shows_as_running_and_then_as_died(runs_root: Path) -> None:
    process = begun(runs_root, "watch._writer.flush()\nprint('ready', flush=True)\ntime.sleep(100)")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    catalogue = Catalogue(runs_root)
    (found,) = catalogue.runs()
    assert found.state == "running"
    with pytest.raises(CggmError, match="no worker of the lab"):
        stop(runs_root, found.id, 0.2)
    process.kill()
    process.communicate(timeout=60)
    (found,) = catalogue.runs()
    assert (found.state, found.step) == ("died", 3)  # the last step's row waits for its update


def test_leaving_the_block_by_an_exception(runs_root: Path) -> None:
    net = built()
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root)

    def broken() -> None:
        with watch:
            loop(net, torch.optim.Adam(net.parameters()), watch, 3)
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        broken()
    assert (info(watch).state, info(watch).reason, info(watch).step) == ("failed", "RuntimeError: enough", 2)
    assert not net.audio._forward_hooks


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # forking is the point
def test_workers_of_a_data_loader_are_forked_beside_an_open_watch(runs_root: Path) -> None:
    net = built()
    optimiser = torch.optim.Adam(net.parameters())
    rows = [torch.cat(parts) for parts in zip(*batches(4), strict=True)]
    with cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root) as watch:
        loop(net, optimiser, watch, 1)
        loader = DataLoader(TensorDataset(*rows), batch_size=16, num_workers=2, multiprocessing_context="fork")
        for audio, text, target in loader:
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(audio, text), target)
            loss.backward()
            watch.step(loss, target)
            optimiser.step()
    assert (info(watch).state, info(watch).step) == ("finished", 4)
    assert len(series(watch, "loss")) == 5


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # forking is the point
def test_a_forked_child_writes_nothing(runs_root: Path) -> None:
    net = built()
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root)
    optimiser = torch.optim.Adam(net.parameters())
    loop(net, optimiser, watch, 2)
    child = os.fork()
    if child == 0:
        loop(net, optimiser, watch, 3)
        watch.close()
        os._exit(0)
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)
    loop(net, optimiser, watch, 1)
    watch.close()
    assert (info(watch).state, info(watch).step) == ("finished", 2)


def test_two_watches_in_one_process(runs_root: Path) -> None:
    first, second = built(), built(seed=1)
    one = cggm_core.watch(encoders(first), head=first.head, task="classification", run="one", runs=runs_root)
    two = cggm_core.watch(encoders(second), run="two", runs=runs_root)
    a, b = torch.optim.Adam(first.parameters()), torch.optim.Adam(second.parameters())
    for _ in range(3):
        loop(first, a, one, 1)
        loop(second, b, two, 2)
    one.close()
    loop(second, b, two, 1)
    two.close()
    assert [(info(w).name, info(w).state, info(w).step) for w in (one, two)] == [
        ("one", "finished", 2), ("two", "finished", 6),
    ]  # fmt: skip


def test_a_notebook_s_cell_run_twice(runs_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = built()
    for _ in range(2):  # the cell makes the watch and trains; nobody closes the first
        watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root)
        loop(net, torch.optim.Adam(net.parameters()), watch, 3)
    watch.close()
    newest, oldest = Catalogue(runs_root).runs()
    assert (oldest.state, oldest.step, newest.state, newest.step) == ("stopped", 2, "finished", 2)
    assert "watched anew" in oldest.reason
    assert sum("watched anew" in record.getMessage() for record in caplog.records) == 1
    assert not net.audio._forward_hooks


def test_a_cell_that_builds_its_model_anew(runs_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(2):
        net = built(seed=seed)
        watch = cggm_core.watch(encoders(net), runs=runs_root)
        loop(net, torch.optim.Adam(net.parameters()), watch, 3)
    watch.close()
    newest, oldest = Catalogue(runs_root).runs()
    assert (oldest.state, oldest.step, newest.state) == ("stopped", 2, "finished")
    assert sum("without close()" in record.getMessage() for record in caplog.records) == 1


def test_closing_twice_and_stepping_after_close(runs_root: Path) -> None:
    net = built()
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root)
    loop(net, torch.optim.Adam(net.parameters()), watch, 2)
    watch.close()
    watch.close()
    loop(net, torch.optim.Adam(net.parameters()), watch, 2)
    watch.end_epoch()
    assert (info(watch).state, info(watch).step) == ("finished", 1)


def test_a_runs_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    net = built()
    with pytest.raises(CggmError, match="cannot be made"):
        cggm_core.watch(encoders(net), runs=tmp_path / "file" / "runs")
    assert not net.audio._forward_hooks
