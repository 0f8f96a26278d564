"""A module imports only from lower floors; each rule is also shown to bite, on a planted fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import house

PROJECT = Path(__file__).resolve().parents[2]


def test_every_import_goes_to_a_lower_floor_of_its_own_wing() -> None:
    assert house.broken_floors(PROJECT) == []


def test_no_plugin_imports_a_plugin() -> None:
    assert house.broken_plugins(PROJECT) == []


def test_libraries_stay_in_their_rooms() -> None:
    assert house.broken_libraries(PROJECT) == []


def test_every_room_of_the_table_is_a_room_of_the_design() -> None:
    assert {floor for floor, _ in house.ROOMS.values()} == set(range(7))


def test_the_walk_sees_the_whole_package() -> None:
    rooms = {house.room_of(path) for path in house.source_files(PROJECT)}
    assert {"store", "launch", "cli", "engine", "methods"} <= rooms


PLANTED_FLOORS = {
    "goes up": ("cggm_core/store/a.py", "from cggm_core.launch import start", "floor 1 imports floor 4"),
    "other wing": ("cggm_core/launch/a.py", "import cggm_core.engine.worker", "meet in the run folder"),
    "other wing inside a function": (
        "cggm_core/ui/a.py", "def f():\n    from cggm_core.methods import cggm", "meet in the run folder",
    ),
    "neighbour": ("cggm_core/engine/a.py", "from cggm_core.launch import stop", "meet in the run folder"),
    "neighbour of the wing": ("cggm_core/methods/a.py", "from cggm_core.models import b", "one floor"),
    "against the written order": ("cggm_core/errors.py", "from cggm_core import config", "one floor"),
    "relative": ("cggm_core/measures/a.py", "from ..engine import worker", "floor 2 imports floor 4"),
    "command at import": ("cggm_core/_commands/a.py", "import cggm_core.engine.worker", "inside a command"),
    "public name inside": ("cggm_core/ui/a.py", "from cggm_core import RunConfig", "stands on no floor"),
    "unknown room": ("cggm_core/attic/a.py", "import json", "stands on no floor"),
    "package at import": ("cggm_core/__init__.py", "from cggm_core import config", "before it is asked"),
    "page imports launch of train": ("pages/a.py", "import cggm_core.engine", "meet in the run folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED_FLOORS)
def test_a_planted_fault_is_found(tmp_path: Path, case: str) -> None:
    path, code, words = PLANTED_FLOORS[case]
    _plant(tmp_path, path, code)
    broken = house.broken_floors(tmp_path)
    assert len(broken) == 1
    assert words in broken[0]
    assert path in broken[0]


def test_what_is_allowed_is_not_called_a_fault(tmp_path: Path) -> None:
    _plant(tmp_path, "cggm_core/_commands/a.py", "def run():\n    from cggm_core.engine import worker")
    _plant(tmp_path, "cggm_core/config.py", "from cggm_core import cards\nimport cggm_core.errors")
    _plant(tmp_path, "cggm_core/store/a.py", "from . import b\nfrom .b import c")
    _plant(
        tmp_path, "cggm_core/__init__.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cggm_core.config import RunConfig",
    )  # fmt: skip
    _plant(tmp_path, "cggm_core/methods/a.py", "from cggm_core.methods import _shared\nimport torch")
    assert house.broken_floors(tmp_path) == []
    assert house.broken_plugins(tmp_path) == []
    assert house.broken_libraries(tmp_path) == []


@pytest.mark.parametrize(
    "code",
    ["from cggm_core.methods.cggm import Cggm", "import cggm_core.methods.joint", "from . import cggm"],
)
def test_a_planted_plugin_import_is_found(tmp_path: Path, code: str) -> None:
    _plant(tmp_path, "cggm_core/methods/a.py", code)
    assert len(house.broken_plugins(tmp_path)) == 1


PLANTED_LIBRARIES = {
    "streamlit": ("cggm_core/figures/a.py", "import streamlit as st"),
    "streamlit in a function": ("cggm_core/launch/a.py", "def f():\n    import streamlit"),
    "torch": ("cggm_core/store/a.py", "from torch import nn"),
    "torch in a page": ("pages/a.py", "import torch"),
    "sql": ("pages/a.py", "import sqlite3"),
    "page of a page": ("pages/a.py", "from pages.b import show"),
    "page in the ui": ("cggm_core/ui/a.py", "import pages.b"),
}


@pytest.mark.parametrize("case", PLANTED_LIBRARIES)
def test_a_planted_library_is_found(tmp_path: Path, case: str) -> None:
    _plant(tmp_path, *PLANTED_LIBRARIES[case])
    assert len(house.broken_libraries(tmp_path)) == 1


def _plant(project: Path, path: str, code: str) -> None:
    for room in ("errors.py", "config.py", "cards.py"):
        _write(project / "cggm_core" / room, "")
    for room in ("store", "measures", "methods", "models", "engine", "launch", "ui", "_commands"):
        (project / "cggm_core" / room).mkdir(parents=True, exist_ok=True)
    _write(project / path, code)


def _write(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if code or not path.exists():
        path.write_text(code)
