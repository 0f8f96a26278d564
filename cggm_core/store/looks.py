"""What a look at the probe set found: contributions at an epoch's end, and curves under damage to one modality.

Each is one row of a table of its own: JSON with a checksum. They are few and small, and no list ever reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cggm_core.errors import DamagedRunError

CurveKind = Literal["removal", "permutation", "noise"]
LookTable = Literal["contribution", "robustness"]
_KINDS: tuple[CurveKind, ...] = get_args(CurveKind)


@dataclass(frozen=True)
class Contribution:
    """Which modality carried the fused prediction, after one epoch, on a fixed set of validation samples.

    Attributes:
        step: last optimiser step before the look.
        epoch: pass it ended, from 0.
        modalities: in model order; every tuple below has this order.
        value: what v is: accuracy, skill or Dice.
        samples: of the probe set.
        exact: whether Shapley values come from every subset, not from sampled orders.
        everyone, nobody: v with all modalities of a sample, and with all of another sample.
        alone, without: v with one modality only, and with all but that one, what is absent being zero features.
        shapley: contribution of each; they sum to `everyone - nobody`.
        covariance: of `shapley` over resampled probe samples (and sampled orders), row by row.
        alone_error, without_error, everyone_error: standard errors over resampled probe samples.
        removal_error: of `everyone - without`, whose samples are the same and so vary together.
        permuted: v with one modality taken from another sample.
        permuted_error: standard error of `everyone - permuted`.
        preferred: samples to which each modality contributes most, and at the end those that nobody leads.
        fused_best, alone_best: samples whose value is best with all modalities, and best with one alone.
        masking: what absent modalities of a coalition were.
        subsets: v of every coalition evaluated, by bit mask (bit i is modality i).
    """

    step: int
    epoch: int
    modalities: tuple[str, ...]
    value: str
    samples: int
    exact: bool
    everyone: float
    nobody: float
    alone: tuple[float, ...]
    without: tuple[float, ...]
    shapley: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    everyone_error: float = 0.0
    alone_error: tuple[float, ...] = ()
    without_error: tuple[float, ...] = ()
    removal_error: tuple[float, ...] = ()
    permuted: tuple[float, ...] = ()
    permuted_error: tuple[float, ...] = ()
    preferred: tuple[int, ...] = ()
    fused_best: int = 0
    alone_best: int = 0
    masking: str = "another sample's"
    subsets: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RobustnessCurve:
    """How the value falls while one modality is damaged more and more, the others left alone.

    Attributes:
        step, epoch: when.
        kind: removal (share of samples that lack the modality), permutation (share of samples that have another
            sample's), noise (standard deviation added to standardised inputs).
        modality: which one.
        value_name: what the value is: accuracy, skill or Dice.
        level: ascending from 0, which is no damage.
        value: at each level.
        error: standard error over resampled probe samples.
        samples: of the probe set.
    """

    step: int
    epoch: int
    kind: CurveKind
    modality: str
    value_name: str
    level: tuple[float, ...]
    value: tuple[float, ...]
    error: tuple[float, ...]
    samples: int


_HINTS = {kind.__name__: get_type_hints(kind) for kind in (Contribution, RobustnessCurve)}


def body(look: Contribution | RobustnessCurve) -> str:
    """The look as JSON, floats exact, NaN and infinities included."""
    return json.dumps(asdict(look))


def contribution(text: str) -> Contribution:
    """Inverse of `body`.

    Raises:
        DamagedRunError: if it is not one.
    """
    found = _fields(text, Contribution)
    count = len(found["modalities"])
    wide = ("alone", "without", "shapley", "covariance")
    maybe = ("alone_error", "without_error", "removal_error", "permuted", "permuted_error")
    sizes = [len(found[name]) for name in wide] + [len(row) for row in found["covariance"]]
    sizes += [len(found[name]) for name in maybe if found.get(name)]
    if count < 2 or len(set(found["modalities"])) < count or set(sizes) != {count}:
        raise DamagedRunError(f"a Contribution of the run must hold one number for each of its {count} modalities")
    if len(found.get("preferred", ())) not in (0, count + 1) or found["samples"] < 1:
        raise DamagedRunError("a Contribution of the run does not say how many samples each modality leads")
    return Contribution(**found)


def robustness(text: str) -> RobustnessCurve:
    """Inverse of `body`.

    Raises:
        DamagedRunError: if it is not one.
    """
    found = _fields(text, RobustnessCurve)
    if not len(found["level"]) == len(found["value"]) == len(found["error"]):
        raise DamagedRunError("a RobustnessCurve of the run has not as many values as levels")
    return RobustnessCurve(**found)


def settled_contributions(recorded: Sequence[Contribution]) -> tuple[Contribution, ...]:
    """By step; of equal steps the one recorded last."""
    return tuple(sorted({look.step: look for look in recorded}.values(), key=lambda look: look.step))


def settled_curves(recorded: Sequence[RobustnessCurve]) -> tuple[RobustnessCurve, ...]:
    """By step, kind and the order recorded; of equal places the one recorded last."""
    places = {(curve.step, curve.kind, curve.modality): curve for curve in recorded}
    return tuple(sorted(places.values(), key=lambda curve: (curve.step, _KINDS.index(curve.kind))))


def _fields(text: str, kind: type[Any]) -> dict[str, Any]:
    """The fields that were recorded, each of its declared type; another program may have written them."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedRunError(f"a {kind.__name__} of the run is no JSON: {error}") from None
    known, hints = fields(kind), _HINTS[kind.__name__]
    needed = {one.name for one in known if one.default is MISSING and one.default_factory is MISSING}
    if not isinstance(said, dict) or not needed <= set(said) <= {one.name for one in known}:
        raise DamagedRunError(f"the fields of a {kind.__name__} of the run are not those it has")
    try:
        return {name: _typed(value, hints[name]) for name, value in said.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise DamagedRunError(f"a {kind.__name__} of the run is damaged: {error}") from None


def _typed(value: Any, hint: Any) -> Any:
    """A value out of JSON as the type that a field declares.

    Raises:
        TypeError, ValueError, OverflowError: if it is not of that type.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind is tuple and isinstance(value, list):
        return tuple(_typed(item, inner[0]) for item in value)
    if kind is Mapping and isinstance(value, dict):
        return {int(name): _typed(item, inner[1]) for name, item in value.items()}
    if kind is Literal and value in inner:
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint and (hint is not int or abs(value) < 2**63):
        return value
    raise TypeError(f"{str(value)[:60]!r} stands where {getattr(hint, '__name__', hint)} was expected")
