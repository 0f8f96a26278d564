"""The per-step series of every run, gathered without a value being read by the host.

Numbers are kept as short vectors (one per kind, one entry a modality) so that a step costs a few small
operations instead of one per number.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cggm_core.measures.directions import direction_loss, pair_cosines
from cggm_core.measures.gradients import gradients_of, keep_copy, l2_norm, measure_dtype, update_ratio
from cggm_core.names import MetricKey, pair
from cggm_core.protocols.step import Step


class Measuring:
    """Takes every per-step series from a step; what each means stands in `names`.

    `columns` and `vector` hold the newest step's row: keys, and a vector in the measuring dtype on the device.

    Args:
        parameters: each modality's own parameters.
        device: where training runs.
        readers: whether unimodal classifiers run; without them their series are left out.
        fused: whether task, fused prediction and last layer are known; a watched loop may not tell them.
    """

    def __init__(
        self, parameters: Mapping[str, list[nn.Parameter]], device: torch.device, *, readers: bool, fused: bool = True
    ) -> None:
        self._parameters, self._readers, self._fused = parameters, readers, fused
        self._dtype = measure_dtype(device)
        self._before = {m: [torch.empty_like(p) for p in own] for m, own in parameters.items()}
        self._scores = torch.zeros(len(parameters), dtype=self._dtype, device=device)
        self._nothing = torch.zeros((), device=device)
        self._one = torch.ones((), dtype=self._dtype, device=device)
        names = tuple(parameters)
        self._pairs = [pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        self.columns: tuple[MetricKey, ...] = ()
        self._vectors: list[tuple[list[MetricKey], Tensor]] = []

    def before(self, step: Step) -> None:
        """After backward, before the method changed any gradient."""
        self._vectors = []
        self._raw = self._norms()
        self._modal("gradient_norm_raw", self._raw)
        if self._readers and self._fused:
            with torch.no_grad():
                self._heads(step)
        for modality, own in self._parameters.items():
            if own:  # a frozen encoder of a watched loop has nothing that moves
                keep_copy(own, self._before[modality])

    def after(self, step: Step) -> None:
        """After the method, before clipping."""
        self._modal("gradient_norm", self._norms() if step.scaled or step.changed else self._raw)

    def finish(self, step: Step) -> None:
        """After the update: `vector` and `columns` are the step's row."""
        with torch.no_grad():
            ratios = [
                update_ratio(own, self._before[m]) if own else self._nothing for m, own in self._parameters.items()
            ]
            self._modal("update_ratio", torch.stack(ratios))
            self._losses(step)
            if self._readers:
                self._unimodal(step)
            self._coefficients(step)
        for key, value in step.readings.items():
            if not isinstance(value, Tensor):
                value = torch.full((1,), value, dtype=self._dtype, device=self._one.device)
            self._vectors.append(([key], value.reshape(1)))
        self.columns = tuple(key for keys, _ in self._vectors for key in keys)
        self.vector = torch.cat([values.detach().to(self._dtype) for _, values in self._vectors])

    def state_dict(self) -> dict[str, Tensor]:
        """Scores of the last step, from which the next gain is taken."""
        return {"scores": self._scores}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state_dict`."""
        self._scores = state["scores"].to(self._scores)

    def _norms(self) -> Tensor:
        return torch.stack([l2_norm(gradients_of(own) or [self._nothing]) for own in self._parameters.values()])

    def _modal(self, metric: str, values: Tensor) -> None:
        self._vectors.append(([MetricKey(metric, m) for m in self._parameters], values))

    def _heads(self, step: Step) -> None:
        """Sizes and angles of last-layer gradients."""
        directions = step.classifier_directions()
        fused = step.head_gradient().detach().flatten()
        self._vectors.append(([MetricKey("head_gradient_norm")], torch.linalg.vector_norm(fused).reshape(1)))
        self._modal("head_gradient_norm", torch.linalg.vector_norm(directions, dim=1))
        self._modal("direction_cosine", step.direction_cosines())
        self._vectors.append(([MetricKey("pair_cosine", p) for p in self._pairs], pair_cosines(directions)))

    @staticmethod
    def _reported(step: Step, metric: str) -> bool:
        """Whether the method gave its own reading of a metric, which then is the one recorded."""
        return any(key.metric == metric for key in step.readings)

    def _losses(self, step: Step) -> None:
        self._vectors.append(([MetricKey("loss")], step.loss.reshape(1)))
        if not self._fused:
            return
        score = step.task.score(step.logits, step.batch.target)
        self._vectors.append(([MetricKey("task_loss")], step.task_loss.reshape(1)))
        self._vectors.append(([MetricKey("score")], score.reshape(1)))

    def _unimodal(self, step: Step) -> None:
        scores = torch.stack(list(step.unimodal_scores.values())).to(self._dtype)
        self._modal("unimodal_score", scores)
        self._modal("unimodal_loss", torch.stack(list(step.unimodal_losses.values())))
        if not self._reported(step, "score_gain"):
            self._modal("score_gain", scores - self._scores)
        self._scores = scores

    def _coefficients(self, step: Step) -> None:
        applied = torch.stack([step.scaled.get(m, self._one).to(self._dtype) for m in self._parameters])
        self._modal("balance_coefficient", applied)
        if self._readers and self._fused and not self._reported(step, "direction_loss"):
            loss = direction_loss(applied, step.direction_cosines())
            self._vectors.append(([MetricKey("direction_loss")], loss.reshape(1)))
