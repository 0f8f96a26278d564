"""Every example runs, and without the watch's own statements it trains to the same bits."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cggm_core
from cggm_core.names import METRICS
from cggm_core.store import Catalogue, RunInfo
from cggm_core.ui import snippets
from tests.support.training import bits

FOLDER = Path(cggm_core.__file__).parent / "examples"
LOOKING = {
    "plain_loop": "", "two_towers": "", "three_modalities": "", "lightning_module": "lightning",
    "accelerate_loop": "accelerate", "huggingface_trainer": "transformers",
}  # fmt: skip
BALANCING = {"balanced_loop": ""}
STEPS = 200
pytestmark = pytest.mark.filterwarnings("ignore")  # of frameworks that are not ours


def test_every_example_is_listed_here() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if not path.name.startswith("_")}
    assert files == {*LOOKING, *BALANCING}


def module(name: str, source: str, folder: Path) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(autouse=True)
def _forget(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CGGM_RUNS", str(runs_root))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("example_"):
            del sys.modules[name]


@pytest.mark.parametrize("name", LOOKING)
def test_an_example_trains_to_the_same_bits_without_its_watch(name: str, runs_root: Path, tmp_path: Path) -> None:
    if LOOKING[name]:
        pytest.importorskip(LOOKING[name], reason=f"{LOOKING[name]} is not installed")
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    plain = snippets.without(source, snippets.watching(source))
    assert "watch" not in plain.partition('"""\n\nfrom')[2].replace("and watch", "")
    seen = module(f"{name}_seen", source, tmp_path).train(STEPS)
    (found,) = Catalogue(runs_root).runs()
    bare = module(f"{name}_bare", plain, tmp_path).train(STEPS)
    assert bits(seen) == bits(bare)
    assert [run.id for run in Catalogue(runs_root).runs()] == [found.id]
    assert (found.state, found.step) == ("finished", STEPS - 1)
    assert sound(found)


def sound(found: RunInfo) -> bool:
    """Whether every series is there to the end, without a gap."""
    steps = {key: s for key, s in found.summary.items() if METRICS[key.metric].cadence == "step"}
    return all((s.last_step, s.count, s.nonfinite) == (STEPS - 1, STEPS, 0) for s in steps.values())


@pytest.mark.parametrize("name", BALANCING)
def test_a_balancing_example_runs(name: str, runs_root: Path, tmp_path: Path) -> None:
    module(name, (FOLDER / f"{name}.py").read_text(encoding="utf-8"), tmp_path).train(STEPS)
    (found,) = Catalogue(runs_root).runs()
    assert (found.state, found.step, found.steps) == ("finished", STEPS - 1, STEPS)
    assert sound(found)
    assert {key.metric for key in found.summary} >= {"val_score", "val_unimodal_score", "direction_loss"}


def test_the_comparison_can_fail(runs_root: Path, tmp_path: Path) -> None:
    source = (FOLDER / "plain_loop.py").read_text(encoding="utf-8")
    seen = module("other", source.replace("watch.step(loss, target)", "torch.rand(1)"), tmp_path)
    plain = snippets.without(source, snippets.watching(source))
    assert bits(seen.train(5)) != bits(module("plain", plain, tmp_path).train(5))
