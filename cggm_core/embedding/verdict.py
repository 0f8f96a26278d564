"""The numbers in a sentence: does the cheap gradient stand for the true one, and when does it stop?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cggm_core.embedding.pairing import Pairing

Standing = Literal["closely", "partly", "hardly", "on average only", "not", "against", "unknown"]
ALPHA = 0.05
CLOSE, FAINT = 0.5, 0.2
STANDS: tuple[Standing, ...] = ("closely", "partly")
RULE = (
    f"closely: the mean cosine of partners is {CLOSE:g} or more and above shuffled partners (p below {ALPHA:g}); "
    f"partly: above shuffled partners, {FAINT:g} to {CLOSE:g}; hardly: above them, but below {FAINT:g}; "
    f"on average only: the cosine is {CLOSE:g} or more, yet any other batch of the snapshot would do as well; "
    "against: the whole interval is below 0; else not"
)


def standing(pairing: Pairing) -> Standing:
    """How one window's classifier gradients stand for the unimodal ones; thresholds stand in `RULE`."""
    number = pairing.cosine
    if math.isnan(number.value):
        return "unknown"
    if number.high < 0:
        return "against"
    if number.p < ALPHA and number.value > 0:
        return "closely" if number.value >= CLOSE else "partly" if number.value >= FAINT else "hardly"
    return "on average only" if number.value >= CLOSE else "not"


@dataclass(frozen=True)
class Answer:
    """What is said of one modality.

    Attributes:
        standing: in a word.
        said: in a sentence.
        numbers: it rests on, in words; "" where there are too few batches.
        course: what became of it along training; "" where nothing can be said.
    """

    standing: Standing
    said: str
    numbers: str = ""
    course: str = ""


def answer(whole: Pairing, windows: Sequence[Pairing]) -> Answer:
    """One modality over training, in words with numbers.

    Args:
        whole: over everything chosen.
        windows: along training.
    """
    found = standing(whole)
    if found == "unknown":
        return Answer(found, f"{whole.pairs} batches are too few to tell; four of one snapshot are needed.")
    number = whole.cosine
    said = {
        "closely": "The classifier's gradient stands closely for the true one.",
        "partly": "The classifier's gradient stands partly for the true one.",
        "hardly": "The classifier's gradient hardly stands for the true one, though more than chance would have it.",
        "on average only": "It points where the true one points on average, but says nothing of the single batch.",
        "not": "The classifier's gradient does not stand for the true one.",
        "against": "The classifier's gradient points against the true one.",
    }[found]  # fmt: skip
    numbers = (
        f"Cosine {number.value:.2f} ({number.low:.2f} to {number.high:.2f}; shuffled {number.null:.2f}); the right "
        f"partner is nearer than {100 * whole.rank.value:.0f} % of the others."
    )
    return Answer(found, said, numbers, _course(windows))


def _course(windows: Sequence[Pairing]) -> str:
    """What became of it along training."""
    judged = [(one, standing(one)) for one in windows if not math.isnan(one.cosine.value)]
    if len(judged) < 2:
        return ""
    holds = [word in STANDS for _, word in judged]
    first, last = judged[0][0].cosine.value, judged[-1][0].cosine.value
    went = f"from {first:.2f} at step {judged[0][0].first} to {last:.2f} at step {judged[-1][0].last}"
    if all(holds):
        return f"It holds throughout: {went}."
    if not any(holds):
        return f"In no part of the training does it stand closer: {went}."
    if not holds[-1]:
        end = max(place for place, held in enumerate(holds) if held)
        return f"It stops at step {judged[end + 1][0].first}: {went}."
    if holds == sorted(holds):
        return f"It begins at step {judged[holds.index(True)][0].first}: {went}."
    return f"It comes and goes, in {sum(holds)} of {len(holds)} windows: {went}."
