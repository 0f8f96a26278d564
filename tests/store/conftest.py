from __future__ import annotations

from pathlib import Path

import pytest

from cggm_core.names import MetricKey
from cggm_core.store import create_run, run_folder

LOSS, SCORE = MetricKey("loss"), MetricKey("score", "audio")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    return run_folder(root, create_run(root, '{"name": "a run", "method": "joint"}'))
