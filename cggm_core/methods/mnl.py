"""MNL: a modality that is surer of the truth tells another, sample by sample, what the answer is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._unimodal_heads import UnimodalHeads
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="mnl",
    title="MNL",
    summary="The modality with the larger margin guides the other's probabilities of the wrong classes.",
    params=(
        Param("lam", 0.7, 0.0, 1_000.0, "weight of the guidance: 0 is none, very large makes modalities copies of one "
              "another's mistakes"),
        Param("gamma", 1.0, 0.0, 1_000.0, "weight of the unimodal losses: 0 leaves them out (with lam 0 it is "
              "joint training), very large forgets the fusion"),
        Param("form", "paper", text="paper: guidance on the wrong classes, mean over samples; released: a loss of the "
              "true class besides, and divided by the classes too", choices=("paper", "released")),
        Param("start_epoch", 0, 0, 100_000, "first epoch with guidance; the paper waits until unimodal heads settle, "
              "the released code does not (0)"),
    ),
    tasks=("classification", "segmentation"),
    lever="loss",
    paper="Gong et al., NeurIPS 2025",
    requires=("own_modules",),
    reports=("head_loss", "confidence_margin", "guidance_share"),
    neutral={"lam": 0.0, "gamma": 0.0},
    cost="a head a modality, forward and backward",
    departs="paper: two modalities, fused by half the sum of their logits; ours: the model's own fusion, and for more "
    "modalities every pair, divided by the number of guides; a tie guides nobody (released code: the second does)",
    limits="a regression has no wrong classes to speak of",
)  # fmt: skip


@dataclass(frozen=True)
class Guidance:
    """What `guide` finds.

    Attributes:
        loss: mean over samples, scalar, with gradient by the guided logits alone.
        margins: logit of the truth minus that of the fused prediction's strongest wrong class, `[m, n]`.
        guides: whether s guides w, `[s, w, n]`.
    """

    loss: Tensor
    margins: Tensor
    guides: Tensor


def guide(logits: Tensor, fused: Tensor, target: Tensor, lam: float, *, released: bool) -> Guidance:
    """Negative guidance: lam sum over wrong classes of -p_s[c] log p_w[c], p_s without gradient.

    s guides w where both its margin and its probability of the truth are larger; a modality with several guides
    takes their mean.

    Args:
        logits: `[m, n, classes]`.
        fused: `[n, classes]`.
        target: `[n]` int64.
        lam: weight.
        released: add -log p_w[truth] and divide by the number of classes, as the authors' code does.
    """
    count, _, classes = logits.shape
    truth = F.one_hot(target, classes).to(logits.dtype)
    rival = fused.detach().masked_fill(truth.bool(), -torch.inf).argmax(1)
    log_p = logits.log_softmax(2)
    p = log_p.detach().exp()
    columns = [index.expand(count, -1).unsqueeze(2) for index in (target, rival)]
    margins = (logits.detach().gather(2, columns[0]) - logits.detach().gather(2, columns[1])).squeeze(2)
    right = p.gather(2, columns[0]).squeeze(2)
    guides = (margins[:, None] > margins[None]) & (right[:, None] > right[None])
    crossed = -lam * torch.einsum("snc,wnc->swn", p * (1 - truth), log_p)
    if released:
        crossed = (crossed - log_p.gather(2, columns[0]).squeeze(2)) / classes
    shares = guides.to(logits.dtype) / guides.sum(0).clamp_min(1)
    return Guidance((crossed * shares).sum((0, 1)).mean(), margins, guides)


class Mnl(BalanceMethod):
    """L = L_task + gamma sum_m L(z_m) + guidance.

    Reference: Gong et al., NeurIPS 2025 (Multimodal Negative Learning), and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Heads of the method's own."""
        self.heads = UnimodalHeads(context)

    def on_loss(self, step: Step) -> None:
        """Add the unimodal losses and the guidance."""
        lam, gamma = float(self.knobs["lam"]), float(self.knobs["gamma"])
        if not lam and not gamma:
            return
        logits, target = self.heads(step.encoded), step.batch.target
        losses = {m: step.task.loss(z, target) for m, z in logits.items()}
        step.add_loss("unimodal", gamma * torch.stack(list(losses.values())).sum())
        rows = torch.stack([_rows(z) for z in logits.values()])
        released = self.knobs["form"] == "released"
        found = guide(rows, _rows(step.logits.float()), target.flatten(), lam, released=released)
        if lam and step.epoch >= int(self.knobs["start_epoch"]):
            step.add_loss("guidance", found.loss)
        step.report("head_loss", losses)
        step.report("confidence_margin", dict(zip(logits, found.margins.mean(1), strict=True)))
        step.report("guidance_share", dict(zip(logits, found.guides.any(1).float().mean(1), strict=True)))

    def modules(self) -> Mapping[str, nn.Module]:
        """The heads."""
        return {"heads": self.heads}


def _rows(logits: Tensor) -> Tensor:
    """`[batch, classes, ...]` to one row a sample, or a pixel."""
    return logits.movedim(1, -1).flatten(0, -2)
