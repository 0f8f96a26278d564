"""MSLR, modality-specific learning rates: each encoder's rate follows its classifier's validation score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cggm_core.cards import MethodCard, Param
from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="mslr",
    title="Modality-specific learning rates",
    summary="Gives every encoder a learning rate of its own: a fixed factor, times how its validation score stands "
    "against its own last epochs.",
    params=(
        Param("base", "", text="fixed factors as name=number, with commas between; modalities left out have 1, 0 "
              "stops an encoder, 100 is the most"),
        Param("dynamic", True, text="follow the validation scores; without, only the fixed factors act", live=True),
        Param("window", 5, 1, 1000, "epochs a score is compared with; 1 follows every wiggle, and nothing happens "
              "before as many epochs are over"),
    ),
    lever="schedule",
    paper="Yao & Mihalcea, Findings of ACL 2022",
    requires=("unimodal_scores", "learning_rates"),
    reports=("rate_coefficient",),
    neutral={"base": "", "dynamic": False},
    cost="1, with the classifiers whose validation scores it follows",
    departs="the dynamic rule is that of AGM's released baselines; on the learning rate and not on gradients, so that "
    "it acts under Adam; scores below zero (-MAE) are compared inversely; the factor stays within 0.1 to 10",
)  # fmt: skip


class Mslr(BalanceMethod):
    """Rate of modality m = run's rate * base_m * q_m, q_m = score now / mean of the last `window` scores.

    Reference: methods reference 6.1. Scores are the classifiers' on the validation split, which therefore is no
    unseen data for this method; the test split is.

    Raises:
        ConfigError: for fixed factors that cannot be read.
        CapabilityError: for a factor of a modality the data has not.
    """

    def setup(self, context: MethodContext) -> None:
        """Read the fixed factors; no history yet."""
        self._modalities = context.model.modalities
        self._base = read_factors(str(self.knobs["base"]), self._modalities)
        self._history: dict[str, list[float]] = {m: [] for m in self._modalities}
        self._ratios = dict.fromkeys(self._modalities, 1.0)

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Compare each classifier's validation score with those of the epochs before."""
        window = int(self.knobs["window"])
        for modality in self._modalities:
            score, history = float(report[f"val_unimodal_score[{modality}]"]), self._history[modality]
            self._ratios[modality] = score_ratio(score, history) if len(history) == window else 1.0
            self._history[modality] = [*history, score][-window:]

    def rate_factors(self) -> Mapping[str, float]:
        """base_m * q_m."""
        dynamic = bool(self.knobs["dynamic"])
        return {m: self._base[m] * (self._ratios[m] if dynamic else 1.0) for m in self._modalities}

    def on_epoch_start(self, epoch: int) -> None:
        """The factors of this epoch, as applied."""
        self._applied = dict(self.rate_factors())

    def on_gradients(self, step: Step) -> None:
        """Report the factors."""
        step.report("rate_coefficient", self._applied)

    def state_dict(self) -> dict[str, Any]:
        """Scores of the last epochs, the ratios they gave, and the factors in force."""
        return {
            "history": {m: list(h) for m, h in self._history.items()},
            "ratios": dict(self._ratios),
            "applied": dict(getattr(self, "_applied", {})),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._history = {m: list(h) for m, h in state["history"].items()}
        self._ratios, self._applied = dict(state["ratios"]), dict(state["applied"])


def score_ratio(now: float, history: Sequence[float]) -> float:
    """Now / mean of history; for scores below zero (-MAE) mean / now, so that above 1 is always better.

    Returns:
        Within [0.1, 10]; 1 where either side is 0 or they differ in sign.
    """
    mean = sum(history) / len(history)
    if not now * mean > 0:
        return 1.0
    return min(10.0, max(0.1, now / mean if now > 0 else mean / now))


def read_factors(text: str, modalities: Sequence[str]) -> dict[str, float]:
    """Factor by modality from `name=number, name=number`; 1 where none is given."""
    found = dict.fromkeys(modalities, 1.0)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            factor = float(number)
        except ValueError:
            factor = -1.0
        if not 0 <= factor <= 100:
            raise ConfigError(f"base has {part!r:.80}, expected name=number with a number from 0 to 100")
        if name not in found:
            raise CapabilityError(f"base names the modality {name!r:.80}; there are: {', '.join(modalities)}")
        found[name] = factor
    return found
