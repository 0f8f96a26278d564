"""A report of chosen runs in one archive: the paper's figures and tables, fit for print, with what made them.

Inside: `index.html` (opens offline, no script), `figures/` as PDF, SVG, PNG and the numbers drawn as CSV, `tables/` as
LaTeX and CSV, `configurations/` and `provenance.json`. The same runs give the same bytes.
"""

from __future__ import annotations

import html
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

import cggm_core
from cggm_core.analysis import comparison
from cggm_core.analysis.scores import Members, configurations, finished, reading, score_table
from cggm_core.analysis.series import axis_values
from cggm_core.analysis.tables import (
    ScoreTable,
    guarded,
    settings_csv,
    settings_latex,
    spread_text,
    to_csv,
    to_latex,
)
from cggm_core.errors import ConfigError
from cggm_core.figures import dynamics
from cggm_core.figures.comparison import Group, compared
from cggm_core.figures.live import LiveRun
from cggm_core.figures.print import WIDTHS, Format, rendered
from cggm_core.figures.spec import FigureSpec
from cggm_core.names import MetricKey
from cggm_core.store.bundle import scrubbed
from cggm_core.store.protocols import RunInfo, RunReader

FORMS: tuple[Format, ...] = ("pdf", "svg", "png")
# Where the paper shows what a figure of ours shows; ours for the rest.
PAPER = {
    "scores": "Fig. 2a, 3a", "gradient_norms": "Fig. 2b, 3b", "directions": "Fig. 2c, 3c", "losses": "Fig. 6",
    "coefficients": "Fig. 7",
}  # fmt: skip
_TIME = (1980, 1, 1, 0, 0, 0)
_EXPLAINED = (
    "One run of each configuration is drawn, the one of its lowest seed: it was not chosen by its result. The "
    "comparison and the tables use every run."
)
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Drawn:
    """One figure of the report.

    Attributes:
        place: folder and file name inside the archive, without ending.
        caption: what it shows, and of which runs.
        spec: what to draw.
    """

    place: str
    caption: str
    spec: FigureSpec


def write_report(
    runs: Sequence[tuple[RunInfo, RunReader]], file: BinaryIO, *, baseline: str = "", half_life: float = 10.0,
    width: float = WIDTHS["column"], tell: Tell | None = None,
) -> int:  # fmt: skip
    """Write the report of runs into an open file.

    Args:
        runs: as they stand now, each with its reader.
        file: open for binary writing.
        baseline: name of the configuration the others are compared with; "" takes joint training, else the first.
        half_life: of the smoothing in per-step figures, in steps; 0 draws raw values alone.
        width: of every figure in inches at final size; 3.4 is a paper's column, 7.0 its page.
        tell: called before each piece of work with pieces done, pieces in all, and what comes; whatever it raises
            ends the report.

    Returns:
        Figures drawn.

    Raises:
        ConfigError: for no run, or an unknown baseline.
        DamagedRunError: if a run cannot be trusted.
    """
    sound = [(info, reader) for info, reader in runs if not info.damaged]
    if not sound:
        raise ConfigError("a report needs at least one run that can be read; choose some")
    readers = {info.id: reader for info, reader in sound}
    by_name = configurations([info for info, _ in sound], baseline)
    figures = [*_of_runs(by_name, readers, half_life), *_compared(by_name, readers)]
    table = score_table(finished(by_name))
    plain = {name: scrubbed(dict(runs[0].config)) for name, runs in by_name.items()}
    apart = comparison.differences(plain, ("training.seed",))
    pages: list[tuple[Drawn, bytes]] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, drawn in enumerate(figures):
            if tell:
                tell(number, len(figures), drawn.caption)
            for form in FORMS:
                made = rendered(drawn.spec, form, width=width)
                _put(archive, f"{drawn.place}.{form}", made)
                if form == "svg":
                    pages.append((drawn, made))
            _put(archive, f"{drawn.place}.csv", figure_csv(drawn.spec))
        texts = {
            "tables/scores.tex": to_latex(table), "tables/scores.csv": to_csv(table),
            "tables/settings.tex": settings_latex(apart, list(by_name)),
            "tables/settings.csv": settings_csv(apart, list(by_name)),
            "provenance.json": json.dumps(_provenance(by_name, half_life, width), indent=2),
            "index.html": _index(by_name, pages, table, apart),
        }  # fmt: skip
        for info, _ in sound:
            texts[f"configurations/{info.id}.json"] = json.dumps(scrubbed(dict(info.config)), indent=2)
        for name, text in texts.items():
            _put(archive, name, text.encode("utf-8", "replace"))
    return len(figures)


def figure_csv(spec: FigureSpec) -> bytes:
    """The numbers drawn, as CSV; text that a spreadsheet would run as a formula gets an apostrophe."""
    table = spec.table()
    for column in ("panel", "series"):
        table[column] = [guarded(str(text)) for text in table[column]]
    file = io.StringIO()
    table.to_csv(file, index=False, lineterminator="\n")
    return file.getvalue().encode("utf-8", "replace")


def slug(text: str, taken: Sequence[str] = ()) -> str:
    """A word safe in every file system, and none of those taken: letters, digits and dashes, at most 40."""
    word = re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "configuration"
    number, made = 1, word
    while made in taken:
        number += 1
        made = f"{word}-{number}"
    return made


