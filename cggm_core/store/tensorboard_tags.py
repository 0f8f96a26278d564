"""Series as TensorBoard's tags and back: `metric/modality`, which its pages group by metric."""

from __future__ import annotations

from collections.abc import Sequence

from cggm_core.config import clean_text
from cggm_core.names import METRICS, PAIR_SEPARATOR, MetricKey
from cggm_core.store.export import storable

# Written by us beside the series: what made the run; the epoch and all bits of the values beside it; what happened.
RUN, EPOCH, EXACT, EVENTS = "cggm-lab/run", "cggm-lab/epoch", "cggm-lab/exact", "events/"
BRIDGE = "cggm/"  # what the bridge of `cggm_core.integrations` puts before its tags
LENGTH = 120
_LONG = 300


def tags(keys: Sequence[MetricKey]) -> dict[MetricKey, str]:
    """A tag for each series, all different; which is whose stands in the file as well."""
    taken = {RUN: 1, EPOCH: 1, EXACT: 1}
    return {key: _free("/".join(filter(None, map(storable, key)))[:_LONG] or "unnamed", taken) for key in keys}


def key_of(tag: str) -> MetricKey:
    """The series that a foreign tag stands for.

    A metric of the lab's own, alone or with a modality behind a slash, is that series; so is what the bridge to
    TensorBoard wrote. Anything else is a metric of its own, under its whole tag: cleaned of control characters and
    of at most `LENGTH` characters.
    """
    metric, _, modality = tag.removeprefix(BRIDGE).partition("/")
    known = METRICS.get(metric)
    if known is not None and (not modality or known.scope != "fused") and modality == clean_text(modality, LENGTH):
        pair = known.scope == "pair" and PAIR_SEPARATOR not in modality and modality.count("-") == 1
        return MetricKey(metric, modality.replace("-", PAIR_SEPARATOR) if pair else modality)
    return MetricKey(clean_text(tag, LENGTH) or "unnamed")


class Names:
    """Hands out a legal series for every foreign tag, each its own.

    Args:
        known: series by tag, where the file itself says so.
    """

    def __init__(self, known: dict[str, MetricKey]) -> None:
        self._known, self._keys = frozenset(known), dict(known)
        self._taken = {str(key): 1 for key in known.values()}

    def of(self, tag: str) -> MetricKey:
        """The series of a tag; the same for the same tag."""
        if tag not in self._keys:
            key = key_of(tag)
            name = _free(str(key), self._taken)
            self._keys[tag] = key if name == str(key) else MetricKey(name)
        return self._keys[tag]

    def changed(self) -> list[tuple[str, str]]:
        """Series and original tag, where a reader would not know one by the other."""
        return [
            (str(key), tag)
            for tag, key in self._keys.items()
            if tag not in self._known and tag.removeprefix(BRIDGE) != "/".join(filter(None, key))
        ]


def _free(wanted: str, taken: dict[str, int]) -> str:
    """The word, with a number behind it where it is taken; `taken` remembers the last number of each."""
    word = wanted
    while word in taken:
        taken[wanted] += 1
        word = f"{wanted} ({taken[wanted]})"
    taken[word] = 1
    return word
