"""What lies at a path is told from names, and what is not known is said with what was looked for."""

from pathlib import Path

import pytest

from cggm_core import catalog, cli
from cggm_core.config import RunConfig
from cggm_core.datasets._paths import format_of, format_of_file, open_path
from cggm_core.errors import DataError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.npz", "npz"),
        ("A.NPZ", "npz"),
        ("a.pkl", "pickled"),
        ("a.pickle", "pickled"),
        ("a.p", "pickled"),
        ("a.csv", ""),
    ],
)
def test_files_by_their_ending(name: str, expected: str) -> None:
    assert format_of_file(name) == expected


@pytest.mark.parametrize("name", catalog.all_cards("format"))
def test_every_format_says_what_it_expects_and_where_it_comes_from(name: str) -> None:
    card = catalog.card("format", name)
    assert all((card.title, card.summary, card.layout, card.task, card.source))


def test_what_is_not_known_is_said_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").write_text("")
    for name, found in (
        ("a.csv", "a file .csv"), ("none.npz", "nothing"), ("empty", "an empty folder"),
        ("other", "a folder with x.txt"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"^{name}: found {found} at .*expected a \.npz file, a pickle .*NIfTI"):
            format_of(tmp_path / name)
    with pytest.raises(DataError, match="found nothing"):
        open_path(tmp_path / "none", {})


def test_a_name_is_no_path_and_a_path_is_no_name(tmp_path: Path) -> None:
    assert not RunConfig().is_file()
    for path in ("a.npz", "./a", "/data/brats", "C:\\data", "~/x", "mosi.pkl"):
        assert RunConfig(dataset=path).is_file()


def test_a_bare_word_is_a_folder_if_one_is_there(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "--dataset", "mine"]) == 2
    assert "mine: found an empty folder" in capsys.readouterr().err
    assert cli.main(["check", "--dataset", "yours"]) == 2
    assert "no dataset named 'yours'" in capsys.readouterr().err


def test_the_command_line_lists_formats(capsys) -> None:
    assert cli.main(["datasets"]) == 0
    said = capsys.readouterr().out
    assert "with --dataset PATH" in said
    for name in catalog.all_cards("format"):
        assert f"\n{name}: " in said
    assert cli.main(["datasets", "--formats", "--json"]) == 0
    assert '"layout"' in capsys.readouterr().out
