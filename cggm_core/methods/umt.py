"""UMT: unimodal teachers, trained first, keep each encoder's features from being lazy."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cggm_core.cards import MethodCard, Param
from cggm_core.methods._unimodal_heads import UnimodalHeads
from cggm_core.protocols.data import Batch
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="umt",
    title="UMT",
    summary="Teachers are trained on each modality alone; the joint model's features are pulled to theirs.",
    params=(
        Param("lam", 10.0, 0.0, 10_000.0, "weight of the distance from the teachers' features: 0 is joint training and "
              "trains no teacher; very large copies the teachers and leaves the fusion alone with the task"),
        Param("teacher_epochs", 10, 1, 100_000, "epochs of the teachers, all before the first step; few give weak "
              "teachers, many cost as much as the run"),
    ),
    lever="features",
    paper="Du et al., ICML 2023",
    requires=("own_modules", "pretraining"),
    reports=("distillation_loss",),
    neutral={"lam": 0.0},
    cost="the encoders once more without gradient; before it teacher_epochs of unimodal training",
    departs="paper: encoder outputs, any distance; third-party benchmark: teachers left in training mode, the "
    "weight 10; ours: teachers in evaluation mode, from the student's initial weights, all at once",
)  # fmt: skip


class Teachers(nn.Module):
    """A copy of the encoders with a head each; no modality's loss reaches another's encoder."""

    def __init__(self, model: MultimodalModel, heads: UnimodalHeads) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    def losses(self, context: MethodContext, batch: Batch) -> Tensor:
        """Sum of the unimodal losses: every encoder learns as if it were alone."""
        logits = self.heads(self.model.encode(batch.inputs))
        return torch.stack([context.task.loss(z, batch.target) for z in logits.values()]).sum()


def distances(features: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean squared distance over all elements, by modality; no gradient reaches the teacher.

    Args:
        features: the student's, any shape.
        taught: the teacher's, same shapes.
    """
    return {m: F.mse_loss(value.float(), taught[m].detach().float()) for m, value in features.items()}


class Umt(BalanceMethod):
    """L = L_task + lam sum_m MSE(h_m, h_m of the teacher).

    Reference: Du et al., ICML 2023 (arXiv 2305.01233), section 4; feature form of the loss.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Teachers with the student's initial weights, not trained yet."""
        self.context, self.teachers = context, None
        if self.knobs["lam"]:
            made = Teachers(copy.deepcopy(context.model), UnimodalHeads(context))
            self.teachers = made.requires_grad_(False).eval()

    def on_epoch_start(self, epoch: int) -> None:
        """Train the teachers before the first step; a run resumed later finds them in its checkpoint."""
        if self.teachers is not None and epoch == 0:
            teachers, context = self.teachers.requires_grad_(True), self.context
            epochs = int(self.knobs["teacher_epochs"])
            context.pretrain(teachers, lambda batch: teachers.losses(context, batch), epochs)
            teachers.requires_grad_(False)

    def on_loss(self, step: Step) -> None:
        """Add the distance from the teachers' features of the same inputs."""
        if self.teachers is None:
            return
        with torch.no_grad():
            taught = self.teachers.model.encode(step.batch.inputs)
        apart = distances(step.encoded, taught)
        step.add_loss("distillation", float(self.knobs["lam"]) * torch.stack(list(apart.values())).sum())
        step.report("distillation_loss", apart)

    def modules(self) -> Mapping[str, nn.Module]:
        """The teachers, which do not learn with the model."""
        return {} if self.teachers is None else {"teachers": self.teachers}
