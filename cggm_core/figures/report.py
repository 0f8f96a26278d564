"""A report of chosen runs in one archive: the paper's figures and tables, fit for print, with what made them.

Inside: `index.html` (opens offline, no script), `figures/` as PDF, SVG, PNG and HTML with the numbers drawn as CSV and
Parquet, `tables/` as LaTeX, CSV and Parquet, `configurations/` and `provenance.json`. The same runs give the same
bytes.
"""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import cggm_core
from cggm_core.analysis import comparison
from cggm_core.analysis.costs import cost_table
from cggm_core.analysis.grids import Value, csv_of, parquet_of
from cggm_core.analysis.report_tables import costs_grid, data_grid, hyperparameters
from cggm_core.analysis.scores import Members, configurations, finished, metric_keys, reading, score_table
from cggm_core.analysis.tables import settings_grid
from cggm_core.analysis.verdict import Verdict
from cggm_core.embedding.gradients import FloatArray, Gradients
from cggm_core.embedding.project import Tell, project
from cggm_core.errors import ConfigError
from cggm_core.figures import report_ablation, report_page, report_parts
from cggm_core.figures.print import WIDTHS, Format, rendered
from cggm_core.figures.report_parts import Drawn, Mapped, Tabled
from cggm_core.figures.spec import FigureSpec
from cggm_core.store.bundle import scrubbed
from cggm_core.store.protocols import RunInfo, RunReader

FORMS: tuple[Format, ...] = ("pdf", "svg", "png")
_TIME = (1980, 1, 1, 0, 0, 0)
_READING = 0.3  # share of the work that is reading and mapping; the rest is drawing
_EXPLAINED = (
    "Of a configuration drawn in full one run is drawn, that of its lowest seed: it was not chosen by its result. The "
    "comparison and the tables use every run."
)
_LIBRARIES = ("numpy", "pandas", "scipy", "matplotlib", "plotly", "pyarrow", "scikit-learn")
# What the paper shows, and what is said of it in the report.
_CONTENTS = {
    "Table 1": "the data", "Fig. 2": "joint training: scores, gradient magnitude, gradient direction",
    "Fig. 3": "the same with balancing", "Table 2-4": "the task's metrics of every configuration, over seeds",
    "Fig. 4": "gradient map, with the numbers that judge it; of runs that kept gradient snapshots",
    "Table 5": "each modality trained alone, and its classifier in joint training and in CGGM",
    "Fig. 5": "score over ρ and over λ; of CGGM at two values or more", "Table 6": "magnitude and direction apart",
    "Fig. 6": "losses", "Fig. 7": "balancing coefficient", "Table 7": "main hyperparameters",
    "Table 8": "what a method adds in memory and time",
}  # fmt: skip
Said = Callable[[float, str], None]


@dataclass
class _Gathered:
    """What is to be written."""

    figures: list[Drawn] = field(default_factory=list)
    tables: list[Tabled] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def mapped_here(gradients: Gradients, tell: Tell) -> FloatArray:
    """A t-SNE map made in this process."""
    return project(gradients.vectors, "tsne", tell=tell)


