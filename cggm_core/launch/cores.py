"""One worker's share of the processor, and the environment that makes it keep to it.

Why: two workers that each take every core do not run at half speed but at a tenth. Their threads wait for
one another by spinning on cores that the other worker needs. A share and passive waiting cost a lone worker
little.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

LARGEST_SHARE = 8
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores this process may use: those it is bound to, capped by its control group's quota; at least 1."""
    bound = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def share(cores: int | None = None) -> int:
    """Threads of one worker: half of the usable cores, from 1 to 8.

    The same number whoever starts the worker, because the number of threads decides the last bits of a sum.

    Args:
        cores: cores there are; None asks the system.
    """
    return min(LARGEST_SHARE, max(1, (usable_cores() if cores is None else cores) // 2))


def slots(cores: int | None = None) -> int:
    """Workers that fit side by side, each with its share.

    Args:
        cores: cores there are; None asks the system.
    """
    cores = usable_cores() if cores is None else cores
    return max(1, cores // share(cores))


def thread_environment(threads: int = 0) -> dict[str, str]:
    """Variables that must be set before torch is imported; thread libraries read them once, when loaded.

    Args:
        threads: of the worker; 0 takes the share.
    """
    count = str(threads if threads > 0 else share())
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
    }


def take_share(threads: int = 0, environment: MutableMapping[str, str] = os.environ) -> None:
    """Put `thread_environment` into force for this process; call it before anything imports torch."""
    environment.update(thread_environment(threads))


def cgroup_quota(root: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> float | None:
    """Cores the control group may use on average, None where it is not limited.

    Args:
        root: where the control groups are mounted.
        own: file that names this process's groups.
    """
    quotas = [q for q in (_quota_v2(folder) for folder in _lineage(root, own)) if q is not None]
    old = _quota_v1(root / "cpu")
    return min(quotas + ([old] if old is not None else []), default=None)


def _lineage(root: Path, own: Path) -> list[Path]:
    """The process's group and every one above it: the tightest limit holds."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return [root]
    inside = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root / inside.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
