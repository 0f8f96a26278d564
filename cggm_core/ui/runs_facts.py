"""What lists need of a run, in plain words and numbers; worked out once for as long as the run stays as it is."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cggm_core.names import MetricKey
from cggm_core.store import RunInfo
from cggm_core.ui.safe import plain


@dataclass(frozen=True, slots=True)
class Facts:
    """One run as lists see it; texts are cleaned, in one line, and of bounded length.

    Attributes:
        info: what the catalogue knows.
        state: as shown; "damaged" comes before what such a file says.
        name: given by the user, or the end of the id.
        dataset: a card's name, or the name of the file without its folders.
        method, preset: of the configuration; "" where it names none.
        seed: None where the configuration has none.
        progress: share of the planned steps that are done, 0 to 100; None while the plan is unknown.
        score: newest fused validation score; None if there is no finite one.
        unimodal: newest validation score of each modality's classifier, finite ones only.
        tags: the user's.
        text: everything that is searched, case folded.
    """

    info: RunInfo
    state: str
    name: str
    dataset: str
    method: str
    preset: str
    seed: int | None
    progress: float | None
    score: float | None
    unimodal: Mapping[str, float]
    tags: tuple[str, ...]
    text: str

    @property
    def id(self) -> str:
        """The run's id."""
        return self.info.id

    @property
    def way(self) -> str:
        """Method and preset in one word."""
        return f"{self.method} · {self.preset}" if self.preset else self.method


def facts_of(info: RunInfo) -> Facts:
    """The facts of one run."""
    name, dataset = plain(info.name, 120) or info.id[-8:], dataset_of(info)
    method, preset = word(info, "method"), word(info, "preset")
    tags = tuple(plain(tag, 60) for tag in info.tags)
    unimodal = {key.modality: score(info, key.metric, key.modality)
                for key in info.summary if key.metric == "val_unimodal_score"}  # fmt: skip
    searched = (name, info.name, info.id, *tags, info.notes, dataset, method, preset)
    return Facts(
        info, state_of(info), name, dataset, method, preset, seed_of(info), progress_of(info),
        score(info, "val_score"), {m: v for m, v in unimodal.items() if v is not None}, tags,
        "\n".join(searched).casefold(),
    )  # fmt: skip


class FactsBook:
    """Facts of many runs, kept while the catalogue hands out the very same entry."""

    def __init__(self) -> None:
        self._kept: dict[str, Facts] = {}

    def of(self, infos: Sequence[RunInfo]) -> list[Facts]:
        """Facts in the order of the runs."""
        before, kept = self._kept, {}
        for info in infos:
            known = before.get(info.id)
            kept[info.id] = known if known is not None and known.info is info else facts_of(info)
        # Replaced as a whole, so that two sessions may ask at once.
        self._kept = kept
        return list(kept.values())


def state_of(info: RunInfo) -> str:
    """State for people: a file that cannot be trusted comes before what it says."""
    return "damaged" if info.damaged else info.state


def word(info: RunInfo, name: str) -> str:
    """A text of the configuration, cleaned; "" if it is missing or no text."""
    value = info.config.get(name, "")
    return _word(value) if isinstance(value, str) else ""


def dataset_of(info: RunInfo) -> str:
    """The data set: a card's name, or the name of the file without its folders."""
    return word(info, "dataset").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def seed_of(info: RunInfo) -> int | None:
    """The seed, if the configuration has one."""
    training = info.config.get("training")
    seed = training.get("seed") if isinstance(training, Mapping) else None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**53 else None


def progress_of(info: RunInfo) -> float | None:
    """Share of the planned steps that are done, 0 to 100; None while the plan is unknown."""
    if state_of(info) == "finished":
        return 100.0
    return min(100.0, 100.0 * (info.step + 1) / info.steps) if info.steps > 0 else None


def remark_of(info: RunInfo) -> str:
    """Why a run ended or cannot be read; "" where there is nothing to say. Which run it is is told beside it."""
    said = plain(info.damaged or info.reason, 300)
    return said.removeprefix(f"run {info.id}").removeprefix(":").strip()


def score(info: RunInfo, metric: str, modality: str = "", *, best: bool = False) -> float | None:
    """Newest (or best) value of a series out of the run's summary; None if there is no finite one."""
    found = info.summary.get(MetricKey(metric, modality))
    if found is None:
        return None
    value = found.high if best else found.last
    return value if math.isfinite(value) else None


def modalities(infos: Iterable[RunInfo]) -> list[str]:
    """Modalities that have a unimodal validation score in any of the runs, in the order met."""
    found: dict[str, None] = {}
    for info in infos:
        for key in info.summary:
            if key.metric == "val_unimodal_score":
                found[key.modality] = None
    return list(found)


def in_line(scores: Mapping[str, float], most: int = 6) -> str:
    """Scores of modalities on one line, the highest first, so that the modality relied on is read first."""
    falling = sorted(scores.items(), key=lambda item: -item[1])
    told = " · ".join(f"{plain(m, 14)} {value:.2f}" for m, value in falling[:most])
    return f"{told} · and {len(falling) - most} more" if len(falling) > most else told


def group_of(info: RunInfo) -> str:
    """As `comparison.group_of`: runs share it if their configurations differ in the seed alone."""
    from cggm_core.analysis import comparison  # its SciPy costs the first page of the app half a second

    return comparison.group_of(info)


@functools.lru_cache(maxsize=4096)
def _word(text: str) -> str:
    return plain(text, 80)
