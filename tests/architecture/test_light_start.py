"""The look wing loads without torch: importing it would cost the app seconds and hundreds of megabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import house

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision")
_LOADER = (
    "import importlib, json, sys\n"
    "for name in json.loads(sys.argv[1]):\n"
    "    importlib.import_module(name)\n"
    "print(json.dumps([n for n in json.loads(sys.argv[2]) if n in sys.modules]))\n"
)


def light_modules(project: Path) -> list[str]:
    """Every module the app may load: look wing, what both use, the command line, what pages import."""
    found = []
    for path in house.source_files(project):
        room = house.room_of(path)
        if path.parts[0] == house.PACKAGE and (not room or house.ROOMS[room][1] != "train"):
            parts = path.with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [*found, *_imported_by_pages(project)]


def loaded_heavy(project: Path, modules: list[str]) -> list[str]:
    """Heavy libraries that importing these modules brings in, seen in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADER, json.dumps(modules), json.dumps(HEAVY)],
        capture_output=True, text=True, timeout=120, cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_look_wing_loads_without_torch() -> None:
    modules = light_modules(PROJECT)
    assert "cggm_core.store.catalogue" in modules
    assert loaded_heavy(PROJECT, modules) == []


def test_torch_brought_in_by_a_look_module_is_seen(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    package = tmp_path / "cggm_core" / "figures"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "sly.py").write_text("__import__('to' + 'rch')")
    assert loaded_heavy(tmp_path, light_modules(tmp_path)) == ["torch"]


def test_torch_brought_in_by_a_page_is_seen(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "helper.py").write_text("import torch")
    (tmp_path / "cggm_core").mkdir()
    (tmp_path / "cggm_core" / "__init__.py").write_text("")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.py").write_text("import helper")
    assert loaded_heavy(tmp_path, light_modules(tmp_path)) == ["torch"]


def _imported_by_pages(project: Path) -> list[str]:
    """Modules that pages and app.py import; the pages themselves need a session to run in."""
    found = set()
    for one in house.imports(project):
        if one.room in ("pages", "app"):
            module, _, name = one.target.rpartition(".")
            path = project / (module.replace(".", "/") or name)
            # `from package import name`: the name may be a module, or something inside the package.
            inside = (path / f"{name}.py").is_file() or (path / name).is_dir() or not module
            found.add(one.target if inside else module)
    return sorted(found)
