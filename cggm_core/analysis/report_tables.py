"""Tables of a report besides the scores: data (paper Table 1), hyperparameters (Table 7), costs (Table 8), verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cggm_core.analysis.comparison import flat_config
from cggm_core.analysis.costs import PARTS, Cost
from cggm_core.analysis.grids import Grid, Value
from cggm_core.analysis.verdict import Verdict
from cggm_core.store.protocols import Event, RunInfo

# Paper Table 7 in its order; the setting's name here, and its heading.
_TRAINING = (
    ("training.batch_size", "batch size"), ("training.optimiser", "optimiser"), ("training.lr", "base lr"),
    ("training.classifier_lr", "classifier lr"), ("training.weight_decay", "weight decay"),
    ("training.gradient_clip", "gradient clip"), ("training.schedule", "schedule"), ("method.rho", "ρ"),
    ("method.lam", "λ"), ("training.warmup_epochs", "warm-up epochs"), ("training.epochs", "epochs"),
)  # fmt: skip


def data_grid(by_name: Mapping[str, Sequence[RunInfo]], events: Mapping[str, Sequence[Event]]) -> Grid:
    """What the runs were trained on, as each run said when it started (paper Table 1).

    Args:
        by_name: runs by configuration.
        events: of a run by its id; of a run that is not there nothing is known but its configuration.
    """
    found: dict[tuple[Value, ...], None] = {}
    for runs in by_name.values():
        for info in runs:
            told: dict[str, Any] = {}
            for event in events.get(info.id, ()):
                if event.kind in ("start", "resume"):
                    told |= event.data
            named = told.get("modalities")
            modalities = [str(m) for m in named] if isinstance(named, (list, tuple)) else []
            samples = told.get("samples")
            counts = samples if isinstance(samples, Mapping) else {}
            sizes = tuple(_whole(counts.get(split)) for split in ("train", "val", "test"))
            # Of a user's own file the name says enough; its folder is nobody's business.
            data = str(info.config.get("dataset", "")).replace("\\", "/").rpartition("/")[2]
            found[data, str(told.get("task", "")) or None, len(modalities) or None, ", ".join(modalities) or None,
                  *sizes, str(told.get("data", "")) or None] = None  # fmt: skip
    return Grid(
        "data", "Data (as Table 1 of the paper)",
        "One row a data set as the runs found it; the fingerprint changes with any sample, label or split.",
        ("data set", "task", "number of modalities", "modalities", "training", "validation", "test", "fingerprint"),
        tuple(found),
    )  # fmt: skip


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def hyperparameters(configs: Mapping[str, Mapping[str, Any]]) -> Grid:
    """The main settings of every configuration (paper Table 7); all others stand in the archive's configurations."""
    rows: list[tuple[Value, ...]] = []
    for name, config in configs.items():
        flat = flat_config(config)
        if config.get("method") != "cggm":
            flat = {key: value for key, value in flat.items() if not key.startswith("method.")}
        rows.append((name, *(_value(flat.get(key)) for key, _ in _TRAINING)))
    return Grid(
        "hyperparameters", "Main hyperparameters (as Table 7 of the paper)",
        "ρ scales the coefficient, λ weighs the direction loss; a dash: it is not CGGM.",
        ("configuration", *(heading for _, heading in _TRAINING)), tuple(rows),
    )  # fmt: skip


def _value(value: object) -> Value:
    return value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def costs_grid(costs: Mapping[str, Cost]) -> Grid:
    """What every configuration adds to the model, and the time of its step (paper Table 8).

    Args:
        costs: as `costs.cost_table` gives them, the baseline first.
    """
    rows: list[tuple[Value, ...]] = [
        (name, cost.runs, cost.parameters, cost.added_parameters, cost.added_bytes / 1e6, cost.peak_bytes / 1e6,
         1e3 * cost.step_seconds, 1e3 * cost.work_seconds, 1e3 * cost.needed_seconds, cost.work_ratio,
         cost.needed_ratio,
         *(cost.shares.get(part) for part in PARTS))
        for name, cost in costs.items()
    ]  # fmt: skip
    return Grid(
        "costs", "Cost beside the baseline (as Table 8 of the paper)",
        "Medians over runs. Added is what the method adds to the model (its own parts, and the classifiers where it "
        "needs them) with gradients and optimiser state, without activations. Work is a step's processor time (on a "
        "GPU wall time) with its share of teachers, trials and prototypes; needed leaves out what is only watched. "
        "Times compare only between runs of one machine.",
        ("configuration", "runs", "parameters", "added parameters", "added MB", "peak MB", "step ms", "work ms",
         "needed ms", "work over baseline", "needed over baseline", *(f"share of {part}" for part in PARTS)),
        tuple(rows),
    )  # fmt: skip


def verdict_grid(verdicts: Mapping[str, tuple[str, Verdict]]) -> Grid:
    """What the diagnosis says of every configuration's drawn run.

    Args:
        verdicts: run id and verdict by configuration.
    """
    rows: list[tuple[Value, ...]] = []
    for name, (run_id, verdict) in verdicts.items():
        rows += [(name, run_id, f.severity, f.rule.replace("_", " "), f.modality, f.confidence, f.text, f.advice)
                 for f in verdict.findings]  # fmt: skip
    return Grid(
        "verdict", "Verdict on the drawn runs",
        "Findings of the diagnosis, the headline first: a problem costs score, a warning may, a note is worth knowing.",
        ("configuration", "run", "severity", "rule", "modality", "confidence", "finding", "advice"), tuple(rows),
        ("finding", "advice"),
    )  # fmt: skip
