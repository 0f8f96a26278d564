"""One archive of figures and tables: complete, readable everywhere, the same bytes twice, its numbers agree."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader

from cggm_core.analysis.scores import configurations, finished, score_table
from cggm_core.errors import ConfigError, StoreError
from cggm_core.figures.report import write_report
from cggm_core.figures.report_parts import of_gradients, slug
from cggm_core.figures.theme import RAW_OPACITY
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo, RunReader, create_run, open_reader, open_writer, run_folder
from tests.embedding.making import paired
from tests.pages import making

HOSTILE = "<script>alert(1)</script>\\input{/etc/passwd} & 100% _x_"
NAMES = {
    "html": "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "emoji": "\N{FAMILY}" * 2500,
    "direction": "_abc\u202egpj.exe\u202c \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "sql": "'); DROP TABLE run; --",
    "path": "../../etc/passwd\\..\\x",
    "latex": "\\write18{rm} $x^2$ %c &#~^_{}",
    "formula": "=1+1",
}
ENDINGS = ("pdf", "svg", "png", "html", "csv", "parquet")


def drawn_in_full(root: Path, made: Any) -> str:
    """A run that has everything the report draws: series, test scores, gradients, looks at contributions."""
    run_id = create_run(root, made.to_json())
    writer = open_writer(run_folder(root, run_id))
    making.write_rows(writer, 60, 60)
    last = writer.stream("end", [MetricKey("test_score"), MetricKey("test_accuracy"), MetricKey("test_f1")])
    seed = made.training.seed
    writer.log(last, 59, 5, [0.8 + 0.01 * seed, 0.8 + 0.01 * seed, 0.7 + 0.01 * seed])
    writer.state("running")
    writer.event(0, "start", "training starts", {"modalities": list(making.MODALITIES), "task": "classification",
                 "samples": {"train": 10, "val": 5, "test": 5}, "chance": 0.1, "score": "accuracy"})  # fmt: skip
    for shot in paired(0.6, batches=4, snapshots=2, dim=20, modalities=making.MODALITIES):
        writer.snapshot(shot.step, shot.batch, shot.kind, shot.modality, shot.array, dict(shot.data))
    writer.flush()
    writer.finish("finished")
    return run_id


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[RunInfo, RunReader]]:
    root = tmp_path_factory.mktemp("runs")
    made = [making.config(method=method, seed=seed, name=HOSTILE) for method in ("cggm", "joint") for seed in (1, 2)]
    readers = [open_reader(run_folder(root, drawn_in_full(root, one))) for one in made]
    return [(reader.info(), reader) for reader in readers]


@pytest.fixture(scope="module")
def archive(runs: list[tuple[RunInfo, RunReader]]) -> dict[str, bytes]:
    return opened(runs)


def stems(archive: dict[str, bytes]) -> set[str]:
    return {name.rpartition(".")[0] for name in archive if name.startswith("figures/")}


def opened(runs: list[tuple[RunInfo, RunReader]]) -> dict[str, bytes]:
    file = io.BytesIO()
    assert write_report(runs, file) > 0
    with zipfile.ZipFile(file) as held:
        return {name: held.read(name) for name in held.namelist()}


def test_every_figure_comes_in_every_form_and_with_its_numbers(archive: dict[str, bytes]) -> None:
    assert {"figures/joint/scores", "figures/cggm-paper/coefficients", "figures/comparison/val-score"} <= stems(archive)
    for stem in stems(archive):
        assert {name for name in archive if name.rpartition(".")[0] == stem} == {f"{stem}.{end}" for end in ENDINGS}
        assert archive[f"{stem}.png"].startswith(b"\x89PNG")
        ElementTree.fromstring(archive[f"{stem}.svg"])
    tables = {name.rpartition(".")[0] for name in archive if name.startswith("tables/")}
    assert all(f"{table}.{end}" in archive for table in tables for end in ("tex", "csv", "parquet"))


def test_the_figures_and_tables_of_the_paper_are_there(archive: dict[str, bytes]) -> None:
    assert "figures/comparison/differences" in stems(archive)
    for folder in ("joint", "cggm-paper"):
        paper = ("scores", "gradient-norms", "directions", "losses", "gradient-map", "pairing-cosine")
        assert {f"figures/{folder}/{key}" for key in paper} <= stems(archive)
    assert "figures/cggm-paper/coefficients" in stems(archive)
    for key in ("data", "metrics", "scores", "hyperparameters", "agreement", "verdict", "settings",
                "components-digits-views"):  # fmt: skip
        assert f"tables/{key}.tex" in archive
    page = archive["index.html"].decode()
    for paper in ("Fig. 2", "Fig. 3", "Fig. 4", "Fig. 6", "Fig. 7", "Table 1", "Table 2-4", "Table 6", "Table 7"):
        row = re.search(rf"<th scope='row'>{re.escape(paper)}</th>.*?</tr>", page)
        assert row is not None
        assert "<a href=" in row[0], paper
    for paper in ("Fig. 5", "Table 8"):  # one value of each knob, and runs that recorded no cost
        assert "not in this report" in re.search(rf"<th scope='row'>{paper}</th>.*?</tr>", page)[0]  # type: ignore[index]


def test_pdfs_open_with_every_font_embedded(archive: dict[str, bytes]) -> None:
    for stem in stems(archive):
        page = PdfReader(io.BytesIO(archive[f"{stem}.pdf"])).pages[0]
        fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]  # type: ignore[index]
        assert fonts
        for font in fonts:
            assert font["/Subtype"] in ("/TrueType", "/Type0"), stem
            inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
            assert "/FontFile2" in inner["/FontDescriptor"].get_object(), stem
        assert page.extract_text().strip()


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


def test_svg_html_csv_and_parquet_of_a_figure_hold_the_same_numbers(archive: dict[str, bytes]) -> None:
    for stem in ("figures/comparison/val-score", "figures/joint/gradient-map", "figures/cggm-paper/scores"):
        told = pd.read_csv(io.BytesIO(archive[f"{stem}.csv"]))
        typed = pd.read_parquet(io.BytesIO(archive[f"{stem}.parquet"]))
        assert list(told.columns) == list(typed.columns)
        assert np.array_equal(told["y"], typed["y"], equal_nan=True)
        for name, mine in told[told.role.isin(["line", "smooth", "points"])].groupby("series"):
            shown = traced(archive[f"{stem}.html"], str(name), mine.role.iloc[0])
            assert shown == pytest.approx(mine["y"].to_numpy(np.float32), nan_ok=True), (stem, name)
            assert in_svg(archive[f"{stem}.svg"], mine["x"].to_numpy(), mine["y"].to_numpy()), (stem, name)


def traced(page: bytes, name: str, role: str) -> np.ndarray:
    """The y values of a trace of an interactive page."""
    code = page.decode().rpartition("<script>")[2]
    found = json.loads(code[code.index("({") + 1 : code.rindex("))</script>")].strip("()"))
    want = "markers" if role == "points" else "lines"
    trace = next(t for t in found["data"] if html.unescape(t["name"]) == name and t["mode"].startswith(want)
                 and t.get("opacity") != RAW_OPACITY and "fill" not in t)  # fmt: skip
    return np.frombuffer(base64.b64decode(trace["y"]["bdata"]), trace["y"]["dtype"])


def in_svg(svg: bytes, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether some line or cloud of an SVG runs through these points, up to the axes' scale and place."""
    root = ElementTree.fromstring(svg)
    names = {"path": "{http://www.w3.org/2000/svg}path", "use": "{http://www.w3.org/2000/svg}use",
             "g": "{http://www.w3.org/2000/svg}g"}  # fmt: skip
    found = [np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d", "")), float) for path in root.iter(names["path"])]
    found += [np.array([(use.get("x"), use.get("y")) for use in group.iter(names["use"]) if use.get("x")], float)
              for group in root.iter(names["g"])]  # fmt: skip
    return any(len(one) == len(x) and along(one[:, 0], x) and along(-one[:, 1], y) for one in found)


def along(drawn: np.ndarray, value: np.ndarray) -> bool:
    """Whether one is the other times a positive factor plus a constant."""
    if np.ptp(value) == 0 or np.ptp(drawn) == 0:
        return bool(np.ptp(drawn) < 1e-6 and np.ptp(value) < 1e-9)
    slope, at = np.polyfit(value, drawn, 1)
    return bool(slope > 0 and np.abs(slope * value + at - drawn).max() < 1e-3 * np.ptp(drawn))


def test_the_check_of_the_svg_can_fail(archive: dict[str, bytes]) -> None:
    told = pd.read_csv(io.BytesIO(archive["figures/comparison/val-score.csv"]))
    mine = told[told.role == "line"].groupby("series").get_group(told.series.iloc[-1])
    assert in_svg(archive["figures/comparison/val-score.svg"], mine.x.to_numpy(), mine.y.to_numpy())
    wrong = mine.y.to_numpy() * np.linspace(1, 1.1, len(mine))
    assert not in_svg(archive["figures/comparison/val-score.svg"], mine.x.to_numpy(), wrong)


def test_the_page_opens_offline_and_shows_names_as_text(archive: dict[str, bytes]) -> None:
    page = archive["index.html"].decode()
    assert "<script" not in page
    linked = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", page)
    assert linked
    assert set(linked) <= set(archive)
    assert page.count("<figure") == page.count("<svg")
    assert "default-src 'none'" in page
    assert "plotly.min.js" not in page
    single = archive["figures/joint/scores.html"].decode()
    assert re.findall(r"src='([^']*)'", single) == ["../../assets/plotly.min.js"]
    assert len(archive["assets/plotly.min.js"]) > 1_000_000


def test_what_made_it_is_inside(archive: dict[str, bytes], runs: list[tuple[RunInfo, RunReader]]) -> None:
    for info, _ in runs:
        assert json.loads(archive[f"configurations/{info.id}.json"])["method"] == info.config["method"]
    told = json.loads(archive["provenance.json"])
    assert told["baseline"] == "joint"
    assert sorted(run["run"] for members in told["runs"].values() for run in members) == sorted(i.id for i, _ in runs)


def compiled(archive: dict[str, bytes], folder: Path) -> None:
    body = "\\clearpage".join(archive[name].decode() for name in sorted(archive) if name.endswith(".tex"))
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{body}\\end{{document}}"
    (folder / "t.tex").write_text(text)
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=folder,
                          capture_output=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex to compile the tables with")
def test_the_tables_compile(archive: dict[str, bytes], tmp_path: Path) -> None:
    compiled(archive, tmp_path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A report of runs named in every hostile way, where a foreign program may put a name: method, data, modality."""
    root = tmp_path_factory.mktemp("hostile")
    readers = []
    for text in NAMES.values():
        given = {"name": text, "method": text, "dataset": text, "preset": "", "training": {"seed": 0, "lr": text}}
        run_id = create_run(root, json.dumps(given))
        writer = open_writer(run_folder(root, run_id))
        keys = [
            MetricKey("loss"),
            MetricKey("val_score"),
            MetricKey("test_score"),
            MetricKey("val_unimodal_score", text[:60]),
        ]
        stream = writer.stream("mine", keys)
        for step in range(4):
            writer.log(stream, step, step, [1.0 / (step + 1)] * len(keys))
        writer.finish("finished")
        readers.append(open_reader(run_folder(root, run_id)))
    file, found = io.BytesIO(), [(reader.info(), reader) for reader in readers]
    names = list(configurations([info for info, _ in found]))
    write_report(found, file, drawn=[names[1], names[2], names[-1]])
    with zipfile.ZipFile(file) as held:
        return {name: held.read(name) for name in held.namelist()}


def test_names_of_every_kind_are_text_everywhere(hostile: dict[str, bytes]) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9./-]+", name) and ".." not in name and len(name) < 120 for name in hostile)
    for name, data in hostile.items():
        if name.endswith(".html"):
            text = data.decode()
            assert not re.search(r"<img|<script>alert|onerror=alert\(1\)>", text), name
            assert "\u202e" not in text, name
        elif name.endswith(".svg"):
            ElementTree.fromstring(data)
        elif name.endswith(".csv"):
            assert not re.search(rb"(^|,)[=+@]", data, re.MULTILINE), name
        elif name.endswith(".pdf"):
            assert PdfReader(io.BytesIO(data)).pages[0].extract_text().strip(), name
    named = json.loads(hostile["provenance.json"])["runs"]
    assert len(named) == len(NAMES)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex to compile the tables with")
def test_tables_with_such_names_compile(hostile: dict[str, bytes], tmp_path: Path) -> None:
    compiled(hostile, tmp_path)


def test_a_map_that_cannot_be_made_is_said_and_costs_nothing_else(runs: list[tuple[RunInfo, RunReader]]) -> None:
    def broken(*_: object) -> np.ndarray:
        raise StoreError("no map can be made in runs: disk full; free space")

    info, reader = runs[0]
    drawn, rows, why = of_gradients("cggm", "cggm", info, reader, broken, lambda _stage, _done: None)
    assert "disk full" in why
    assert [one.place for one in drawn] == ["figures/cggm/pairing-cosine", "figures/cggm/pairing-rank"]
    assert len(rows) == 4 * len(making.MODALITIES)


def test_the_same_runs_give_the_same_bytes_and_who_is_not_drawn_stands_in_the_tables(
    archive: dict[str, bytes], runs: list[tuple[RunInfo, RunReader]]
) -> None:
    file = io.BytesIO()
    write_report(runs, file, drawn=["joint"])
    with zipfile.ZipFile(file) as held:
        again = {name: held.read(name) for name in held.namelist()}
        assert {entry.date_time for entry in held.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert not any(name.startswith("figures/cggm") for name in again)
    assert b"cggm paper" in again["tables/scores.csv"]
    whole = {
        "index.html",
        *(f"tables/{key}.{end}" for key in ("verdict", "agreement") for end in ("tex", "csv", "parquet")),
    }
    assert len(again) > 80
    assert {name for name in again if again[name] != archive[name]} == whole


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
