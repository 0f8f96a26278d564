"""MMPareto: each encoder follows a direction that serves both the fused and its own loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cggm_core.cards import MethodCard, Param
from cggm_core.measures.gradients import l2_norm
from cggm_core.methods._unimodal_heads import UnimodalHeads
from cggm_core.protocols.method import Backward, BalanceMethod, MethodContext
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="mmpareto",
    title="MMPareto",
    summary="Where an encoder's fused and unimodal gradients conflict, it takes the shortest mixture of both.",
    params=(
        Param("gamma", 1.0, 0.0, 1_000.0, "weight of the unimodal losses: 0 is joint training, very large forgets the "
              "fusion"),
        Param("gain", 1.5, 0.0, 100.0, "factor on the encoders' gradients afterwards; 1 keeps their size, near 0 they "
              "stand still; the paper's 1.5 is noise that finds flat minima", low_open=True, live=True),
    ),
    lever="gradient",
    paper="Wei and Hu, ICML 2024",
    requires=("encoder_gradients", "own_modules"),
    reports=("head_loss", "conflict_cosine"),
    neutral={"gamma": 0.0},
    cost="a head a modality, and the encoders' backward twice",
    departs="released code: one backward a loss, M + 2 in all; ours two, since a unimodal loss reaches one encoder; "
    "in a conflict both clamp the mixture to [0.001, 0.999]",
)  # fmt: skip


def pareto(fused: list[Tensor], alone: list[Tensor], gain: float) -> tuple[list[Tensor], Tensor]:
    """Gradient of one encoder from those of the fused loss and of its own, tensor by tensor.

    Without conflict (cosine over the whole encoder above 0) their sum; else 2 (w g_f + (1 - w) g_u) with the w of the
    shortest mixture, w = (g_u g_u - g_f g_u) / |g_f - g_u|^2. A tensor that came out shorter than the plain sum is
    brought to its length. All of it times `gain`.

    Args:
        fused: g_f, one tensor a parameter.
        alone: g_u, same shapes.
        gain: factor at the end.

    Returns:
        New gradients, and the cosine; nothing is read by the host.
    """
    dot = torch.stack([(f * u).sum() for f, u in zip(fused, alone, strict=True)]).sum()
    size_f, size_u = l2_norm(fused), l2_norm(alone)
    cosine = (dot / (size_f * size_u).clamp_min(torch.finfo(dot.dtype).tiny)).clamp(-1, 1)
    apart = (size_f.square() + size_u.square() - 2 * dot).clamp_min(torch.finfo(dot.dtype).tiny)
    shortest = ((size_u.square() - dot) / apart).clamp(0.001, 0.999)
    weight = torch.where(cosine > 0, torch.full_like(shortest, 0.5), shortest)
    made = []
    for f, u in zip(fused, alone, strict=True):
        mixed = 2 * (weight * f + (1 - weight) * u)
        length = torch.linalg.vector_norm(mixed)
        stretch = torch.linalg.vector_norm(f + u) / length.clamp_min(torch.finfo(length.dtype).tiny)
        made.append(mixed * (gain * stretch.clamp_min(1)))
    return made, cosine


class MmPareto(BalanceMethod):
    """L = L_task + gamma sum_m L(z_m), encoder gradients by `pareto`; heads and fusion keep the plain sum.

    The recorded raw gradient norm is that of the plain sum.

    Reference: Wei and Hu, ICML 2024 (arXiv 2405.17730), Eq. 5-9 and the authors' code.

    Departs from the paper: see the card.
    """

    def setup(self, context: MethodContext) -> None:
        """Heads of the method's own."""
        self.heads = UnimodalHeads(context)
        self.alone: dict[str, list[Tensor]] = {}

    def on_loss(self, step: Step) -> None:
        """Add the unimodal losses."""
        if gamma := float(self.knobs["gamma"]):
            logits = self.heads(step.encoded)
            losses = {m: step.task.loss(z, step.batch.target) for m, z in logits.items()}
            step.add_loss("unimodal", gamma * torch.stack(list(losses.values())).sum())
            step.report("head_loss", losses)

    def backward(self, step: Step, run: Backward) -> None:
        """The unimodal losses alone, kept; then the task's loss on top."""
        if not step.loss_terms:
            run(step.loss)
            return
        run(step.loss_terms["unimodal"], retain=True)
        for m in step.modalities:
            self.alone[m] = run.unscaled([p.grad for p in step.parameters[m] if p.grad is not None])
        run(step.task_loss)

    def on_gradients(self, step: Step) -> None:
        """Replace each encoder's sum of gradients."""
        if not step.loss_terms:
            return
        found = {}
        for m in step.modalities:
            whole = step.encoder_gradients(m)
            fused = torch._foreach_sub(whole, self.alone[m])
            made, found[m] = pareto(list(fused), self.alone[m], float(self.knobs["gain"]))
            torch._foreach_copy_(whole, made)
        step.report("conflict_cosine", found)

    def modules(self) -> Mapping[str, nn.Module]:
        """The heads."""
        return {"heads": self.heads}
