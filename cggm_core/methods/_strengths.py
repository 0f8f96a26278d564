"""How strong each modality is now, for methods that compare modalities by a quotient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cggm_core.cards import Value
from cggm_core.measures.ratios import damping, strength_ratios
from cggm_core.protocols.step import Step


def strengths(step: Step) -> Tensor:
    """s_m: agreement of the prediction from modality m alone with the truth, mean over the batch, `[m]` in (0, 1].

    The published methods cut a linear head on joined features into blocks. Here the others are absent instead,
    which for such a head is its block with the whole bias in place of 1/M of it, and which any fusion allows.
    Agreement is the probability of the true class; for regression see `Regression.agreement`.
    """
    with torch.no_grad():
        alone = (step.forward([m], evaluating=True) for m in step.modalities)
        return torch.stack([step.task.agreement(logits, step.batch.target).mean() for logits in alone])


def damped(step: Step, knobs: Mapping[str, Value]) -> Tensor | None:
    """OGM's coefficients of this step, `[m]` in (0, 1], their ratios reported; None outside its epochs.

    Args:
        step: its loss is there.
        knobs: `alpha`, and `start` and `end`, the first and the last epoch in which it acts.

    Reference: Peng et al., CVPR 2022, Eq. 7-9.
    """
    if not int(knobs["start"]) <= step.epoch <= int(knobs["end"]):
        return None
    ratios = strength_ratios(strengths(step))
    step.report("strength_ratio", dict(zip(step.modalities, ratios, strict=True)))
    return damping(ratios, float(knobs["alpha"]))
