from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cggm_core.launch import cores


@pytest.mark.parametrize(
    ("usable", "share", "slots"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (7, 3, 2), (8, 4, 2), (16, 8, 2), (64, 8, 8), (17, 8, 2)],
)
def test_share_is_half_of_the_cores_capped_at_eight(usable: int, share: int, slots: int) -> None:
    assert cores.share(usable) == share
    assert cores.slots(usable) == slots
    assert share * slots <= usable


def test_the_share_follows_the_cores_a_process_is_bound_to() -> None:
    code = "from cggm_core.launch import cores; print(cores.usable_cores())"
    bound = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}]); {code}"
    assert int(subprocess.check_output([sys.executable, "-c", bound], text=True)) == 1


@pytest.mark.parametrize(
    ("text", "quota"),
    [("200000 100000", 2.0), ("50000 100000", 0.5), ("max 100000", None), ("nonsense", None), ("1 0", None)],
)
def test_the_quota_of_a_control_group(tmp_path: Path, text: str, quota: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores.cgroup_quota(tmp_path, tmp_path / "none") == quota


def test_the_tightest_quota_on_the_way_up_holds(tmp_path: Path) -> None:
    group = tmp_path / "user" / "job"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("400000 100000")
    (tmp_path / "user" / "cpu.max").write_text("150000 100000")
    own = tmp_path / "own"
    own.write_text("0::/user/job\n")
    assert cores.cgroup_quota(tmp_path, own) == 1.5


def test_the_quota_of_the_older_kind(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cores.cgroup_quota(tmp_path, tmp_path / "none") == 3.0
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert cores.cgroup_quota(tmp_path, tmp_path / "none") is None


def test_threads_of_the_configuration_win_over_the_share() -> None:
    assert cores.thread_environment(3)["OMP_NUM_THREADS"] == "3"
    assert cores.thread_environment()["OMP_NUM_THREADS"] == str(cores.share())
    assert cores.thread_environment()["OMP_WAIT_POLICY"] == "passive"


def test_the_environment_reaches_torch_when_set_before_it_is_imported() -> None:
    code = (
        "from cggm_core import launch; launch.take_share(1); import torch; print(torch.get_num_threads());"
        "import os; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert said.split() == ["1", "0", "0"]
