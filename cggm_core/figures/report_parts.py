"""What a report holds: its figures and tables, each with the place in the paper that shows the same."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cggm_core.analysis import comparison
from cggm_core.analysis.grids import Grid, Value
from cggm_core.analysis.report_tables import verdict_grid
from cggm_core.analysis.scores import Members, finished, score_keys, score_table
from cggm_core.analysis.series import axis_values
from cggm_core.analysis.tables import ScoreTable, spread_text, to_frame, to_latex
from cggm_core.analysis.verdict import Verdict, judge
from cggm_core.analysis.verdict_balance import health
from cggm_core.analysis.verdict_record import read_record
from cggm_core.embedding.gradients import FloatArray, Gradients, collect
from cggm_core.embedding.pairing import over_training, pairing
from cggm_core.embedding.project import FEWEST, Tell
from cggm_core.errors import StoreError
from cggm_core.figures import diagnosis, dynamics, maps
from cggm_core.figures.comparison import Group, apart, compared, places
from cggm_core.figures.live import LiveRun
from cggm_core.figures.spec import FigureSpec
from cggm_core.names import MetricKey
from cggm_core.store.export import storable
from cggm_core.store.protocols import RunInfo, RunReader

Mapped = Callable[[Gradients, Tell], FloatArray]
_MOST_STRONG = 8
# Where the paper shows what a figure of ours shows: without balancing, and with it.
_PAPER = {
    "scores": ("Fig. 2a", "Fig. 3a"), "gradient_norms": ("Fig. 2b", "Fig. 3b"), "directions": ("Fig. 2c", "Fig. 3c"),
    "losses": ("Fig. 6a", "Fig. 6b-d"), "coefficients": ("", "Fig. 7"),
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """One figure of the report.

    Attributes:
        place: folder and file name inside the archive, without ending.
        caption: what it shows, and of which runs.
        spec: what to draw.
        paper: figure of the paper that shows the same; "" for none.
    """

    place: str
    caption: str
    spec: FigureSpec
    paper: str = ""


@dataclass(frozen=True)
class Tabled:
    """One table of the report.

    Attributes:
        place: folder and file name inside the archive, without ending.
        title, how_to_read: as shown above and under it.
        heads: of the columns as shown.
        texts: cells as shown, plain text; a row a tuple.
        strong: places (row, column) of what is printed bold.
        latex: the same for a paper.
        frame: the same with every digit.
        paper: table of the paper that shows the same; "" for none.
    """

    place: str
    title: str
    how_to_read: str
    heads: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    strong: frozenset[tuple[int, int]]
    latex: str
    frame: pd.DataFrame
    paper: str = ""


def of_grid(grid: Grid, paper: str = "") -> Tabled:
    """A plain table as part of a report."""
    texts = tuple(tuple(row) for row in grid.texts())
    return Tabled(f"tables/{grid.key}", grid.title, grid.how_to_read, grid.columns, texts, frozenset(), grid.latex(),
                  grid.frame(), paper)  # fmt: skip


def of_scores(key: str, title: str, how_to_read: str, table: ScoreTable, paper: str = "") -> Tabled:
    """A table of scores as part of a report; the best mean of a column is bold."""
    texts, strong = [], set()
    for row, (name, cells) in enumerate(table.rows.items()):
        n = max((cell.sample.n for cell in cells), default=0)
        texts.append((name, str(n), *(spread_text(cell.sample) for cell in cells)))
        strong |= {(row, 2 + number) for number in range(len(cells)) if table.best(number) == name}
    heads = ("configuration", "n", *(column.label for column in table.columns))
    return Tabled(f"tables/{key}", title, how_to_read, heads, tuple(texts), frozenset(strong),
                  to_latex(table, caption=title), to_frame(table), paper)  # fmt: skip


def slug(text: str, taken: Sequence[str] = ()) -> str:
    """A word safe in every file system, and none of those taken: letters, digits and dashes, at most 40."""
    word = re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "configuration"
    number, made = 1, word
    while made in taken:
        number += 1
        made = f"{word}-{number}"
    return made


def of_run(name: str, folder: str, info: RunInfo, reader: RunReader, half_life: float) -> list[Drawn]:
    """The curves of one run: everything it recorded that the paper or the monitor draws.

    Args:
        name: of its configuration.
        folder: of that configuration inside the archive.
        info: as it stands.
        reader: of the run.
        half_life: of the smoothing, in steps.
    """
    live = LiveRun(reader, half_life)
    live.poll()
    view = live.view("step")
    balanced = info.config.get("method") not in ("joint", "unimodal")
    found = []
    for key, build in dynamics.FIGURES.items():
        paper = _PAPER.get(key, ("", ""))[balanced]
        found.append(_drawn(folder, name, info, build(view), paper if info.config.get("method") != "unimodal" else ""))
    return [drawn for drawn in found if drawn is not None]


def of_verdict(name: str, folder: str, info: RunInfo, reader: RunReader) -> tuple[list[Drawn], Verdict]:
    """The verdict on one run and the figures behind it; arguments as `of_run` has them."""
    record = read_record(reader)
    specs = [diagnosis.contributions(record), diagnosis.preferences(record),
             *(diagnosis.robustness(record, kind) for kind in diagnosis.KINDS)]  # fmt: skip
    if health(record):
        specs.append(diagnosis.coefficient_health(record))
    made = [_drawn(folder, name, info, spec, "") for spec in specs]
    return [drawn for drawn in made if drawn is not None], judge(record)


def of_gradients(
    name: str, folder: str, info: RunInfo, reader: RunReader, mapped: Mapped, tell: Tell
) -> tuple[list[Drawn], list[tuple[Value, ...]], str]:
    """The gradient map (Fig. 4), its numbers along training, and rows of the numbers over all of it.

    Args:
        name: of its configuration.
        folder: of that configuration inside the archive.
        info: as it stands.
        reader: of the run.
        mapped: makes the points of some gradients.
        tell: called with a stage and the share done while a map is made.

    Returns:
        Figures, rows for `agreement_grid`, and why there is no map ("" where there is one).
    """
    everything = collect(reader.snapshots())
    modalities = tuple(dict.fromkeys(str(m) for m in everything.modality if m))
    chosen = everything.chosen(kinds=("classifier", "unimodal")).thinned()
    if len(chosen) < FEWEST:
        return [], [], "it kept no gradient snapshots, or too few"
    made: list[Drawn | None] = []
    missing = ""
    try:
        points = mapped(chosen, tell)
        made.append(_drawn(folder, name, info, maps.gradient_map(points, chosen, modalities, "t-SNE"), "Fig. 4"))
    except StoreError as error:
        missing = str(error)
    along = {modality: over_training(everything, modality) for modality in modalities}
    made += [_drawn(folder, name, info, maps.numbers(along, modalities, which), "") for which in ("cosine", "rank")]
    rows: list[tuple[Value, ...]] = []
    for modality in modalities:
        whole = pairing(everything, modality)
        for which, (label, _) in maps.NUMBERS.items():
            number = getattr(whole, which)
            rows.append((name, info.id, modality, label, whole.pairs, number.value, number.low, number.high,
                         number.null, number.p))  # fmt: skip
    return [drawn for drawn in made if drawn is not None], rows, missing


def agreement_grid(rows: Sequence[tuple[Value, ...]]) -> Grid:
    """How far classifier gradients stand for unimodal ones, a row a modality and number."""
    return Grid(
        "agreement", "Do classifier gradients stand for unimodal gradients? (the numbers behind Fig. 4)",
        "Each value stands beside what shuffled partners give (null) and its one-sided p; only a value above its null "
        "says that the classifier's gradient knows of the single batch.",
        ("configuration", "run", "modality", "number", "batches", "value", "ci95_low", "ci95_high", "null", "p"),
        tuple(rows),
    )  # fmt: skip


def of_verdicts(verdicts: Mapping[str, tuple[str, Verdict]]) -> Tabled:
    """Every finding on the drawn runs."""
    return of_grid(verdict_grid(verdicts))


def of_comparison(by_name: Members, readers: Mapping[str, RunReader], drawn: Sequence[str]) -> list[Drawn]:
    """Validation scores of the configurations over one another, mean and spread over seeds.

    Args:
        by_name: runs by configuration, the baseline first.
        readers: of the runs, by id.
        drawn: configurations in colour where there are many; the baseline always is.
    """
    if len(by_name) < 2:
        return []
    keys = dict.fromkeys(
        key for runs in by_name.values() for info in runs for key in info.summary
        if key.metric in ("val_score", "val_unimodal_score")
    )  # fmt: skip
    found: list[Drawn] = []
    strong, taken = _strong(by_name, drawn), list[str]()
    place = places(strong)
    for key in keys:
        groups = [Group(name, place.get(name, 0), tuple(_epochs(info, readers[info.id], key) for info in runs),
                        name not in place)
                  for name, runs in by_name.items()]  # fmt: skip
        spec = compared(groups, key, axis="epoch")
        taken.append(slug(f"{key.metric}-{key.modality}" if key.modality else key.metric, taken))
        counted = ", ".join(f"{name} (n = {len(by_name[name])})" for name in strong)
        counted += f" and {len(by_name) - len(strong)} others" if len(by_name) > len(strong) else ""
        found.append(Drawn(f"figures/comparison/{taken[-1]}", f"{spec.title}: {counted}", spec))
    return found


def _strong(by_name: Members, drawn: Sequence[str]) -> list[str]:
    """Configurations in colour: all while they are few."""
    listed = list(by_name)
    return listed if len(listed) <= _MOST_STRONG else list(dict.fromkeys([listed[0], *drawn]))[:_MOST_STRONG]


def of_differences(by_name: Members, drawn: Sequence[str]) -> list[Drawn]:
    """Differences to the baseline seed by seed, of the score on the test split, else on validation.

    Args:
        by_name: runs by configuration, the baseline first.
        drawn: as in `of_comparison`.
    """
    keys = [key for key in score_keys(finished(by_name)) if not key.modality][:1]
    if len(by_name) < 2 or not keys:
        return []
    spec = apart(score_table(finished(by_name), keys), strong=_strong(by_name, drawn))
    made = Drawn("figures/comparison/differences", f"{spec.title}, mean over the seeds that both have", spec)
    return [made] if any(panel.points() for panel in spec.panels) else []


def _epochs(info: RunInfo, reader: RunReader, key: MetricKey) -> tuple[np.ndarray, np.ndarray]:
    series = reader.series([key])[key]
    per_epoch = info.steps / info.epochs if info.steps > 0 and info.epochs > 0 else 0.0
    return axis_values("epoch", series.step, series.epoch, np.zeros(len(series.step)), per_epoch), series.value


def _drawn(folder: str, name: str, info: RunInfo, spec: FigureSpec, paper: str) -> Drawn | None:
    """A figure under its caption; None where there is nothing to draw."""
    if not any(panel.points() for panel in spec.panels):
        return None
    origin = f" (as {paper} of the paper)" if paper else ""
    caption = f"{spec.title}{origin}: {name}, seed {comparison.seed_of(info)}, run {info.id}"
    return Drawn(f"figures/{folder}/{spec.key.replace('_', '-')}", caption, spec, paper)


def said(text: str) -> str:
    """Text for HTML, where it stays text; control and direction characters are dropped."""
    return html.escape(storable("".join(c for c in text if c.isprintable())), quote=True)
