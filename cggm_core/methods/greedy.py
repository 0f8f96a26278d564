"""Balanced training against greedy learning: who learns from the others fastest is made to learn by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.cards import MethodCard, Param
from cggm_core.protocols.data import take
from cggm_core.protocols.method import BalanceMethod, MethodContext
from cggm_core.protocols.model import MultimodalModel, pooled
from cggm_core.protocols.step import Step

CARD = MethodCard(
    name="greedy",
    title="Greedy (balanced learning)",
    summary="Lets modalities gate one another's features, measures how fast each learns by that, and holds the "
    "fastest one's gates still for some steps.",
    params=(
        Param("gates", True, text="put the gates in; without them this is joint training"),
        Param("epsilon", 0.01, 0.0, 1000.0, "difference of speeds that starts a window: 0 starts one at every chance, "
              "a large one never", live=True),
        Param("steps", 5, 1, 100_000, "steps a window lasts; 1 hardly acts, thousands hold the gates for good"),
        Param("start", 1, 0, 100_000, "first epoch in which windows open, from 0; speeds gather from the first "
              "step; the run's epochs or more opens none"),
    ),
    lever="fusion",
    paper="Wu et al., ICML 2022",
    requires=("own_modules", "own_prediction", "encoder_gradients", "training_data"),
    reports=("learning_speed", "gate_frozen"),
    neutral={"gates": False},
    cost="small gates on pooled features, and one norm over all encoder gradients",
    departs="gates (MMTM) stand once, on the encoders' outputs, before one fused head, not between the stages of two "
    "networks with a head each; any number of modalities by largest against smallest speed",
)  # fmt: skip

_SEED_SHIFT = 32_452_843
_TINY = 1e-30


class Greedy(BalanceMethod):
    """S_m = log10(B_m / U_m), sums over steps of |g|^2 / |w|^2: B of what gates m, U of m's own encoder.

    If max S - min S > epsilon, the gates of the modality with the largest S are their running mean, constant, for
    `steps` steps; sums stand still meanwhile.

    Reference: Wu et al., ICML 2022; methods reference 5. The decision is taken on the device: no step waits.
    """

    def setup(self, context: MethodContext) -> None:
        """Gates from a generator of their own, in the order of names, so that no other order matters."""
        self._names = sorted(context.model.modalities)
        self._gates = nn.ModuleDict()
        self._order = context.model.modalities
        count, device = len(self._names), context.device
        self._state = {
            "cross": torch.zeros(count, device=device), "own": torch.zeros(count, device=device),
            "frozen": torch.zeros(count, device=device), "left": torch.zeros((), device=device),
            "regular": torch.zeros((), device=device),
        }  # fmt: skip
        if not self.knobs["gates"]:
            return
        batch = take(context.data.splits["train"], torch.arange(2), device)
        training = context.model.training
        with torch.no_grad():
            found = context.model.eval().encode(batch.inputs)
        context.model.train(training)
        widths = [pooled(found[m]).shape[1] for m in self._names]
        hidden = max(4, sum(widths) // 4)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(torch.initial_seed() + _SEED_SHIFT)
            squeeze = nn.ModuleList([nn.Linear(width, hidden) for width in widths])
            excite = nn.ModuleList([nn.Linear(hidden, width) for width in widths])
        self._gates = nn.ModuleDict({"squeeze": squeeze, "excite": excite}).to(device)
        self._means = [torch.ones(width, device=device) for width in widths]

    def modules(self) -> Mapping[str, nn.Module]:
        """The gates."""
        return {"gates": self._gates} if self.knobs["gates"] else {}

    def on_features(self, step: Step) -> None:
        """Gate the features; a frozen modality's gates are their running mean."""
        if not self.knobs["gates"]:
            return
        live = self._open(step.encoded)
        flags = self._state["frozen"] * (self._state["left"] > 0)
        held = [
            torch.where(flag > 0, mean.to(gate.dtype), gate)
            for flag, mean, gate in zip(flags, self._means, live, strict=True)
        ]
        step.set_features(self._gated(step.encoded, held))
        self._now = [gate.detach().float().mean(0) for gate in live]
        step.report("gate_frozen", dict(zip(self._names, flags, strict=True)))

    def on_gradients(self, step: Step) -> None:
        """Gather speeds, outside windows."""
        if not self.knobs["gates"]:
            return
        state = self._state
        regular = (state["left"] == 0).float()
        squeeze, excite = self._gates["squeeze"], self._gates["excite"]
        shared = list(squeeze.parameters())
        cross = torch.stack([effective([*shared, *part.parameters()]) for part in excite.children()])
        own = torch.stack([effective(step.parameters[m]) for m in self._names])
        # A loss scale that was too large leaves infinities for a step, which the optimiser skips; so do the sums.
        counted = regular * (cross + own).isfinite().all()
        state["cross"] = state["cross"] + torch.where(counted > 0, cross, 0.0)
        state["own"] = state["own"] + torch.where(counted > 0, own, 0.0)
        state["regular"] = state["regular"] + regular
        weight = regular / state["regular"].clamp_min(1)
        self._means = [mean + weight * (now - mean) for mean, now in zip(self._means, self._now, strict=True)]
        speeds = learning_speeds(state["cross"], state["own"])
        opens = regular * (speeds.max() - speeds.min() > float(self.knobs["epsilon"]))
        opens = opens * float(step.epoch >= int(self.knobs["start"]))
        fastest = torch.zeros_like(speeds).scatter(0, speeds.argmax()[None], 1.0)
        state["frozen"] = torch.where(opens > 0, fastest, state["frozen"])
        state["left"] = torch.where(opens > 0, float(self.knobs["steps"]), (state["left"] - 1).clamp_min(0))
        step.report("learning_speed", dict(zip(self._names, speeds, strict=True)))

    def predict(self, model: MultimodalModel, features: Mapping[str, Tensor]) -> Tensor:
        """With live gates."""
        gated = self._gated(features, self._open(features)) if self.knobs["gates"] else features
        logits: Tensor = model.head(model.fuse(gated))
        return logits

    def _open(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Gates in (0, 2), `[batch, width]` each, in the order of names."""
        squeeze, excite = self._gates["squeeze"], self._gates["excite"]
        parts = zip(squeeze.children(), self._names, strict=True)
        joined = torch.stack([part(pooled(features[m])) for part, m in parts]).sum(0).relu()
        return [2 * part(joined).sigmoid() for part in excite.children()]

    def _gated(self, features: Mapping[str, Tensor], gates: list[Tensor]) -> dict[str, Tensor]:
        by_name = dict(zip(self._names, gates, strict=True))
        return {
            m: value * (by_name[m][:, :, None, None] if value.ndim == 4 else by_name[m][:, None])
            for m, value in features.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Speeds, window and running means of the gates."""
        return {"state": dict(self._state), "means": list(getattr(self, "_means", []))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._state, self._means = dict(state["state"]), list(state["means"])


def effective(parameters: list[nn.Parameter]) -> Tensor:
    """|gradient|^2 / |weights|^2 over a group, tensors without a gradient left out; a float32 scalar."""
    moved = [(p.grad, p.detach()) for p in parameters if p.grad is not None]
    if not moved:
        return torch.zeros((), device=parameters[0].device)
    top, bottom = (torch.stack(torch._foreach_norm(list(side))).square().sum() for side in zip(*moved, strict=True))
    return top / bottom.clamp_min(_TINY)


def learning_speeds(cross: Tensor, own: Tensor) -> Tensor:
    """S_m = log10(B_m / U_m).

    Args:
        cross: B, sums of the gates' effective updates, `[m]`.
        own: U, sums of the encoders', `[m]`.
    """
    return (cross.clamp_min(_TINY) / own.clamp_min(_TINY)).log10()
