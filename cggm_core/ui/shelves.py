"""What the library shows of a card, as tables of plain words; a function of the card alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from cggm_core.cards import (
    Card,
    DatasetCard,
    DiagnosticCard,
    FormatCard,
    MethodCard,
    ModelCard,
    Param,
    RunPresetCard,
    Value,
)
from cggm_core.names import METRICS, Metric

WHEN = {"step": "every step", "epoch": "every epoch", "end": "once, at the end"}
OF = {"fused": "whole model", "modality": "each modality", "both": "model and each modality", "pair": "each pair"}


def facts(card: Card) -> dict[str, str]:
    """Name of a fact and the fact, in reading order; facts a card does not tell are left out."""
    told: dict[str, str] = {"Name": card.name}
    match card:
        case MethodCard():
            told |= {"Acts on": "nothing" if card.lever == "none" else card.lever, "Tasks": ", ".join(card.tasks),
                     "Modalities": counted(card.modalities), "Needs": ", ".join(card.requires), "Cost": card.cost,
                     "Records also": ", ".join(card.reports), "Equals joint training at": settings(card.neutral),
                     "Departs from the paper": card.departs, "Limits": card.limits,
                     "Source": card.paper}  # fmt: skip
        case DatasetCard():
            told |= {"Task": card.task, "Modalities": ", ".join(card.modalities), "Samples": card.samples,
                     "Source": card.source, "Licence": card.licence}  # fmt: skip
        case FormatCard():
            told |= {"On disk": card.layout, "Task": card.task, "Where such files come from": card.source}
        case ModelCard():
            told |= {"Inputs": ", ".join(card.kinds), "Tasks": ", ".join(card.tasks),
                     "Taken by itself for": ", ".join(card.default_for)}  # fmt: skip
        case DiagnosticCard():
            told |= {"Cost": card.cost, "Needs": ", ".join(card.requires), "Records": ", ".join(card.reports)}
        case RunPresetCard():
            by_method = (f"{name}: {settings(values)}" for name, values in card.method_params.items())
            told |= {"Training": settings(card.training), "Model": card.model, "Model's settings":
                     settings(card.model_params), "Methods' settings": "; ".join(by_method),
                     "What the source leaves open": card.unsaid, "Source": card.paper}  # fmt: skip
    return {name: text for name, text in told.items() if text}


def counted(modalities: tuple[int, int | None]) -> str:
    """How many modalities, in words."""
    low, high = modalities
    return f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"


def settings(values: dict[str, Value]) -> str:
    """Settings on one line."""
    return ", ".join(f"{name} = {worded(value)}" for name, value in values.items())


def worded(value: Value) -> str:
    """A value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def knobs(params: Sequence[Param]) -> pd.DataFrame:
    """One row a setting: name, default, range, what it does and what both ends mean."""
    rows = [
        (param.name, worded(param.default), ranged(param), param.text + ("; may change while training" * param.live))
        for param in params
    ]
    return pd.DataFrame(rows, columns=["Setting", "Default", "Range", "What it does"])


def ranged(param: Param) -> str:
    """What a setting may be, in words."""
    if param.choices:
        return ", ".join(param.choices)
    if isinstance(param.default, bool):
        return "true, false"
    if param.low is None and param.high is None:
        return "any"
    low = "" if param.low is None else f"{'above' if param.low_open else 'from'} {param.low:,.10g}"
    return f"{low}{'' if param.high is None else f' to {param.high:,.10g}'}".strip()


def overview(cards: Iterable[Card]) -> pd.DataFrame:
    """One row a card: title, what it is, and the fact by which its kind is told apart."""
    rows = []
    for card in cards:
        told = facts(card)
        first = next((told[name] for name in ("Acts on", "Task", "Inputs", "Cost", "Source") if name in told), "")
        rows.append((card.title, card.name, first, told.get("Source", ""), card.summary))
    return pd.DataFrame(rows, columns=["Title", "Name", "Kind", "Source", "What it is"])


def numbers(wanted: str = "") -> pd.DataFrame:
    """Every metric: what is drawn, its name in exports, what it is computed from, and how to read it.

    Args:
        wanted: words that must occur in a row, in any case; "" takes all.
    """
    words = wanted.casefold().split()
    rows = [row for row in map(_number, METRICS.values()) if all(w in " ".join(row).casefold() for w in words)]
    return pd.DataFrame(rows, columns=["Number", "Name", "Computed from", "How to read it"])


def _number(metric: Metric) -> tuple[str, ...]:
    low, high = ("" if end is None else f"{end:g}" for end in metric.bounds)
    told = (
        f"{OF[metric.scope]}, {WHEN[metric.cadence]}",
        {"higher": "higher is better", "lower": "lower is better", "neutral": ""}[metric.direction],
        f"in {metric.unit}" if metric.unit else "",
        f"{low} to {high}" if low and high else f"{low} or more" if low else f"{high} or less" if high else "",
        "" if metric.neutral is None else f"{metric.neutral:g} where nothing happens",
    )
    return metric.label, metric.name, metric.description, "; ".join(part for part in told if part)
