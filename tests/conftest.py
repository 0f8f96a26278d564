"""What every test may ask for: a folder of runs, the real data, a browser; nothing of the user's shell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import browser, data

REQUIRE_BROWSER = "CGGM_REQUIRE_BROWSER"


@pytest.fixture(autouse=True)
def _no_shell_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CGGM_RUNS", raising=False)


@pytest.fixture
def runs_root(tmp_path: Path) -> Path:
    """An empty folder of runs."""
    root = tmp_path / "runs"
    root.mkdir()
    return root


@pytest.fixture
def tiny_npz(tmp_path: Path) -> Path:
    """A sound data file of two modalities in the exchange format, small enough to train in a second."""
    return data.write_npz(tmp_path / "tiny.npz")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data beside the project; the test is skipped where it is absent."""
    return data.real_folder()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; the test is skipped where there is none."""
    found = browser.find_chromium()
    if found is None:
        pytest.skip("no Chromium found; install the system's chromium package, or set CGGM_CHROMIUM")
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `data` say why they are skipped."""
    reason = data.why_not()
    if reason:
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Where a browser is required, a browser test that skips has failed: nothing else would show it."""
    report = yield
    if report.skipped and item.get_closest_marker("browser") and os.environ.get(REQUIRE_BROWSER) == "1":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE_BROWSER}=1, yet this browser test was skipped: {why}"
    return report
