from __future__ import annotations

import json
from pathlib import Path

import pytest

from cggm_core.errors import StoreError
from cggm_core.store.views import MOST_VIEWS, VIEWS, keep_view, read_views


def test_a_view_is_kept_replaced_and_forgotten(tmp_path: Path) -> None:
    assert read_views(tmp_path) == {}
    keep_view(tmp_path, "b", {"q": ["x"], "state": ["running", "died"]})
    keep_view(tmp_path, "A", {})
    assert list(read_views(tmp_path)) == ["A", "b"]
    keep_view(tmp_path, "b", {"q": ["y"]})
    assert read_views(tmp_path)["b"] == {"q": ["y"]}
    keep_view(tmp_path, "b", None)
    assert read_views(tmp_path) == {"A": {}}


@pytest.mark.parametrize("raw", ["", "[]", '{"a": 3}', '{"\\u202e": {}}', "{" * 5000])
def test_a_file_that_somebody_else_wrote_counts_as_none(raw: str, tmp_path: Path) -> None:
    (tmp_path / VIEWS).write_text(raw)
    assert read_views(tmp_path) == {}


def test_only_what_an_address_can_hold_is_read(tmp_path: Path) -> None:
    (tmp_path / VIEWS).write_text(json.dumps({"v": {"q": ["ok", 3, "x" * 1000], "low": 1, "state": ["a"] * 1000}}))
    found = read_views(tmp_path)["v"]
    assert (found["q"], len(found["state"]), "low" in found) == (["ok"], 100, False)


def test_a_view_without_a_name_and_one_too_many_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="needs a name"):
        keep_view(tmp_path, " \u202e ", {})
    (tmp_path / VIEWS).write_text(json.dumps({f"v{number}": {} for number in range(MOST_VIEWS)}))
    with pytest.raises(StoreError, match="forget one first"):
        keep_view(tmp_path, "one more", {})
    keep_view(tmp_path, "v3", {"q": ["still replaced"]})
