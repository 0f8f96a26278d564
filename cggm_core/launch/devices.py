"""Graphics cards at hand, and which of them a queued run takes: runs take turns over all of them.

Found without torch: what the launcher hands on is a variable that the worker's CUDA reads when it starts. A run's
configuration keeps saying `auto` or `cuda`, so that repetitions on different cards stay one configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cggm_core.launch import cores

VISIBLE = "CUDA_VISIBLE_DEVICES"
_ANY_CARD = ("auto", "cuda")


def cards(environment: Mapping[str, str] = os.environ, nodes: Path = Path("/dev")) -> tuple[str, ...]:
    """Words by which CUDA knows the cards this process may use; empty without an NVIDIA card.

    Args:
        environment: where `CUDA_VISIBLE_DEVICES` may narrow them down; CUDA reads it up to the first word that is none.
        nodes: folder of device files.
    """
    if VISIBLE in environment:
        words = [word.strip() for word in environment[VISIBLE].split(",")]
        ends = next((place for place, word in enumerate(words) if not word or word.startswith("-")), len(words))
        return tuple(words[:ends])
    try:
        there = sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in nodes.iterdir())
    except OSError:
        there = 0
    return tuple(map(str, range(there)))


def assigned(device: str, busy: Sequence[str], there: Sequence[str]) -> str:
    """The card a run is to see: the one with fewest runs on it, the first of equals; "" leaves the run its own choice.

    Args:
        device: as configured; only `auto` and `cuda` leave the choice open.
        busy: card of every run that trains, as `card_of` gives it.
        there: cards at hand; with fewer than two there is nothing to choose.
    """
    if device not in _ANY_CARD or len(there) < 2:
        return ""
    return min(there, key=lambda card: (busy.count(card), there.index(card)))


def card_of(device: str, given: str, there: Sequence[str]) -> str:
    """The card a run trains on; "" for none, or where the run chose by itself.

    Args:
        device: as configured; `cuda:N` is the N-th of the cards there are.
        given: by `assigned`.
        there: cards at hand.
    """
    index = device.partition(":")[2]
    return there[int(index)] if index.isdigit() and int(index) < len(there) else given


def side_by_side() -> int:
    """Runs that fit beside one another: one for each worker's share of the cores, and at least one a card."""
    return max(cores.slots(), len(cards()))
