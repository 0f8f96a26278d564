"""What every model of ours shares: one encoder a modality, of a first layer called `projection` and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from cggm_core.errors import ConfigError
from cggm_core.models._by_modality import ByModality
from cggm_core.protocols.model import MultimodalModel


class OwnEncoders(MultimodalModel):
    """A model whose modalities meet in `fuse` only; its `__init__` fills `modalities` and `_encoders`."""

    _encoders: ByModality

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inputs `[batch, *shape]` to features by modality: tokens `[batch, tokens, width]`, or maps of an image."""
        return {m: self._encoders[m](inputs[m]) for m in self.modalities}

    def parameters_of(self, modality: str) -> Iterable[nn.Parameter]:
        """Parameters of the modality's encoder, input projection included."""
        found: Iterable[nn.Parameter] = self._encoders[modality].parameters()
        return found

    def projection_of(self, modality: str) -> Iterable[nn.Parameter]:
        """Parameters of the encoder's first layer, which takes the input to tokens (images: to a map)."""
        found: Iterable[nn.Parameter] = self._encoders[modality].get_submodule("projection").parameters()
        return found


def check_heads(heads: int, width: int) -> None:
    """Whether attention of `heads` heads fits tokens of `width` numbers.

    Raises:
        ConfigError: if the heads do not divide the width; the message lists what does.
    """
    if width % heads:
        fitting = ", ".join(str(h) for h in range(1, min(width, 64) + 1) if width % h == 0)
        raise ConfigError(f"heads is {heads}, but must divide width {width}: take one of {fitting}")
