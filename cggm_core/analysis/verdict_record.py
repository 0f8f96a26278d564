"""What a verdict is made of: everything a run recorded that its rules read, gathered once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cggm_core.analysis.series import FloatArray
from cggm_core.errors import DamagedRunError
from cggm_core.names import PAIR_SEPARATOR, MetricKey
from cggm_core.store import Contribution, RobustnessCurve, RunReader

STEP_SERIES = (
    "loss", "score", "unimodal_score", "balance_coefficient", "coefficient_undefined", "gradient_norm_raw",
    "gradient_norm", "update_ratio", "direction_cosine", "pair_cosine",
)  # fmt: skip
EPOCH_SERIES = ("val_score", "val_unimodal_score")


@dataclass(frozen=True)
class Record:
    """A run as the rules see it; arrays are ascending in step, empty where nothing was recorded.

    Attributes:
        modalities: in model order.
        series: values by key.
        steps: of each step series' values, by key.
        contributions: by step.
        curves: of the last full look, by kind and modality.
        chance: score of the best constant prediction; NaN while unknown.
        perfect: score of a perfect prediction: 0 for -MAE, else 1.
        samples: of the validation split; 0 while unknown.
        steps_per_epoch: 0 while unknown.
        training: settings of the run.
        method, preset: what balanced.
        ended: whether nothing more will come.
    """

    modalities: tuple[str, ...]
    series: Mapping[MetricKey, FloatArray] = field(default_factory=dict)
    steps: Mapping[MetricKey, FloatArray] = field(default_factory=dict)
    contributions: tuple[Contribution, ...] = ()
    curves: tuple[RobustnessCurve, ...] = ()
    chance: float = math.nan
    perfect: float = 1.0
    samples: int = 0
    steps_per_epoch: float = 0.0
    training: Mapping[str, Any] = field(default_factory=dict)
    method: str = "joint"
    preset: str = ""
    ended: bool = True

    def of(self, metric: str, modality: str = "") -> FloatArray:
        """Finite values of a series, in order."""
        values = self.series.get(MetricKey(metric, modality), np.empty(0))
        return values[np.isfinite(values)]

    def progress(self, score: float) -> float:
        """A score as the way from chance (0) to perfect (1); below 0 it is worse than guessing.

        NaN while chance is unknown, and where guessing is perfect already (all labels alike): there is no way then.
        """
        way = self.perfect - self.chance
        return (score - self.chance) / way if way else math.nan

    @property
    def last(self) -> Contribution | None:
        """The newest look, None before the first."""
        return self.contributions[-1] if self.contributions else None

    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of modalities whose classifiers' gradients were compared."""
        named = [key.modality.split(PAIR_SEPARATOR) for key in self.series if key.metric == "pair_cosine"]
        return [(names[0], names[1]) for names in named if len(names) == 2]


def read_record(reader: RunReader) -> Record:
    """Everything the rules read of one run.

    Args:
        reader: of the run; living runs are read as far as they are.

    Raises:
        StoreError: if the run cannot be read, DamagedRunError also if its looks are not of its modalities.
    """
    info, found = reader.info(), reader.contributions()
    names, wanted = reader.keys(), (*STEP_SERIES, *EPOCH_SERIES)
    keys = [key for key in names if key.metric in wanted]
    series = reader.series(keys)
    said: dict[str, Any] = {}
    for event in reader.events():
        if event.kind in ("start", "resume"):
            said |= event.data
    listed = said.get("modalities")
    named = tuple(m for m in listed if isinstance(m, str)) if isinstance(listed, (list, tuple)) else ()
    named = named or (found[-1].modalities if found else ()) or tuple(
        dict.fromkeys(key.modality for key in keys if key.modality and PAIR_SEPARATOR not in key.modality)
    )  # fmt: skip
    curves = reader.robustness()
    strange = [look.modalities for look in found if look.modalities != named]
    strange += [(curve.modality,) for curve in curves if curve.modality not in named]
    if strange:
        raise DamagedRunError(
            f"run {info.id} holds a look at the modalities {', '.join(strange[0])}; its own are {', '.join(named)}"
        )
    newest = max((curve.step for curve in curves), default=-1)
    samples = said.get("samples")
    validation = samples.get("val") if isinstance(samples, dict) else 0
    chance = said.get("chance")
    return Record(
        modalities=named,
        series={key: one.value for key, one in series.items()},
        steps={key: one.step.astype(np.float64) for key, one in series.items()},
        contributions=found,
        curves=tuple(curve for curve in curves if curve.step == newest),
        chance=float(chance) if isinstance(chance, (int, float)) and abs(chance) < 2**63 else math.nan,
        perfect=0.0 if said.get("score") == "-MAE" else 1.0,
        samples=validation if isinstance(validation, int) and 0 <= validation < 2**63 else 0,
        steps_per_epoch=info.steps / info.epochs if info.epochs else 0.0,
        training=training if isinstance(training := info.config.get("training"), dict) else {},
        method=str(info.config.get("method", "joint")),
        preset=str(info.config.get("preset", "")),
        ended=info.state in ("finished", "stopped", "failed", "died"),
    )  # fmt: skip
