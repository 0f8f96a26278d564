"""What pages and README show of the examples is what the tests run."""

from __future__ import annotations

import re
from pathlib import Path

from cggm_core.ui import snippets

README = Path(__file__).resolve().parents[2] / "README.md"
SOURCE = '''"""About watching."""
import x
from y import WatchThing
def train():
    watch = x.watch(
        1,
    )
    for a in b:
        watch.step(a)
        other(a)
    """watch in a text is no statement of it"""
    watch.close()
'''


def test_statements_of_the_watch_are_found_by_their_names() -> None:
    assert snippets.watching(SOURCE) == (3, 5, 6, 7, 9, 12)
    assert "watch" not in snippets.without(SOURCE, snippets.watching(SOURCE)).replace("watching", "").replace(
        "watch in a text", ""
    )
    shown = snippets.Example("x", "", SOURCE, snippets.watching(SOURCE)).lines()
    assert shown.splitlines() == [
        "from y import WatchThing", "watch = x.watch(", "    1,", ")", "watch.step(a)", "watch.close()",
    ]  # fmt: skip


def test_the_plain_loop_needs_exactly_three_lines() -> None:
    assert snippets.examples()["plain_loop"].lines().splitlines() == [
        'watch = cggm_core.watch({"audio": net.audio, "text": net.text}, head=net.head, task="classification", '
        'run="mine")',
        "watch.step(loss, target)",
        "watch.close()",
    ]


def test_the_readme_shows_lines_of_a_tested_program() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "cggm_core.watch" in block]
    shown = [line.split("  #")[0].rstrip() for line in block.splitlines()]
    assert shown == snippets.examples()["plain_loop"].lines().splitlines()


def test_every_example_says_what_it_is() -> None:
    for example in snippets.examples().values():
        assert example.summary.endswith(".")
        assert example.watching
