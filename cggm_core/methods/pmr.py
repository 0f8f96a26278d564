"""PMR, prototypical modality rebalance: class prototypes pull the features of modalities that lag behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cggm_core.cards import MethodCard, Param
from cggm_core.measures.ratios import strength_ratios
from cggm_core.protocols.data import Batch, take
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import pooled
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="pmr",
    title="PMR",
    summary="Pulls the features of slower modalities to their class's mean feature, and keeps the fastest one's "
    "nearness to the prototypes undecided at first.",
    params=(
        Param("alpha", 1.0, 0.0, 100.0, "weight of the prototype loss: 0 is none, 1 to 3 are the published settings, "
              "far above features crowd at the prototypes and the task waits",
              live=True),
        Param("mu", 0.01, 0.0, 10.0, "weight of the entropy reward of the fastest modality: 0 is none, 0.001 "
              "and 0.01 are published, 1 or more keeps it from learning", live=True),
        Param("entropy_epochs", 5, 0, 100_000, "first epochs with the entropy reward: 0 never, the run's epochs or "
              "more always"),
        Param("memory", 0.2, 0.0, 0.99, "share of the old prototypes kept at each renewal: 0 forgets them, 0.99 "
              "follows the features after some hundred epochs"),
        Param("share", 0.1, 0.001, 1.0, "share of the training samples whose features make the prototypes; 1 takes "
              "all, little leaves classes without one"),
        Param("bins", 5, 2, 50, "regression only: quantile bins of the label that stand for classes; 2 is above or "
              "below the median, 50 are hardly filled"),
        Param("end", 100, 0, 100_000, "last epoch in which it acts, from 0; 0 is the first epoch only, the run's "
              "epochs or more never lets go"),
    ),
    lever="loss",
    requires=("training_data",),
    paper="Fan et al., CVPR 2023",
    reports=("strength_ratio", "loss_weight", "prototype_loss"),
    neutral={"alpha": 0.0, "mu": 0.0},
    cost="distances to the prototypes; a tenth of an epoch's encoding, forward only, before every epoch",
    departs="released code: the slower modality's loss is switched on whole, no entropy; ours: the paper's clipped "
    "ratios and its entropy; more than two modalities "
    "against the best one; regression by bins of the label, segmentation by pixels of the feature maps",
)  # fmt: skip

_FAR = 1e-12  # under the root: the derivative of a distance of exactly 0 is infinite


class Pmr(BalanceMethod):
    """L + alpha sum_m w_m PCE_m - mu mean(w of the others) H(p_best), w_m = clip(s_best / s_m - 1, 0, 1).

    p_m = softmax of minus the distances of modality m's feature to its class prototypes, PCE_m its cross-entropy,
    s_m its mean probability of the true class, H its entropy. Of two modalities this is the paper's form.

    Reference: Fan et al., CVPR 2023; methods reference 3. A feature is the mean token; of maps, each pixel.
    """

    def setup(self, context: MethodContext) -> None:
        """No prototypes yet; regression: edges of the label's bins."""
        self._context = context
        self._prototypes: dict[str, Tensor] = {}
        self._seen = torch.zeros(0, device=context.device)
        self._classes, self._edges = context.data.task.outputs, torch.zeros(0)
        if context.data.task.name == "regression":
            self._classes = int(self.knobs["bins"])
            split = context.data.splits["train"]
            labels = split.target[torch.arange(len(split))].double().mean(1)
            inner = torch.arange(1, self._classes, dtype=torch.float64) / self._classes
            self._edges = torch.quantile(labels, inner).to(context.device, torch.float32)

    def on_epoch_start(self, epoch: int) -> None:
        """Renew the prototypes from a part of the training samples, drawn by the epoch's number."""
        if self._idle(epoch):
            return
        context, split = self._context, self._context.data.splits["train"]
        generator = torch.Generator().manual_seed(epoch)
        count = max(1, round(float(self.knobs["share"]) * len(split)))
        chosen = torch.randperm(len(split), generator=generator)[:count]
        context.model.eval()
        sums: dict[str, Tensor] = {}
        counts = torch.zeros(self._classes, device=context.device)
        with torch.no_grad():
            for index in chosen.split(128):
                batch = take(split, index, context.device)
                encoded = context.model.encode(batch.inputs)
                for number, (modality, features) in enumerate(encoded.items()):
                    points, labels = self._points(features, batch)
                    members = F.one_hot(labels, self._classes).float()
                    sums[modality] = sums.get(modality, 0) + members.T @ points
                    counts = counts + members.sum(0) if number == 0 else counts
        context.model.train()
        self._renew(sums, counts)

    def _renew(self, sums: Mapping[str, Tensor], counts: Tensor) -> None:
        """Mix new means into the old ones; a class nobody was drawn of keeps its old prototype."""
        drawn, memory = counts[:, None] > 0, float(self.knobs["memory"])
        known = self._seen[:, None] > 0 if self._prototypes else torch.zeros_like(drawn)
        for modality, total in sums.items():
            new = total / counts[:, None].clamp_min(1)
            old = self._prototypes.get(modality, new)
            mixed = torch.where(known, mixed_prototypes(new, old, memory), new)
            self._prototypes[modality] = torch.where(drawn, mixed, old)
        self._seen = (drawn | known)[:, 0].float()

    def on_loss(self, step: Step) -> None:
        """Both terms; weights carry no gradient."""
        if self._idle(step.epoch):
            return
        rows = [self._row(step.encoded[m], m, step.batch) for m in step.modalities]
        strengths, losses, entropies = (torch.stack(column) for column in zip(*rows, strict=True))
        weights = slower_weights(strengths.detach())
        step.add_loss("prototypes", float(self.knobs["alpha"]) * (weights * losses).sum())
        if self.knobs["mu"] and step.epoch < int(self.knobs["entropy_epochs"]):
            best = entropies.gather(0, strengths.argmax()[None])[0]
            reward = weights.sum() / (len(weights) - 1) * best
            step.add_loss("entropy", -float(self.knobs["mu"]) * reward)
        ratios = strength_ratios(strengths.detach())
        for metric, values in (("strength_ratio", ratios), ("loss_weight", weights), ("prototype_loss", losses)):
            step.report(metric, dict(zip(step.modalities, values, strict=True)))

    def _idle(self, epoch: int) -> bool:
        return epoch > int(self.knobs["end"]) or not (self.knobs["alpha"] or self.knobs["mu"])

    def _row(self, features: Tensor, modality: str, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Strength, prototype loss and entropy of one modality; samples of classes without a prototype are left out."""
        points, labels = self._points(features, batch)
        logs = prototype_logs(points, self._prototypes[modality], self._seen)
        known = self._seen[labels]
        true = logs.gather(1, labels[:, None])[:, 0]
        count = known.sum().clamp_min(1)
        strength, loss = (true.exp() * known).sum() / count, -(true * known).sum() / count
        return strength, loss, -(logs.exp() * logs.clamp_min(-80)).sum(1).mean()

    def _points(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Vectors and the classes they stand for: samples, or pixels of the feature maps."""
        target = batch.target
        if features.ndim == 4:
            small = F.interpolate(target[:, None].float(), features.shape[2:], mode="nearest").long()
            return features.float().movedim(1, -1).flatten(0, 2), small.flatten()
        labels = torch.bucketize(target.float().mean(1), self._edges) if target.is_floating_point() else target
        return pooled(features).float(), labels

    def state_dict(self) -> dict[str, Any]:
        """Prototypes and which classes have one."""
        return {"prototypes": dict(self._prototypes), "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._prototypes, self._seen = dict(state["prototypes"]), state["seen"]


def prototype_logs(points: Tensor, prototypes: Tensor, seen: Tensor) -> Tensor:
    """Log softmax of minus the Euclidean distances, `[n, classes]`; classes without a prototype get next to nothing.

    Args:
        points: `[n, width]`.
        prototypes: `[classes, width]`.
        seen: 1 for a class with a prototype, else 0, `[classes]`.
    """
    distances = ((points[:, None] - prototypes[None]).square().sum(-1) + _FAR).sqrt()
    return (-distances).masked_fill(seen == 0, -1e9).log_softmax(1)


def slower_weights(strengths: Tensor) -> Tensor:
    """w_m = clip(s_best / s_m - 1, 0, 1): 0 for the strongest, 1 from half its strength down.

    Args:
        strengths: positive, `[m]`.
    """
    return (strengths.max() / strengths.clamp_min(1e-8) - 1).clamp(0, 1)


def mixed_prototypes(new: Tensor, old: Tensor, memory: float) -> Tensor:
    """(1 - memory) new + memory old."""
    return (1 - memory) * new + memory * old
