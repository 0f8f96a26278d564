"""What a watched forward pass leaves behind: each encoder's output, the head's input and output.

Forward hooks only look: they keep a view of what passed and return nothing. They reach their watch by a weak
reference and copy to deaf ones, so that a model can be copied, saved or sent to another process as before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cggm_core.errors import CapabilityError

Accessor = Callable[[Any], Tensor]
HEAD = ""


def tensor_of(output: object) -> Tensor | None:
    """The features inside an encoder's output, by one rule.

    A tensor is itself. A mapping or an object with a field `last_hidden_state` yields that; any other mapping,
    dataclass, tuple or list its first floating-point tensor, depth first in its own order. None where there is none.
    """
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    hidden = output.get("last_hidden_state") if isinstance(output, Mapping) else None
    hidden = getattr(output, "last_hidden_state", None) if hidden is None else hidden
    if isinstance(hidden, Tensor):
        return hidden
    return next((found for part in _parts(output) if (found := tensor_of(part)) is not None), None)


def _parts(output: object) -> Iterator[object]:
    if isinstance(output, Mapping):
        yield from output.values()
    elif isinstance(output, tuple | list):
        yield from output
    elif is_dataclass(output) and not isinstance(output, type):
        yield from (getattr(output, f.name) for f in fields(output))


@dataclass
class Heard:
    """What one forward pass left.

    Attributes:
        features: by modality; those whose encoder was called.
        fused: the head's input.
        logits: the head's output. All of them with their graph where there was one.
    """

    features: dict[str, Tensor] = field(default_factory=dict)
    fused: Tensor | None = None
    logits: Tensor | None = None

    def detached(self) -> Heard:
        """The same without a graph."""
        fused, logits = (None if one is None else one.detach() for one in (self.fused, self.logits))
        return Heard({m: value.detach() for m, value in self.features.items()}, fused, logits)


class Ears:
    """Hooks on a user's modules, and what they heard since it was last taken.

    Args:
        encoders: modality -> its modules; the features are the output of the last one.
        head: last layer, or None.
        accessors: modality -> function from the encoder's output to the features, where the rule does not fit.
        frozen: asked for a modality, whether nothing of it trains; such an encoder may run without gradient.
    """

    def __init__(
        self, encoders: Mapping[str, Sequence[nn.Module]], head: nn.Module | None, accessors: Mapping[str, Accessor],
        frozen: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._accessors, self._frozen = dict(accessors), frozen
        self._live, self._still = Heard(), Heard()
        self._handles = [
            modules[-1].register_forward_hook(_Ear(self, m), with_kwargs=True) for m, modules in encoders.items()
        ]
        if head is not None:
            self._handles.append(head.register_forward_hook(_Ear(self, HEAD), with_kwargs=True))

    def hear(self, name: str, given: Tensor | None, output: object) -> None:
        """A module was called; keeps a view. Passes with and without gradient are kept apart."""
        heard = self._live if torch.is_grad_enabled() else self._still
        if name == HEAD:
            heard.fused, heard.logits = given, output if isinstance(output, Tensor) else tensor_of(output)
            return
        found = self._accessors[name](output) if name in self._accessors else tensor_of(output)
        if not isinstance(found, Tensor):
            raise CapabilityError(
                f"encoder {name!r} returned a {type(output).__name__} without features in it; say where they are: "
                f"features={{{name!r}: lambda output: ...}}"
            )
        heard.features[name] = found

    def take(self) -> Heard:
        """What the last training pass left, once; frozen encoders may have run without gradient."""
        live, still = self._live, self._still
        for modality, value in still.features.items():
            if modality not in live.features and self._frozen(modality):
                live.features[modality] = value
        self._live, self._still = Heard(), Heard()
        return live

    def take_still(self) -> Heard:
        """What the last pass without gradient left, once; of a training pass where there was no other."""
        found = self._still if self._still.features else self._live
        self._live, self._still = Heard(), Heard()
        return found

    def close(self) -> None:
        """Take every hook away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _Ear:
    """A forward hook that keeps its listener alive by nothing, and copies to a deaf one."""

    def __init__(self, ears: Ears | None, name: str) -> None:
        self._ears = weakref.ref(ears) if ears is not None else None
        self._name = name

    # A compiled model calls the hook outside its graph: what it keeps must be the tensors of this very call.
    @torch.compiler.disable
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: object) -> None:
        """As torch calls it after the module's forward."""
        ears = self._ears() if self._ears is not None else None
        if ears is not None:
            given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
            ears.hear(self._name, given, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Ear:
        return _Ear(None, self._name)

    def __reduce__(self) -> tuple[type[_Ear], tuple[None, str]]:
        return _Ear, (None, self._name)
