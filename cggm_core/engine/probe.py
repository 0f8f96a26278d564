"""Looks at a fixed set of validation samples: who carries the prediction, and how it falls under damage.

Evaluation mode, no gradient, generators of its own: training goes on to the same bits as without it. Features are
encoded once a look; a subset of modalities costs one fusion and one head for each order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cggm_core.engine.devices import Precision
from cggm_core.measures import contributions as measure
from cggm_core.protocols.data import Split, take
from cggm_core.protocols.model import MultimodalModel, absent
from cggm_core.protocols.task import Task
from cggm_core.store import Contribution, RobustnessCurve
from cggm_core.store.looks import CurveKind

Predict = Callable[[Mapping[str, Tensor]], Tensor]
Parts = list[tuple[dict[str, Tensor], Tensor, Tensor]]  # features, target, places in the probe set
FloatArray = NDArray[np.float64]
SEED = 20_241_209  # of the probe set and of every draw a look makes; the run's own seed would move the ruler
DRAWS = 200  # bootstrap draws: a standard error to 5 percent of itself
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SIGMAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)


class Probe:
    """A fixed, seeded part of a split and what is asked of it.

    Args:
        model: in whatever mode; every look puts it back into it.
        predict: features by modality to logits, as the run's method predicts.
        task: says what a value is.
        split: where samples come from.
        samples: of the probe set, at most; fewer where the split has fewer. The first samples of a larger probe set
            are those of a smaller one, so that a short look and a long one share samples.
        batch: samples predicted together.
        device: where the model is.
        precision: number format of the forward pass.
        orders: how often absent modalities are taken from other samples; their mean counts.
    """

    def __init__(
        self, model: MultimodalModel, predict: Predict, task: Task, split: Split, samples: int, batch: int,
        device: torch.device, precision: Precision, orders: int,
    ) -> None:  # fmt: skip
        self._model, self._predict, self._task, self._split = model, predict, task, split
        self._batch, self._device, self._precision = batch, device, precision
        self._index = torch.randperm(len(split), generator=torch.Generator().manual_seed(SEED))[:samples]
        self._orders = _circles(len(self), orders)
        self.modalities = model.modalities

    def __len__(self) -> int:
        return len(self._index)

    @torch.no_grad()
    def contribution(self, step: int, epoch: int) -> Contribution:
        """Shapley values, removal and the rest of `Contribution`.

        A coalition keeps its own modalities; all others come together from another sample, so the network sees
        nothing it could not meet (zeros everywhere can turn a whole mask on or off by the head's bias alone). Single
        modalities and leave-one-out are taken with zeros besides, as the paper removes a modality.

        Args:
            step: last optimiser step, for the record.
            epoch: pass it belongs to.
        """
        names, count = self.modalities, len(self.modalities)
        masks = measure.subsets_needed(count, SEED)
        with self._evaluating():
            features = self._features()
            whole = self._evidence(features)
            drawn = [[whole] if mask == masks[-1] else self._mixed_evidence(features, mask) for mask in masks]
            single = [self._evidence(features, (m,)) for m in names]
            rest = [self._evidence(features, [k for k in names if k != m]) for m in names]
        return _summed(self._task, names, masks, drawn, np.stack([*single, *rest]), Contribution(
            step, epoch, names, self._task.value_name, len(self), count <= measure.MOST_EXACT,
            0.0, 0.0, (), (), (), (),
        ))  # fmt: skip

    @torch.no_grad()
    def robustness(self, step: int, epoch: int) -> tuple[RobustnessCurve, ...]:
        """Removal, permutation and noise curves of every modality; draws are the same at every look."""
        made = []
        with self._evaluating():
            features = self._features()
            whole = self._evidence(features)
            turn = np.random.default_rng(SEED).permutation(len(self)) / len(self)
            for m in self.modalities:
                kept = [k for k in self.modalities if k != m]
                gone = self._evidence(features, kept)
                other = self._evidence(self._mixed(features, kept, self._orders[0]))
                noisy = [whole] + [self._evidence(self._noisy(features, m, s)) for s in SIGMAS[1:]]
                # Nested: what is damaged at a small share is damaged at every larger one.
                shared = {"removal": gone, "permutation": other}
                for kind, damaged in shared.items():
                    parts = [np.where((turn < share)[:, None], damaged, whole) for share in SHARES]
                    made.append(self._curve(step, epoch, kind, m, SHARES, parts))  # type: ignore[arg-type]
                made.append(self._curve(step, epoch, "noise", m, SIGMAS, noisy))
        return tuple(made)

    def _curve(
        self, step: int, epoch: int, kind: CurveKind, modality: str, level: Sequence[float], parts: list[FloatArray]
    ) -> RobustnessCurve:
        evidence = np.stack(parts)
        drawn = _drawn(self._task, evidence)
        return RobustnessCurve(
            step, epoch, kind, modality, self._task.value_name, tuple(level),
            _numbers(self._task.value_of(evidence.mean(1))), _numbers(drawn.std(0, ddof=1)), len(self),
        )  # fmt: skip

    def _features(self) -> Parts:
        """Features, target and place of every part of the probe set."""
        made = []
        for places in torch.arange(len(self)).split(self._batch):
            part = take(self._split, self._index[places], self._device)
            with self._precision.forward():
                made.append((self._model.encode(part.inputs), part.target, places))
        return made

    def _evidence(self, parts: Parts, keep: Sequence[str] | None = None) -> FloatArray:
        """`[samples, k]` of the prediction, with the modalities of `keep` alone where given."""
        found = []
        for features, target, _ in parts:
            with self._precision.forward():
                logits = self._predict(features if keep is None else absent(features, keep)).float()
            found.append(self._task.evidence(logits, target))
        joined: FloatArray = torch.cat(found).double().cpu().numpy()
        return joined

    def _mixed_evidence(self, parts: Parts, mask: int) -> list[FloatArray]:
        """`[samples, k]` with the modalities outside `mask` taken from other samples, one an order."""
        kept = [m for place, m in enumerate(self.modalities) if mask >> place & 1]
        return [self._evidence(self._mixed(parts, kept, order)) for order in self._orders]

    def _mixed(self, parts: Parts, keep: Sequence[str], order: NDArray[np.int64]) -> Parts:
        """The parts with every modality outside `keep` taken from the samples that `order` names."""
        other = {m: torch.cat([features[m] for features, _, _ in parts]) for m in self.modalities if m not in keep}
        places = torch.from_numpy(order)
        return [
            (features | {m: whole[places[p].to(whole.device)] for m, whole in other.items()}, target, p)
            for features, target, p in parts
        ]

    def _noisy(self, parts: Parts, modality: str, sigma: float) -> Parts:
        """The parts with one modality encoded anew from inputs with noise; padding stays padding."""
        generator = torch.Generator().manual_seed(SEED)
        made = []
        for features, target, places in parts:
            part = take(self._split, self._index[places], self._device)
            clean = part.inputs[modality]
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            real = (clean != 0).any(-1, keepdim=True) if clean.dim() == 3 else torch.ones_like(clean, dtype=torch.bool)
            given = dict(part.inputs) | {modality: clean + sigma * noise * real}
            with self._precision.forward():
                made.append((features | {modality: self._model.encode(given)[modality]}, target, places))
        return made

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self._model.training
        self._model.eval()
        try:
            yield
        finally:
            self._model.train(training)


def _circles(samples: int, count: int) -> list[NDArray[np.int64]]:
    """Orders in which no sample keeps its own: random circles, the same at every look."""
    made = []
    for number in range(count):
        circle = np.random.default_rng([SEED, number]).permutation(samples)
        order = np.empty_like(circle)
        order[circle] = np.roll(circle, 1)
        made.append(order)
    return made


def _summed(
    task: Task, modalities: tuple[str, ...], masks: tuple[int, ...], orders: list[list[FloatArray]],
    zeroed: FloatArray,
    empty: Contribution,
) -> Contribution:  # fmt: skip
    """Numbers of a look.

    Args:
        task: says what a value is.
        modalities: in model order.
        masks: coalitions.
        orders: evidence of each coalition, one `[samples, k]` an order; their mean counts. Which modality leads a
            sample is asked of the first alone, so that short and long looks ask the same.
        zeroed: of each modality alone, then of all but each, others zero: `[2 modalities, samples, k]`.
        empty: what else the look says of itself.
    """
    count, column = len(modalities), {mask: place for place, mask in enumerate(masks)}
    rest = [column[masks[-1] ^ (1 << m)] for m in range(count)]
    weights = measure.shapley_weights(count, SEED)
    evidence, first = np.stack([np.mean(one, axis=0) for one in orders]), np.stack([one[0] for one in orders])
    value, zero = task.value_of(evidence.mean(1)), task.value_of(zeroed.mean(1))
    drawn, zero_drawn = _drawn(task, evidence), _drawn(task, zeroed)
    zero_error, whole = zero_drawn.std(0, ddof=1), drawn[:, [-1]]
    covariance = np.cov(drawn @ weights.T, rowvar=False) + np.diag(measure.order_variance(value, count, SEED))
    everyone, best_alone = task.value_of(evidence[-1]), task.value_of(zeroed[:count]).max(0)
    return replace(
        empty,
        everyone=float(value[-1]), nobody=float(value[0]), shapley=_numbers(weights @ value),
        covariance=tuple(_numbers(row) for row in covariance), everyone_error=float(whole.std(ddof=1)),
        alone=_numbers(zero[:count]), alone_error=_numbers(zero_error[:count]),
        without=_numbers(zero[count:]), without_error=_numbers(zero_error[count:]),
        removal_error=_numbers((whole - zero_drawn[:, count:]).std(0, ddof=1)),
        permuted=_numbers(value[rest]), permuted_error=_numbers((whole - drawn[:, rest]).std(0, ddof=1)),
        preferred=tuple(int(n) for n in measure.preferences(task.value_of(first).T @ weights.T)),
        fused_best=int((everyone > best_alone).sum()), alone_best=int((best_alone > everyone).sum()),
        subsets={mask: float(value[place]) for place, mask in enumerate(masks)},
    )  # fmt: skip


def _drawn(task: Task, evidence: FloatArray) -> FloatArray:
    """Values of bootstrap draws over samples, `[draws, subsets]`."""
    weights = measure.resampled(evidence.shape[1], DRAWS, SEED)
    return task.value_of(np.einsum("bn,snk->bsk", weights, evidence, optimize=True))


def _numbers(values: object) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values))
