"""How long runs will take, by what finished runs of their kind took; said with what it rests on, or not at all."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cggm_core.config import RunConfig
from cggm_core.store import RunInfo


@dataclass(frozen=True)
class Expected:
    """An estimate.

    Attributes:
        seconds: of all runs together, so many side by side; NaN where nothing tells.
        runs: finished runs that it rests on.
        alike: whether for every configuration there were runs with the same method; if not, other methods stand in.
        elsewhere: whether only runs that came with the lab tell, and those trained on another computer.
    """

    seconds: float
    runs: int = 0
    alike: bool = False
    elsewhere: bool = False


def expected(configs: Sequence[RunConfig], infos: Sequence[RunInfo], side_by_side: int = 1) -> Expected:
    """How long configurations will take.

    Seconds an epoch are the median over finished runs with the same data and their settings, model, batch size and
    precision: of the same method where there are any, else of any; runs made here before samples. What a run needs to
    load its data is part of it.

    Args:
        configs: one or more.
        infos: runs to learn from, as the catalogue has them.
        side_by_side: runs at once, 1 or more.
    """
    done = [info for info in infos if info.state == "finished" and not info.damaged and _pace(info) > 0]
    total, used, alike, elsewhere = 0.0, set[str](), True, False
    for config in configs:
        kind = _kind(config.to_dict())
        kin = [info for info in done if _kind(info.config) == kind and _same_device(config, info)]
        own = [info for info in kin if not info.sample] or kin
        same = [info for info in own if info.config.get("method") == config.method]
        told = same or own
        if not told:
            return Expected(math.nan)
        alike, elsewhere = alike and bool(same), elsewhere or told[0].sample
        used |= {info.id for info in told}
        total += config.training.epochs * statistics.median(map(_pace, told))
    longest = math.ceil(len(configs) / side_by_side) / len(configs) if configs else 0.0
    return Expected(total * longest, len(used), alike, elsewhere)


def _pace(info: RunInfo) -> float:
    """Seconds an epoch took; 0 where the run does not say."""
    return (info.updated_at - info.created_at) / info.epochs if info.epochs > 0 else 0.0


def _kind(config: Mapping[str, Any]) -> str:
    """What decides how long an epoch takes, method and device apart; a run of another program may lack any of it."""
    training = config.get("training")
    training = training if isinstance(training, Mapping) else {}
    parts = [config.get(name) for name in ("dataset", "dataset_params", "model", "model_params")]
    return json.dumps([*parts, training.get("batch_size"), training.get("precision")], sort_keys=True, default=str)


def _same_device(config: RunConfig, info: RunInfo) -> bool:
    """Whether a run may have had the device asked for; `auto` may have been any."""
    training = info.config.get("training")
    device = training.get("device") if isinstance(training, Mapping) else "auto"
    return "auto" in (device, config.training.device) or device == config.training.device
