from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cggm_core.ui import session
from tests.pages import making

FRAME = Path(session.__file__).with_name("frame.py")
Open = Callable[..., AppTest]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of runs that the pages look into, with no sample runs beside it."""
    with making.quick_folder(tmp_path) as place:
        folder = place / "runs"
        folder.mkdir()
        monkeypatch.setenv("CGGM_RUNS", str(folder))
        monkeypatch.setattr(session, "SAMPLE_RUNS", place / "samples")
        yield folder


@pytest.fixture
def samples(root: Path) -> Path:
    folder = root.parent / "samples"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thousand")
    making.many(folder, 1000)
    return folder


@pytest.fixture
def living(root: Path) -> Iterator[str]:
    run_id, process = making.living(root)
    yield run_id
    process.kill()
    process.communicate()


@pytest.fixture
def open_page() -> Open:
    def opened(name: str = "runs", **query: str) -> AppTest:
        at = AppTest.from_file(FRAME, default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        if name == "runs":
            return at.run()
        path = os.path.relpath(Path(__file__).parents[2] / "pages" / f"{name}.py", FRAME.parent)
        return at.switch_page(path).run()

    return opened
