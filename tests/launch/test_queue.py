"""The queue: order, slots, failures in words, cancelling, and a runner that may die at any moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cggm_core import launch
from cggm_core.config import RunConfig
from cggm_core.errors import LaunchError, StoreError
from cggm_core.launch import queue, queue_runner
from cggm_core.launch.queue import Job, QueueState, changing, queue_state
from cggm_core.store import Catalogue, Identity, identity_of, is_alive, own_identity, run_folder
from cggm_core.store.files import try_lock
from tests.pages import making
from tests.support import data, workers
from tests.support.workers import info, until, until_step


@pytest.fixture
def root(runs_root: Path) -> Iterator[Path]:
    with workers.swept(runs_root):
        yield runs_root
        launch.cancel(runs_root)
        _until_empty(runs_root)


def _until_empty(root: Path) -> QueueState:
    until(lambda: not any(job.state in queue.OPEN for job in queue_state(root).jobs))
    return queue_state(root)


def _runner(root: Path) -> Identity:
    until(lambda: queue_state(root).at_work)
    found = Identity.from_json(queue_state(root).runner)
    assert found is not None
    return found


def test_runs_of_a_batch_end_and_a_bad_one_says_why(root: Path, tmp_path: Path) -> None:
    bad = data.write_npz(tmp_path / "bad.npz", drop="y")
    configs = [workers.short(seed=1), RunConfig(dataset=str(bad)), workers.short(seed=2)]
    batch = launch.start_many(configs, root, slots=2)
    state = _until_empty(root)
    assert [job.state for job in state.jobs] == ["done", "failed", "done"]
    assert {job.batch for job in state.jobs} == {batch}
    assert "bad.npz" in state.jobs[1].error
    assert state.jobs[1].run == ""
    done = [info(root, job.run) for job in state.jobs if job.state == "done"]
    assert [run.config["training"]["seed"] for run in done] == [1, 2]
    assert len(Catalogue(root).runs()) == 2
    # Nothing of what passed between the processes is left, and neither is the runner.
    assert not [path for path in (root / ".queue").iterdir() if path.is_dir()]
    until(lambda: not queue_state(root).at_work)
    assert launch.clear(root) == 3
    assert queue_state(root).jobs == []


def test_slots_bound_how_many_run_and_cancelling_ends_all(root: Path) -> None:
    launch.start_many([workers.endless(seed=seed) for seed in range(3)], root, slots=1)
    until(lambda: queue_state(root).jobs[0].run)
    until_step(root, queue_state(root).jobs[0].run, 1)
    assert [job.state for job in queue_state(root).jobs] == ["running", "pending", "pending"]
    assert launch.cancel(root) == 3
    state = _until_empty(root)
    assert [job.state for job in state.jobs] == ["stopped", "cancelled", "cancelled"]
    assert info(root, state.jobs[0].run).state == "stopped"
    assert len(Catalogue(root).runs()) == 1


def test_runs_survive_the_runner_and_the_next_one_finds_them(root: Path) -> None:
    launch.start_many([workers.endless(), workers.short()], root, slots=1)
    until(lambda: queue_state(root).jobs[0].run)
    until_step(root, queue_state(root).jobs[0].run, 1)
    first = _runner(root)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not is_alive(first))
    assert not queue_state(root).at_work
    until_step(root, queue_state(root).jobs[0].run, info(root, queue_state(root).jobs[0].run).step + 2)
    launch.wake(root)
    assert _runner(root) != first
    assert [job.state for job in queue_state(root).jobs] == ["running", "pending"]
    launch.cancel(root, [queue_state(root).jobs[0].id])
    assert [job.state for job in _until_empty(root).jobs] == ["stopped", "done"]


def test_a_killed_worker_fails_its_job_in_words(root: Path) -> None:
    launch.start_many([workers.endless()], root)
    until(lambda: queue_state(root).jobs[0].run)
    until_step(root, queue_state(root).jobs[0].run, 1)
    os.kill(workers.writer_of(root, queue_state(root).jobs[0].run).pid, signal.SIGKILL)
    job = _until_empty(root).jobs[0]
    assert job.state == "failed"
    assert "is gone" in job.error


def test_what_ended_early_is_tried_again_from_its_checkpoint_or_anew(root: Path, tmp_path: Path) -> None:
    path = data.write_npz(tmp_path / "late.npz")
    hidden = path.rename(tmp_path / "hidden.npz")
    launch.start_many([workers.endless(), RunConfig(dataset=str(path)), workers.endless(seed=3)], root, slots=1)
    until(lambda: queue_state(root).jobs[0].run)
    run = queue_state(root).jobs[0].run
    until_step(root, run, 2)
    launch.cancel(root)
    jobs = _until_empty(root).jobs
    assert [job.state for job in jobs] == ["stopped", "cancelled", "cancelled"]
    assert launch.retry(root) == 0  # nothing failed
    assert launch.retry(root, [jobs[1].id]) == 1
    assert [job.state for job in _until_empty(root).jobs] == ["stopped", "failed", "cancelled"]
    stopped_at = info(root, run).step
    hidden.rename(path)
    assert launch.retry(root, [jobs[0].id]) == 1
    until(lambda: queue_state(root).jobs[0].run == run)
    until_step(root, run, stopped_at + 2)
    assert launch.retry(root) == 1
    assert queue_state(root).jobs[1].error == ""
    launch.cancel(root, [jobs[0].id])
    until(lambda: queue_state(root).jobs[1].run)
    launch.cancel(root)
    state = _until_empty(root)
    assert state.jobs[0].state == "stopped"
    assert {job.run for job in state.jobs[:2]} == {found.id for found in Catalogue(root).runs()}
    assert len(Catalogue(root).runs()) == 2


def test_a_job_tried_again_is_done_where_its_run_was_finished_meanwhile(runs_root: Path) -> None:
    queue.queue_folder(runs_root)
    job = Job("b-0", "b", workers.short().to_dict(), resumes=making.finished(runs_root))
    queue_runner.turn(QueueState(1, [job]), runs_root)
    assert (job.state, job.run) == ("done", job.resumes)


def test_a_job_whose_run_goes_on_elsewhere_is_not_started_a_second_time(runs_root: Path) -> None:
    queue.queue_folder(runs_root)
    run_id, process = making.living(runs_root)
    try:
        (run_folder(runs_root, run_id) / "checkpoint.pt").touch()
        job = Job("b-0", "b", workers.short().to_dict(), resumes=run_id)
        queue_runner.turn(QueueState(1, [job]), runs_root)
    finally:
        process.kill()
        process.communicate()
    assert job.state == "failed"
    assert "is running; stop it before resuming it" in job.error


def test_a_second_runner_leaves_at_once(runs_root: Path) -> None:
    handle = os.open(queue.queue_folder(runs_root) / "runner.lock", os.O_RDWR | os.O_CREAT)
    try:
        assert try_lock(handle)
        assert workers.cli("queue", "--runs", str(runs_root)).returncode == 0
        assert queue_state(runs_root).runner == ""
    finally:
        os.close(handle)
    assert queue_runner.work_off(runs_root) is True


def test_a_job_whose_worker_is_gone_without_a_run_says_its_last_words(runs_root: Path) -> None:
    gone = Identity(own_identity().pid, own_identity().ticks - 1, own_identity().boot, own_identity().host)
    job = Job("b-0", "b", workers.short().to_dict(), "running", process=gone.to_json())
    folder = queue.job_folder(runs_root, job)
    folder.mkdir(parents=True)
    (folder / "err").write_text("error: no data\n")
    state = QueueState(1, [job])
    queue_runner.turn(state, runs_root)
    assert (job.state, job.error) == ("failed", "no data")
    assert not folder.exists()


def test_a_configuration_that_no_card_knows_any_more_fails_alone(runs_root: Path) -> None:
    queue.queue_folder(runs_root)
    job = Job("b-0", "b", {"method": "gone"})
    queue_runner.turn(QueueState(1, [job]), runs_root)
    assert job.state == "failed"
    assert "no method named 'gone'" in job.error


def test_the_file_is_replaced_whole_and_a_broken_one_is_named(runs_root: Path) -> None:
    assert queue_state(runs_root).jobs == []
    with changing(runs_root) as state:
        state.jobs.append(Job("b-0", "b", {}, "done"))
    assert queue_state(runs_root).jobs[0].state == "done"
    (runs_root / ".queue" / "state.json").write_text('{"slots": 1')
    with pytest.raises(StoreError, match=r"state\.json cannot be read"):
        queue_state(runs_root)


def test_a_change_that_fails_changes_nothing(runs_root: Path) -> None:
    def change() -> None:
        with changing(runs_root) as state:
            state.jobs.append(Job("b-0", "b", {}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    assert queue_state(runs_root).jobs == []


def test_only_so_many_ended_jobs_are_kept(runs_root: Path) -> None:
    with changing(runs_root) as state:
        state.jobs = [Job(f"b-{i}", "b", {}, "done") for i in range(queue.KEPT_ENDED + 5)]
        state.jobs.append(Job("open", "b", {}))
    kept = queue_state(runs_root).jobs
    assert len(kept) == queue.KEPT_ENDED + 1
    assert kept[-1].id == "open"
    assert kept[0].id == "b-5"


def test_a_job_id_leads_nowhere_else(runs_root: Path) -> None:
    assert queue.job_folder(runs_root, Job("../../etc", "b", {})).parent == runs_root / ".queue"


def test_what_cannot_be_queued_says_why(runs_root: Path) -> None:
    with pytest.raises(LaunchError, match="nothing to start"):
        launch.start_many([], runs_root)
    with pytest.raises(LaunchError, match="at least 1"):
        launch.start_many([workers.short()], runs_root, slots=-1)
    with pytest.raises(StoreError, match="cannot be written"):
        launch.start_many([workers.short()], "/proc/none")
    assert identity_of(os.getpid()) == own_identity()
    assert not run_folder(runs_root, "0" * 26).exists()