def _of_runs(by_name: Members, readers: Mapping[str, RunReader], half_life: float) -> list[Drawn]:
    found: list[Drawn] = []
    folders: list[str] = []
    for name, runs in by_name.items():
        folders.append(slug(name, folders))
        live = LiveRun(readers[runs[0].id], half_life)
        live.poll()
        view = live.view("step")
        for key, build in dynamics.FIGURES.items():
            spec = build(view)
            if any(panel.points() for panel in spec.panels):
                origin = f" (as {PAPER[key]} of the paper)" if key in PAPER else ""
                caption = f"{spec.title}{origin}: {name}, seed {comparison.seed_of(runs[0])}, run {runs[0].id}"
                found.append(Drawn(f"figures/{folders[-1]}/{key.replace('_', '-')}", caption, spec))
    return found


def _compared(by_name: Members, readers: Mapping[str, RunReader]) -> list[Drawn]:
    if len(by_name) < 2:
        return []
    keys = dict.fromkeys(
        key for runs in by_name.values() for info in runs for key in info.summary
        if key.metric in ("val_score", "val_unimodal_score")
    )  # fmt: skip
    found = []
    for key in keys:
        groups = []
        for place, (name, runs) in enumerate(by_name.items()):
            groups.append(Group(name, place - 1, tuple(_epochs(info, readers[info.id], key) for info in runs)))
        spec = compared(groups, key, axis="epoch")
        word = slug(f"{key.metric}-{key.modality}" if key.modality else key.metric)
        counted = ", ".join(f"{name} (n = {len(runs)})" for name, runs in by_name.items())
        found.append(Drawn(f"figures/comparison/{word}", f"{spec.title}: {counted}", spec))
    return found


def _epochs(info: RunInfo, reader: RunReader, key: MetricKey) -> tuple[np.ndarray, np.ndarray]:
    series = reader.series([key])[key]
    per_epoch = info.steps / info.epochs if info.steps > 0 and info.epochs > 0 else 0.0
    return axis_values("epoch", series.step, series.epoch, np.zeros(len(series.step)), per_epoch), series.value


def _provenance(by_name: Members, half_life: float, width: float) -> dict[str, Any]:
    told = {
        name: [{"run": info.id, "seed": comparison.seed_of(info), "state": info.state, "steps": info.step + 1,
                "name": info.name} for info in runs]
        for name, runs in by_name.items()
    }  # fmt: skip
    return {
        "made_by": f"CGGM Lab {cggm_core.__version__}", "baseline": next(iter(by_name)),
        "smoothing_half_life_steps": half_life, "figure_width_inches": width, "runs": told, "explanation": _EXPLAINED,
    }  # fmt: skip


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, data)


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;"
    "background:#fff}.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1rem}"
    "figure{margin:0;padding:1rem;border:1px solid #d8dee4;border-radius:8px}"
    "figure svg{width:100%;height:auto}figcaption{color:#4b5563;font-size:.9rem}"
    "table{border-collapse:collapse;font-size:.9rem;display:block;overflow-x:auto}"
    "td,th{padding:.3rem .7rem;border-bottom:1px solid #d8dee4;text-align:left}td{white-space:nowrap}"
)


def _index(
    by_name: Members, pages: Sequence[tuple[Drawn, bytes]], table: ScoreTable, apart: Mapping[str, Mapping[str, Any]]
) -> str:
    said = html.escape
    count = sum(len(runs) for runs in by_name.values())
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>CGGM Lab report</title><style>{_STYLE}</style></head><body><h1>Report</h1>",
        f"<p>{count} runs of {len(by_name)} configurations. {said(_EXPLAINED)}</p>",
        "<h2>Final scores</h2>", _score_rows(table), f"<p>{said(reading(table))}</p>",
        "<h2>Settings that differ</h2>", _setting_rows(apart, list(by_name)), "<h2>Figures</h2><div class='figures'>",
    ]  # fmt: skip
    for number, (drawn, svg) in enumerate(pages, start=1):
        parts.append(
            f"<figure role='img' aria-label='{said(drawn.spec.alt, quote=True)}'>{_inline(svg, number)}"
            f"<figcaption><b>{said(drawn.caption)}.</b> {said(drawn.spec.how_to_read)} "
            f"{said(' '.join(drawn.spec.notes()))} <code>{said(drawn.place)}</code></figcaption></figure>"
        )
    return "".join([*parts, "</div></body></html>"])


def _inline(svg: bytes, number: int) -> str:
    """An SVG inside a page: no XML head, and identifiers of its own, or figures would share clip paths."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>f{number}-", text)


def _score_rows(table: ScoreTable) -> str:
    if not table.columns:
        return "<p>No finished run records a validation or test score.</p>"
    heads = "".join(f"<th>{html.escape(column.label)}</th>" for column in table.columns)
    rows = []
    for name, cells in table.rows.items():
        shown = []
        for number, cell in enumerate(cells):
            text = html.escape(spread_text(cell.sample))
            shown.append(f"<td>{f'<b>{text}</b>' if table.best(number) == name else text}</td>")
        n = max((cell.sample.n for cell in cells), default=0)
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{n}</td>{''.join(shown)}</tr>")
    return f"<table><tr><th>Configuration</th><th>n</th>{heads}</tr>{''.join(rows)}</table>"


def _setting_rows(apart: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    if not apart:
        return "<p>The configurations agree in every setting.</p>"
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = []
    for key, one in apart.items():
        cells = "".join(f"<td>{html.escape(str(one.get(name, '–'))[:80])}</td>" for name in names)
        rows.append(f"<tr><td>{html.escape(key)}</td>{cells}</tr>")
    return f"<table><tr><th>Setting</th>{heads}</tr>{''.join(rows)}</table>"
