"""Training of one modality alone, the others absent: what a modality can do by itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cggm_core.cards import MethodCard, Param
from cggm_core.errors import CapabilityError
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel, absent
from cggm_core.protocols.step import Step

ALL = "*"

CARD = MethodCard(
    name="unimodal",
    title="One modality alone",
    summary="Trains and evaluates with one modality, the others absent: the reference line for what a joint "
    "training makes of it.",
    params=(
        Param("modality", "", text="name of the modality that stays; empty takes the data's first, * keeps all of "
              "them, which is joint training"),
    ),
    lever="data",
    paper="baseline of Guo et al., NeurIPS 2024, Tables 2-4",
    requires=("own_prediction",),
    neutral={"modality": "*"},
    cost="below 1: the absent modalities' encoders run forward only",
    departs="the same network with the other features at zero, not a network of its own; the absent encoders stay "
    "at their first weights, and their classifiers read those",
)  # fmt: skip


class Unimodal(BalanceMethod):
    """Features of every modality but one are zero, in training and in evaluation.

    Raises:
        CapabilityError: for a modality the data has not.
    """

    def setup(self, context: MethodContext) -> None:
        """Settle which modality stays."""
        names, wanted = context.model.modalities, str(self.knobs["modality"])
        if wanted not in ("", ALL, *names):
            raise CapabilityError(f"there is no modality {wanted!r:.80} to train alone; there are: {', '.join(names)}")
        self._keep = names if wanted == ALL else (wanted or names[0],)

    def on_features(self, step: Step) -> None:
        """Only the chosen modality reaches the fusion."""
        step.set_features(absent(step.features, self._keep))

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """From the chosen modality alone."""
        logits: Tensor = model.head(model.fuse(absent(features, self._keep)))
        return logits