def write_report(
    runs: Sequence[tuple[RunInfo, RunReader]], file: BinaryIO, *, baseline: str = "", half_life: float = 10.0,
    width: float = WIDTHS["column"], drawn: Collection[str] | None = None, mapped: Mapped = mapped_here,
    tell: Said | None = None,
) -> int:  # fmt: skip
    """Write the report of runs into an open file.

    Args:
        runs: as they stand now, each with its reader.
        file: open for binary writing.
        baseline: name of the configuration the others are compared with; "" takes joint training, else the first.
        half_life: of the smoothing in per-step figures, in steps; 0 draws raw values alone.
        width: of every figure in inches at final size; 3.4 is a paper's column, 7.0 its page.
        drawn: names of the configurations of which a run is drawn in full (curves, verdict, gradient map); None for
            all. Comparison and tables show every configuration.
        mapped: makes the points of the gradient map; a kept one may be handed back.
        tell: called before each piece of work with the share done (0 to 1) and what comes; whatever it raises ends
            the report.

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
    say = tell or (lambda _share, _what: None)
    found = _gathered(by_name, readers, half_life, set(by_name) if drawn is None else set(drawn), mapped, say)
    pages: list[tuple[Drawn, bytes]] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(found.figures):
            share = _READING + (1 - _READING) * number / len(found.figures)
            say(share, f"Drawing {number + 1} of {len(found.figures)}: {one.caption}")
            pages.append((one, _put_figure(archive, one, width)))
        for table in found.tables:
            _put(archive, f"{table.place}.tex", table.latex.encode("utf-8", "replace"))
            _put(archive, f"{table.place}.csv", csv_of(table.frame))
            _put(archive, f"{table.place}.parquet", parquet_of(table.frame))
        count = sum(len(members) for members in by_name.values())
        told = [f"{count} runs of {len(by_name)} configurations. {_EXPLAINED}", *found.reasons]
        _put(archive, "index.html", report_page.index(pages, found.tables, told, _checklist(found)).encode())
        _put(archive, report_page.SCRIPT, report_page.script())
        _put(archive, "provenance.json", _json(_provenance(by_name, half_life, width)))
        for info, _ in sound:
            _put(archive, f"configurations/{info.id}.json", _json(scrubbed(dict(info.config))))
    return len(found.figures)


def figure_csv(spec: FigureSpec) -> bytes:
    """The numbers drawn, as CSV; text that a spreadsheet would run as a formula gets an apostrophe."""
    return csv_of(spec.table())


def figure_parquet(spec: FigureSpec) -> bytes:
    """The numbers drawn, as Parquet."""
    return parquet_of(spec.table())


def _gathered(
    by_name: Members, readers: Mapping[str, RunReader], half_life: float, drawn: Collection[str], mapped: Mapped,
    told: Said,
) -> _Gathered:  # fmt: skip
    """Read everything and make the maps; nothing is drawn yet."""
    made, folders = _Gathered(), list[str]()
    verdicts: dict[str, tuple[str, Verdict]] = {}
    rows: list[tuple[Value, ...]] = []
    details = [name for name in by_name if name in drawn]
    for place, name in enumerate(details):
        folders.append(report_parts.slug(name, folders))
        info = by_name[name][0]
        share = _READING * place / len(details)
        told(share, f"Reading {name}")
        made.figures += report_parts.of_run(name, folders[-1], info, readers[info.id], half_life)
        figures, verdict = report_parts.of_verdict(name, folders[-1], info, readers[info.id])
        made.figures += figures
        verdicts[name] = (info.id, verdict)

        def telling(stage: str, done: float, name: str = name, share: float = share) -> None:
            told(share + done * _READING / len(details), f"Gradient map of {name}: {stage}")

        figures, numbers, missing = report_parts.of_gradients(
            name, folders[-1], info, readers[info.id], mapped, telling
        )  # fmt: skip
        made.figures += figures
        rows += numbers
        made.reasons += [f"There is no gradient map of {name}: {missing}."] if missing else []
    made.figures += report_parts.of_comparison(by_name, readers, details) + report_parts.of_differences(
        by_name, details
    )
    swept, ablated = report_ablation.of_ablation([info for runs in by_name.values() for info in runs])
    made.figures += swept
    made.tables = _tables(by_name, readers) + ablated
    made.tables += [report_parts.of_grid(report_parts.agreement_grid(rows), "Fig. 4")] if rows else []
    made.tables += [report_parts.of_verdicts(verdicts)] if verdicts else []
    return made


def _tables(by_name: Members, readers: Mapping[str, RunReader]) -> list[Tabled]:
    done = finished(by_name)
    scores, metrics = score_table(done), score_table(done, metric_keys(done))
    configs = {name: scrubbed(dict(runs[0].config)) for name, runs in by_name.items()}
    apart = comparison.differences(configs, ("training.seed",))
    events = {info.id: readers[info.id].events() for runs in by_name.values() for info in runs}
    made = [report_parts.of_grid(data_grid(by_name, events), "Table 1")]
    if metrics.columns:
        made.append(report_parts.of_scores("metrics", "Metrics on the test split", reading(metrics), metrics,
                                           "Table 2-4"))  # fmt: skip
    if scores.columns:
        made.append(report_parts.of_scores("scores", "Final scores", reading(scores), scores))
    made.append(report_parts.of_grid(hyperparameters(configs), "Table 7"))
    costs = cost_table(by_name)
    if any(cost.runs for cost in costs.values()):
        made.append(report_parts.of_grid(costs_grid(costs), "Table 8"))
    if apart:
        made.append(report_parts.of_grid(settings_grid(apart, list(by_name))))
    return made


def _checklist(found: _Gathered) -> list[tuple[str, str, list[str]]]:
    """Every figure and table of the paper that these runs could show, and where it is."""
    everything = [(one.paper, one.place) for one in found.tables]
    everything += [(one.paper, one.place) for one in found.figures]
    return [(paper, text, [place for own, place in everything if own.startswith(paper)])
            for paper, text in _CONTENTS.items()]  # fmt: skip


def _provenance(by_name: Members, half_life: float, width: float) -> dict[str, Any]:
    told = {
        name: [{"run": info.id, "seed": comparison.seed_of(info), "state": info.state, "steps": info.step + 1,
                "name": info.name} for info in runs]
        for name, runs in by_name.items()
    }  # fmt: skip
    return {
        "made_by": f"CGGM Lab {cggm_core.__version__}",
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "baseline": next(iter(by_name)), "smoothing_half_life_steps": half_life, "figure_width_inches": width,
        "runs": told, "explanation": _EXPLAINED,
    }  # fmt: skip


def _put_figure(archive: zipfile.ZipFile, one: Drawn, width: float) -> bytes:
    """All files of a figure; returns its SVG."""
    made = {form: rendered(one.spec, form, width=width) for form in FORMS}
    for form, data in made.items():
        _put(archive, f"{one.place}.{form}", data)
    _put(archive, f"{one.place}.html", report_page.interactive(one.spec, one.place.count("/")).encode())
    _put(archive, f"{one.place}.csv", figure_csv(one.spec))
    _put(archive, f"{one.place}.parquet", figure_parquet(one.spec))
    return made["svg"]


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode("utf-8", "replace")


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, data)
