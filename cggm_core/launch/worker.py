"""One worker process from its start until it has said which run it trains.

The app must be free to die at any moment, so a worker has a session of its own, its output goes to files and
not to pipes, and nothing of it is kept in the app but what is on disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cggm_core.config import RunConfig
from cggm_core.errors import LaunchError
from cggm_core.launch.cores import thread_environment
from cggm_core.launch.devices import VISIBLE
from cggm_core.store import Identity, identity_of, is_alive, is_run_id

OUTPUT, ERRORS, SETTINGS = "out", "err", "config.json"
ERROR_MARK = "error: "
# What a worker needs to find its libraries, its graphics card and its language; secrets of the shell that
# started the app are none of its business.
_KEPT = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME",
     "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE",
     "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX",
     "PYTHONHOME", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONWARNINGS"}
)  # fmt: skip
_KEPT_PREFIXES = (
    "LC_",
    "CUDA_",
    "CUBLAS_",
    "CUDNN_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "PYTORCH_",
    "TORCH_",
    "CGGM_",
)


def absolute(config: RunConfig) -> RunConfig:
    """The configuration with the path of a data file made absolute: it then holds in any working folder."""
    if not config.is_file():
        return config
    return replace(config, dataset=os.path.abspath(os.path.expanduser(config.dataset)))


def worker_environment(given: Mapping[str, str], threads: int = 0, card: str = "") -> dict[str, str]:
    """Environment of a worker: what it needs of `given`, its share of the cores, the way to this package.

    Args:
        given: of the process that starts it.
        threads: of the worker; 0 takes the share.
        card: the only graphics card it is to see; "" leaves it all of them.
    """
    kept = {k: v for k, v in given.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}
    kept.update(thread_environment(threads))
    if card:
        kept[VISIBLE] = card
    # Not the working folder: a file called numpy.py in a folder of runs must not become a module.
    kept["PYTHONSAFEPATH"] = "1"
    kept["PYTHONUTF8"] = "1"
    home = str(Path(__file__).resolve().parents[2])
    if home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (home, kept.get("PYTHONPATH", ""))))
    return kept


def spawn(
    arguments: Sequence[str], output: Path, errors: Path, threads: int = 0, card: str = ""
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start `python -m cggm_core` with these arguments as a process that outlives the caller.

    Raises:
        LaunchError: if the system refuses.
    """
    command = [sys.executable, "-m", "cggm_core", *arguments]
    try:
        with open(output, "ab") as out, open(errors, "ab") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=os.path.abspath(os.sep),
                env=worker_environment(os.environ, threads, card), start_new_session=True, close_fds=True,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise LaunchError(f"no worker could be started: {error}; see whether {sys.executable} runs") from error
    # Someone has to ask for the exit code, or a dead child stays in the process table for the app's life.
    threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()
    return process


class Starting:
    """A worker that was started and is watched until it says its run's id, or ends without.

    Args:
        folder: where its output and settings lie.
        who: its identity; None if it was gone before it could be read.
    """

    def __init__(self, folder: Path, who: Identity | None) -> None:
        self.folder, self.who = folder, who

    @classmethod
    def train(cls, config: RunConfig, root: Path, folder: Path, card: str = "") -> Starting:
        """Start training a configuration.

        Args:
            config: of the run.
            root: absolute folder of all runs.
            folder: existing, empty folder for what passes between the two processes.
            card: the only graphics card it is to see; "" leaves it all of them.
        """
        config = absolute(config)
        settings = folder / SETTINGS
        settings.write_text(config.to_json(), encoding="utf-8")
        arguments = ["train", "--config", str(settings), "--runs", str(root), "--worker"]
        return cls._begin(arguments, folder, config.training.threads, card)

    @classmethod
    def resume(cls, run_id: str, root: Path, folder: Path, threads: int, card: str = "") -> Starting:
        """Start going on with a run; arguments as in `train`."""
        arguments = ["train", "--resume", run_id, "--runs", str(root), "--worker"]
        return cls._begin(arguments, folder, threads, card)

    @classmethod
    def _begin(cls, arguments: list[str], folder: Path, threads: int, card: str) -> Starting:
        process = spawn(arguments, folder / OUTPUT, folder / ERRORS, threads, card)
        return cls(folder, identity_of(process.pid))

    def alive(self) -> bool:
        """Whether that very process still exists."""
        return self.who is not None and is_alive(self.who)

    def run_id(self) -> str:
        """The run it trains; "" until it has said so, which it does once everything was found sound."""
        try:
            line, end, _ = (self.folder / OUTPUT).read_text("utf-8", "replace").partition("\n")
        except OSError:
            return ""
        return line.strip() if end and is_run_id(line.strip()) else ""

    def sentence(self) -> str:
        """Why it ended, in its own words."""
        try:
            said = [line.strip() for line in (self.folder / ERRORS).read_text("utf-8", "replace").splitlines()]
        except OSError:
            said = []
        errors = [line.removeprefix(ERROR_MARK) for line in said if line.startswith(ERROR_MARK)]
        words = errors or [line for line in said if line]
        return (
            words[-1][:2000] if words else "the worker ended without a word; start it once from a terminal to see why"
        )
