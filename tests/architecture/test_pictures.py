"""The pictures of the README: each in light and dark, none missing, none unseen, all together small."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from cggm_core import catalog

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "docs" / "pictures"
MOST_BYTES = 4_000_000
# Beside the pages: the first page as a newcomer finds it, and the verdict as the README begins with it.
OTHERS = {"first_visit", "verdict"}


def shown(readme: str) -> set[str]:
    """Files that a text shows out of the folder of pictures."""
    return set(re.findall(r'docs/pictures/([\w.-]+)"', readme))


def test_the_readme_shows_every_picture_and_none_that_is_missing() -> None:
    there = {path.name for path in FOLDER.iterdir()}
    assert shown((PROJECT / "README.md").read_text(encoding="utf-8")) == there
    assert len(there) >= 20


def test_every_picture_is_of_a_page_in_light_and_dark_and_as_wide() -> None:
    names = {path.stem for path in FOLDER.iterdir()}
    pages = {name.rpartition("-")[0] for name in names}
    assert pages <= set(catalog.all_cards("page")) | OTHERS
    assert names == {f"{page}-{scheme}" for page in pages for scheme in ("light", "dark")}
    for path in FOLDER.iterdir():
        with Image.open(path) as picture:
            assert picture.width == 1440, path.name


def test_light_is_light_and_dark_is_dark() -> None:
    for path in FOLDER.iterdir():
        with Image.open(path) as picture:
            corner = sum(picture.convert("RGB").getpixel((picture.width - 5, 5)))  # type: ignore[arg-type]
        assert (corner > 600) == path.stem.endswith("-light"), path.name


def test_pictures_do_not_weigh_a_clone_down() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES


def test_a_picture_named_in_a_text_is_found() -> None:
    assert shown('<img src="docs/pictures/a-light.webp"> docs/pictures/') == {"a-light.webp"}
