"""What stands at the top of the project, how long its files are, and that the README tells the truth."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cggm_core import catalog
from cggm_core.cli import build_parser
from tests.support import house

PROJECT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    "app.py", "cggm_core", "pages", "sample_runs", "tests", "requirements.txt",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", "benchmarks",
    ".streamlit", ".ci", "Makefile", ".gitignore", ".gitattributes", "requirements-dev.txt",
    "docs",  # pictures of the pages for the README, and the program that makes them
}  # fmt: skip
LONGEST, LONGEST_TEST = 400, 600
HIDDEN = {"queue"}


def tracked(project: Path) -> list[Path]:
    """Files of the project; without git, whatever lies there."""
    if shutil.which("git") and (project / ".git").exists():
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={project}", "ls-files", "-z"],
            cwd=project, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        return [Path(name) for name in listed.split("\0") if name and (project / name).exists()]
    places = [project / name for name in TOP_LEVEL]
    found = [p for place in places for p in ([place] if place.is_file() else place.rglob("*")) if p.is_file()]
    return [p.relative_to(project) for p in found if "__pycache__" not in p.parts]


def strays(files: list[Path]) -> set[str]:
    """Names at the top that the design does not have."""
    return {path.parts[0] for path in files} - TOP_LEVEL


def command_lines(readme: str) -> list[list[str]]:
    """Every `python -m cggm_core ...` of the code blocks, as arguments."""
    blocks = re.findall(r"```\w*\n(.*?)```", readme, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    found = [re.match(r"(?:\w+=\S+ )*(?:\.venv/bin/)?python -m cggm_core(.*)", line) for line in lines]
    return [shlex.split(one.group(1)) for one in found if one]


def make_targets(makefile: str) -> set[str]:
    """Targets of a Makefile that a person may name."""
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def commands(parser: argparse.ArgumentParser) -> set[str]:
    """Names of the parser's commands."""
    subparsers = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return set(subparsers[0].choices)


@pytest.fixture(scope="module")
def readme() -> str:
    return (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_top_level_is_what_the_design_allows() -> None:
    assert strays(tracked(PROJECT)) == set()


def test_a_stray_at_the_top_is_seen() -> None:
    assert strays([Path("app.py"), Path("scripts/one.py"), Path("notes.txt")]) == {"scripts", "notes.txt"}


def test_no_python_file_is_longer_than_a_person_reads() -> None:
    files = [path for path in tracked(PROJECT) if path.suffix == ".py"]
    assert len(files) > 50
    tests = [path for path in files if path.parts[0] == "tests"]
    assert house.too_long(PROJECT, [path for path in files if path not in tests], LONGEST) == []
    assert house.too_long(PROJECT, tests, LONGEST_TEST) == []


def test_a_long_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("pass\n" * (LONGEST + 1))
    (tmp_path / "short.py").write_text("pass\n" * LONGEST)
    assert house.too_long(tmp_path, [Path("long.py"), Path("short.py")], LONGEST) == ["long.py: 401 lines, at most 400"]


def test_the_readme_opens_with_the_two_commands(readme: str) -> None:
    first = re.search(r"```\w*\n(.*?)```", readme, re.DOTALL)
    assert first is not None
    assert "make run" in first.group(1)
    assert "make test" in first.group(1)
    assert readme.index("make test") < readme.index("pip install -r requirements.txt")
    assert readme.index("pip install -r requirements.txt") < readme.index("streamlit run app.py")


def test_every_command_line_of_the_readme_is_one_the_parser_takes(readme: str) -> None:
    lines = command_lines(readme)
    assert len(lines) >= 8
    for arguments in lines:
        build_parser().parse_args(arguments)


def test_a_command_line_that_does_not_exist_is_seen() -> None:
    text = "```sh\npython -m cggm_core train --colour red\n```"
    with pytest.raises(SystemExit):
        build_parser().parse_args(command_lines(text)[0])


def test_every_make_target_of_the_readme_exists(readme: str) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", readme, re.MULTILINE))
    targets = make_targets((PROJECT / "Makefile").read_text(encoding="utf-8"))
    assert named
    assert named <= targets


def test_every_command_is_in_the_readme(readme: str) -> None:
    shown = {arguments[0] for arguments in command_lines(readme) if arguments}
    assert commands(build_parser()) - HIDDEN - shown == set()


def test_every_page_is_in_the_readme(readme: str) -> None:
    missing = [card.title for card in catalog.all_cards("page").values() if f"**{card.title}**" not in readme]
    assert missing == []


def test_every_method_and_data_set_is_in_the_readme(readme: str) -> None:
    named = [*catalog.all_cards("method"), *catalog.all_cards("dataset")]
    assert [name for name in named if f"`{name}`" not in readme] == []


def test_the_hidden_command_is_not_in_the_help() -> None:
    assert commands(build_parser()) >= HIDDEN
    assert not any(f"\n    {name} " in build_parser().format_help() for name in HIDDEN)
