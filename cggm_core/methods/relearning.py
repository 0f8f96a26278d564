"""Diagnosing and re-learning: an encoder that learnt its training data by heart is taken back towards its start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.data import take
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import pooled
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="relearning",
    title="Diagnosing and re-learning",
    summary="Now and then each encoder goes back towards its initial weights, as far as its features overfit.",
    params=(
        Param("kappa", 3.0, 0.0, 100.0, "how far a gap takes an encoder back: 0 is joint training, very large starts "
              "every encoder with any gap anew"),
        Param("every", 20, 1, 100_000, "epochs between two diagnoses; few leave no time to learn again"),
        Param("times", 3, 0, 10_000, "diagnoses in all; 0 is joint training"),
        Param("samples", 2048, 16, 1_000_000, "training and validation samples that are clustered, the first of each; "
              "few are noisy, many slow"),
    ),
    tasks=("classification",),
    lever="update",
    paper="Wei et al., ECCV 2024",
    requires=("training_data",),
    reports=("purity_gap", "reset_share"),
    neutral={"times": 0},
    cost="1, and at a diagnosis features of both splits and 2 M clusterings",
    departs="released code: all samples; ours: the first of each split, mean over tokens, and none after the last "
    "epoch, where nothing could be learnt again",
    limits="purity of clusters needs one class a sample",
)  # fmt: skip


def purity(features: NDArray[np.floating], target: NDArray[np.integer], clusters: int, seed: int) -> float:
    """Share of samples that have their cluster's commonest class, after k-means on columns scaled to [-1, 1].

    Args:
        features: `[n, width]`.
        target: classes `[n]`.
        clusters: as many as there are classes; no more than there are samples are made.
        seed: of k-means.
    """
    # Imported here: a second that only a diagnosis needs.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    low, high = features.min(0), features.max(0)
    scaled = 2 * (features - low) / np.where(high > low, high - low, 1.0) - 1
    with threadpool_limits(1):  # sums in another order would be other bits
        found = KMeans(min(clusters, len(target)), n_init=1, random_state=seed).fit_predict(scaled)
    return sum(int(np.bincount(target[found == one]).max()) for one in np.unique(found)) / len(target)


def reset_share(gap: float, kappa: float) -> float:
    """W = tanh(kappa gap): 0 leaves the encoder, 1 is its initial weights."""
    return math.tanh(kappa * gap)


class Relearning(BalanceMethod):
    """theta_m <- w theta_m at the start + (1 - w) theta_m, w by the gap of purity between training and validation.

    Reference: Wei et al., ECCV 2024 (arXiv 2407.09705), and the authors' code; the optimiser keeps its state.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Keep the initial weights, which the run's seed gives again after a resume."""
        self.context, names = context, context.model.modalities
        self.initial = {m: [p.detach().clone() for p in context.model.parameters_of(m)] for m in names}
        self.gaps, self.shares = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)

    def on_loss(self, step: Step) -> None:
        """Record the last diagnosis."""
        device = step.batch.target.device
        for metric, values in (("purity_gap", self.gaps), ("reset_share", self.shares)):
            step.report(metric, {m: torch.full((), values[m], device=device) for m in step.modalities})

    def on_epoch_end(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Diagnose and take back, where it is time."""
        done, late = divmod(epoch + 1, int(self.knobs["every"]))
        if late or done > int(self.knobs["times"]) or epoch + 1 >= self.context.epochs:
            return
        found = {split: self._purities(split) for split in ("train", "val")}
        for m in self.gaps:
            self.gaps[m] = abs(found["train"][m] - found["val"][m])
            self.shares[m] = reset_share(self.gaps[m], float(self.knobs["kappa"]))
            with torch.no_grad():
                for now, first in zip(self.context.model.parameters_of(m), self.initial[m], strict=True):
                    now.lerp_(first, self.shares[m])

    @torch.no_grad()
    def _purities(self, name: str) -> dict[str, float]:
        """Purity of each modality's features on one split; model in evaluation mode, which draws nothing."""
        context, model = self.context, self.context.model
        split = context.data.splits[name]
        training, parts = model.training, []
        model.eval()
        for index in torch.arange(min(len(split), int(self.knobs["samples"]))).split(256):
            batch = take(split, index, context.device)
            parts.append({m: pooled(value.float()).cpu() for m, value in model.encode(batch.inputs).items()})
        model.train(training)
        target = split.target[torch.arange(sum(len(next(iter(part.values()))) for part in parts))].cpu().numpy()
        outputs, seed = context.task.spec.outputs, context.seed
        joined = {m: torch.cat([part[m] for part in parts]).double().numpy() for m in self.gaps}
        return {m: purity(features, target, outputs, seed) for m, features in joined.items()}

    def state_dict(self) -> dict[str, Any]:
        """The last diagnosis."""
        return {"gaps": dict(self.gaps), "shares": dict(self.shares)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.gaps, self.shares = dict(state["gaps"]), dict(state["shares"])
