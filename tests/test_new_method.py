"""Adding is one file: a method written by CONTRIBUTING alone shows up everywhere, in a copy of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TOY = '''"""Toy: the encoder whose classifier is furthest ahead is slowed by a fixed factor."""

from __future__ import annotations

import torch
from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.method import BalanceMethod
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="toy",
    title="Toy brake",
    summary="Slows the encoder whose classifier scores best on the batch.",
    params=(
        Param("brake", 0.5, 0.0, 1.0, "factor on the leader's gradient: 0 stops it, 1 is joint training", live=True),
    ),
    lever="gradient",
    requires=("unimodal_scores", "encoder_gradients"),
    neutral={"brake": 1.0},
    cost="1",
)


class Toy(BalanceMethod):
    """g_m times `brake` for the modality with the lowest classifier loss."""

    def on_gradients(self, step: Step) -> None:
        """Brake the leader."""
        losses = torch.stack([step.unimodal_losses[m] for m in step.modalities])
        step.scale_gradients(dict(zip(step.modalities, braked(losses, float(self.knobs["brake"])), strict=True)))


def braked(losses: Tensor, brake: float) -> Tensor:
    """`brake` where the loss is lowest, else 1; `[m]` to `[m]`."""
    return torch.where(losses == losses.min(), brake, torch.ones_like(losses))
'''

FORM = """
import json, sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file("pages/new_run.py", default_timeout=60).run()
print(json.dumps({"options": [list(map(str, getattr(w, "options", []))) for w in at.main if hasattr(w, "options")],
                  "trouble": [str(e.value) for e in at.exception]}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with one file more and nothing else changed."""
    made = tmp_path_factory.mktemp("house") / "lab"
    leave = shutil.ignore_patterns("__pycache__", ".*cache", ".git", ".venv", "runs", "artifacts")
    shutil.copytree(ROOT, made, ignore=leave)
    (made / "cggm_core" / "methods" / "toy.py").write_text(TOY, encoding="utf-8")
    return made


def run(copy: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy), "CGGM_RUNS": str(copy / "runs")}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_it_is_one_short_file() -> None:
    assert len(TOY.splitlines()) < 60


def test_it_is_listed_with_its_card(copy: Path) -> None:
    cards = {card["name"]: card for card in json.loads(run(copy, "-m", "cggm_core", "methods", "--json"))}
    assert cards["toy"]["title"] == "Toy brake"


def test_the_form_offers_it(copy: Path) -> None:
    found = json.loads(run(copy, "-c", FORM).splitlines()[-1])
    assert found["trouble"] == []
    assert any("Toy brake" in option for options in found["options"] for option in options), found["options"]


def test_the_laws_hold_for_it_at_once(copy: Path) -> None:
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/laws/test_method_laws.py", "-k", "toy")
    assert "passed" in said
    assert int(said.split(" passed")[0].split()[-1]) >= 15


def test_the_table_has_a_line_for_it(copy: Path) -> None:
    words = ["benchmarks/methods.py", "--methods", "toy", "--data", "synthetic:samples=200;dim=6", "--seeds", "2"]
    settings = ["--epochs", "1", "--rounds", "1", "--cost-epochs", "1", "--workers", "1", "--set", "model.width=8"]
    found = run(copy, *words, *settings)
    assert [line.split("|")[1:3] for line in found.splitlines() if line.startswith("| toy ")] == [[" toy ", " 2 "]]
    again = run(copy, *words, *settings)
    table = [[line.split("|")[1:8] for line in text.splitlines() if line.startswith("|")] for text in (found, again)]
    assert table[0] == table[1], "finished runs are read again, not trained again"
    assert len(list((copy / "runs" / "methods").glob("0*"))) == 4
