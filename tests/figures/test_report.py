"""One archive of figures and tables: complete, the same bytes twice, and its numbers agree with each other."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from cggm_core.analysis.scores import configurations, finished, score_table
from cggm_core.errors import ConfigError
from cggm_core.figures.report import slug, write_report
from cggm_core.store import RunInfo, RunReader, open_reader
from tests.pages import making

HOSTILE = "<script>alert(1)</script>\\input{/etc/passwd} & 100% _x_"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[RunInfo, RunReader]]:
    root = tmp_path_factory.mktemp("runs")
    made = [making.config(method=method, seed=seed, name=HOSTILE) for method in ("cggm", "joint") for seed in (1, 2)]
    readers = [open_reader(root / making.finished(root, one)) for one in made]
    return [(reader.info(), reader) for reader in readers]


@pytest.fixture(scope="module")
def archive(runs: list[tuple[RunInfo, RunReader]]) -> dict[str, bytes]:
    return opened(runs)


def opened(runs: list[tuple[RunInfo, RunReader]]) -> dict[str, bytes]:
    file = io.BytesIO()
    assert write_report(runs, file) > 0
    with zipfile.ZipFile(file) as held:
        return {name: held.read(name) for name in held.namelist()}


def test_every_figure_comes_in_every_form_and_with_its_numbers(archive: dict[str, bytes]) -> None:
    stems = {name.rpartition(".")[0] for name in archive if name.startswith("figures/")}
    assert {"figures/joint/scores", "figures/cggm-paper/coefficients", "figures/comparison/val-score"} <= stems
    for stem in stems:
        assert archive[f"{stem}.pdf"].startswith(b"%PDF")
        assert b"/FontFile2" in archive[f"{stem}.pdf"]
        assert b"/Subtype /Type3" not in archive[f"{stem}.pdf"]
        assert b"<svg" in archive[f"{stem}.svg"]
        assert archive[f"{stem}.png"].startswith(b"\x89PNG")
        assert archive[f"{stem}.csv"].startswith(b"panel,series,role,x,y")


def test_numbers_of_table_csv_and_store_agree(archive: dict[str, bytes], runs: list[tuple[RunInfo, RunReader]]) -> None:
    table = score_table(finished(configurations([info for info, _ in runs])))
    listed = list(csv.DictReader(io.StringIO(archive["tables/scores.csv"].decode())))
    latex = archive["tables/scores.tex"].decode()
    assert len(listed) == len(table.columns) * len(table.rows)
    for row in listed:
        number = [column.key for column in table.columns].index(row["metric"])
        cell = table.rows[row["configuration"]][number]
        assert float(row["mean"]) == cell.sample.mean
        assert f"{cell.sample.mean:.3f} $\\pm$ {cell.sample.std:.3f}" in latex
    drawn = csv.DictReader(io.StringIO(archive["figures/comparison/val-score.csv"].decode()))
    last = {row["series"]: float(row["y"]) for row in drawn if row["role"] == "line"}
    for name, cells in table.rows.items():
        number = [column.key for column in table.columns].index("val_score")
        assert last[f"{name} (n = 2)"] == pytest.approx(cells[number].sample.mean, abs=1e-12)


def test_the_same_runs_give_the_same_bytes(archive: dict[str, bytes], runs: list[tuple[RunInfo, RunReader]]) -> None:
    assert opened(runs) == archive


def test_the_page_opens_offline_and_shows_names_as_text(archive: dict[str, bytes]) -> None:
    page = archive["index.html"].decode()
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page.replace('xlink:href="#', 'href="#'))
    assert page.count("<figure") == page.count("<svg")
    assert "default-src 'none'" in page


def test_what_made_it_is_inside(archive: dict[str, bytes], runs: list[tuple[RunInfo, RunReader]]) -> None:
    for info, _ in runs:
        assert json.loads(archive[f"configurations/{info.id}.json"])["method"] == info.config["method"]
    told = json.loads(archive["provenance.json"])
    assert told["baseline"] == "joint"
    assert sorted(run["run"] for members in told["runs"].values() for run in members) == sorted(i.id for i, _ in runs)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex to compile the tables with")
def test_the_tables_compile(archive: dict[str, bytes], tmp_path: Path) -> None:
    body = archive["tables/scores.tex"].decode() + archive["tables/settings.tex"].decode()
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "t.tex").write_text(text)
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path,
                          capture_output=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_nothing_to_report_on_is_said() -> None:
    with pytest.raises(ConfigError, match="at least one run"):
        write_report([], io.BytesIO())


def test_an_unknown_baseline_lists_those_there_are(runs: list[tuple[RunInfo, RunReader]]) -> None:
    with pytest.raises(ConfigError, match="there are: "):
        write_report(runs, io.BytesIO(), baseline="other")


@pytest.mark.parametrize(
    ("text", "word"),
    [("CGGM paper, ρ 1.5", "cggm-paper-1-5"), ("../../etc", "etc"), ("", "configuration"), ("x" * 99, "x" * 40)],
)
def test_slug(text: str, word: str) -> None:
    assert slug(text) == word
    assert slug(text, [word]) == f"{word}-2"
