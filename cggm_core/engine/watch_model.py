"""A user's modules seen as the lab's model: modalities, each one's own parameters, the last layer.

Nothing here is run: the loop does its own forward pass, and what fuses is nobody's business but the loop's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor, nn

from cggm_core.errors import CapabilityError, ConfigError
from cggm_core.models._attention import FeedForward, PredictionToken
from cggm_core.models._by_modality import ByModality
from cggm_core.models.segmentation_fusion import MapClassifier
from cggm_core.names import check_modality
from cggm_core.protocols.model import MultimodalModel, UnimodalClassifier

Fusion = Callable[[Mapping[str, Tensor]], Tensor]
WIDEST = 256  # of a classifier's inside: a light reader of a head that takes thousands of numbers


class WatchedModel(MultimodalModel):
    """Modules of a foreign model under the names of their modalities; holds them without owning them.

    Args:
        encoders: modality -> module, or a list of modules: the parameters are those of all, the features the output
            of the last.
        head: last layer, linear or a 1x1 convolution; None where it is not told.
        fusion: features by modality to the head's input, a module or a method of one; None where it is not told.

    Raises:
        ConfigError: for a modality's name that a series cannot carry, or something that is no module.
        CapabilityError: for fewer than two modalities, a head of another kind, or modalities that share every
            parameter.
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module | Sequence[nn.Module]], head: nn.Linear | nn.Conv2d | None,
        fusion: Fusion | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modalities = tuple(check_modality(name) for name in encoders)
        if len(self.modalities) < 2:
            raise CapabilityError(
                f"a watched model needs at least two modalities, found {len(self.modalities)} "
                f"({', '.join(self.modalities) or 'none'}); give encoders={{name: module, ...}}"
            )
        # Tuples and not modules of this one: registered, the user's model would follow every mode set here.
        self.encoders = {m: _modules(m, found) for m, found in encoders.items()}
        self._head = (_checked_head(head),)
        self._to_read: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {}
        self.own, self.shared = own_parameters(self.encoders)
        self._fusion = (fusion,)
        self._modes: list[tuple[nn.Module, bool]] = []
        if fusion is not None:
            owner = fusion if isinstance(fusion, nn.Module) else getattr(fusion, "__self__", None)
            if not isinstance(owner, nn.Module):
                raise ConfigError(
                    f"fuse is {type(fusion).__name__}, expected a module of your model or a method of one: its dropout "
                    "must be switched off while it is asked a second time"
                )
            self.fusing = owner  # registered, so that it follows `eval` and `train`

    @property
    def head(self) -> nn.Linear | nn.Conv2d:
        """The last layer.

        Raises:
            CapabilityError: where none was told.
        """
        if self._head[0] is None:
            raise CapabilityError("the watched model's last layer is not known; give head=")
        return self._head[0]

    @property
    def has_head(self) -> bool:
        """Whether the last layer is known."""
        return self._head[0] is not None

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Not here: the loop does it.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError("a watched loop does its own forward pass; it cannot be run again from outside")

    @property
    def has_fusion(self) -> bool:
        """Whether the fusion is known."""
        return self._fusion[0] is not None

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """The loop's own fusion, asked once more.

        Raises:
            CapabilityError: where it is not told.
        """
        if self._fusion[0] is None:
            raise CapabilityError("the watched model's fusion is not known; give fuse=")
        return self._fusion[0](features)

    def train(self, mode: bool = True) -> WatchedModel:
        """Evaluation mode for a second look at the fusion, and back to exactly the modes there were."""
        if not mode:
            self._modes = [(part, part.training) for part in self.modules()]
            super().train(False)
            return self
        for part, training in self._modes:
            part.training = training
        self._modes, self.training = [], True
        return self

    def parameters_of(self, modality: str) -> Iterable[nn.Parameter]:
        """Parameters that feed this modality alone: those of its modules that no other modality has."""
        return self.own[modality]

    def frozen(self, modality: str) -> bool:
        """Whether nothing of the modality trains at this moment."""
        return not any(p.requires_grad for p in self.own[modality])

    def plan(self, features: Mapping[str, Tensor], outputs: int, logits: Tensor | None) -> None:
        """Say what classifiers have to read, once a first pass has shown it.

        Args:
            features: of every modality.
            outputs: classes, or numbers predicted.
            logits: the head's output, whose height and width masks have; None without a head.

        Raises:
            CapabilityError: for features no classifier can read.
        """
        shape = tuple(logits.shape[2:]) if logits is not None else ()
        for modality in self.modalities:
            found = tuple(features[modality].shape)
            if self._of_maps() and (len(found) != 4 or len(shape) != 2):
                raise CapabilityError(
                    f"encoder {modality!r} gave features of shape {found}; beside a convolution as head they must be "
                    "maps [batch, channels, height, width]: name a module that gives them, or choose with features="
                )
            if len(found) < 2:
                raise CapabilityError(
                    f"encoder {modality!r} gave features of shape {found}; expected [batch, width], [batch, tokens, "
                    "width] or maps [batch, channels, height, width]: choose with features="
                )
            self._to_read[modality] = found, shape, outputs

    def build_classifiers(self) -> nn.ModuleDict:
        """One fresh classifier a modality, for what `plan` was told."""
        return ByModality({m: self._reader(*self._to_read[m]) for m in self.modalities})

    def _of_maps(self) -> bool:
        return self.has_head and isinstance(self.head, nn.Conv2d)

    def _reader(self, found: tuple[int, ...], shape: tuple[int, ...], outputs: int) -> UnimodalClassifier:
        read = found[-1] if len(found) < 4 else found[1]
        if not self.has_head:
            return TokenReader(read, read, outputs)
        if isinstance(self.head, nn.Conv2d):
            return MapReader(read, self.head.in_channels, outputs, (shape[0], shape[1]))
        return TokenReader(read, self.head.in_features, outputs)


class TokenReader(UnimodalClassifier):
    """Reads features of any width: the paper's prediction token and block between two linear maps.

    Tokens are normalised first, since a foreign encoder's features come in any scale; they are brought to the head's
    width (to 256 inside, where the head is wider) so that the last layer has the fusion head's shape.

    Args:
        read: width of a token.
        width: of the last layer's input.
        outputs: of the last layer.
    """

    def __init__(self, read: int, width: int, outputs: int) -> None:
        super().__init__()
        inside = min(width, WIDEST)
        heads = next(h for h in (4, 2, 1) if inside % h == 0)
        self.norm = nn.LayerNorm(read)
        self.enter = nn.Linear(read, inside) if read != inside else nn.Identity()
        self.token = PredictionToken(inside, heads)
        self.block = FeedForward(inside, 2)
        self.leave = nn.Linear(inside, width) if inside != width else nn.Identity()
        self._head = nn.Linear(width, outputs)

    @property
    def head(self) -> nn.Linear:
        """Last layer, `width` to `outputs`."""
        return self._head

    def represent(self, features: Tensor) -> Tensor:
        """`[batch, width]`, `[batch, tokens, width]` or maps to the last layer's input `[batch, width]`."""
        read: Tensor = self.leave(self.block(self.token(self.enter(self.norm(as_tokens(features))))))
        return read


class MapReader(UnimodalClassifier):
    """Reads maps of any number of channels: a 1x1 convolution to the head's width, then the light decoder.

    Args:
        read: channels of the features.
        width: of the last layer's input.
        outputs: classes.
        shape: height and width of the prediction.
    """

    def __init__(self, read: int, width: int, outputs: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(read, width, 1) if read != width else nn.Identity()
        self.inner = MapClassifier(width, outputs, shape)

    @property
    def head(self) -> nn.Conv2d:
        """Last layer, a 1x1 convolution."""
        return self.inner.head

    def represent(self, features: Tensor) -> Tensor:
        """Maps `[batch, channels, h, w]` to the last layer's input `[batch, width, height, width_px]`."""
        return self.inner.represent(self.enter(features))


def as_tokens(features: Tensor) -> Tensor:
    """Vectors as one token, sequences as they are, maps as a token a place: `[batch, tokens, width]`."""
    if features.dim() == 2:
        return features[:, None]
    return features if features.dim() == 3 else features.flatten(2).transpose(1, 2)


def own_parameters(
    encoders: Mapping[str, Sequence[nn.Module]],
) -> tuple[dict[str, list[nn.Parameter]], dict[str, int]]:
    """Parameters that feed one modality alone, and how many each modality shares with another.

    Raises:
        CapabilityError: for a modality without parameters, or none but shared ones: whose gradient it is cannot be
            told then.
    """
    found = {m: list({id(p): p for module in modules for p in module.parameters()}.values())
             for m, modules in encoders.items()}  # fmt: skip
    owners = Counter(id(p) for parameters in found.values() for p in parameters)
    own = {m: [p for p in parameters if owners[id(p)] == 1] for m, parameters in found.items()}
    for modality, parameters in found.items():
        if not parameters:
            raise CapabilityError(f"encoder {modality!r} has no parameter: there is no gradient to watch")
        if not own[modality]:
            other = next(m for m in found if m != modality and {id(p) for p in found[m]} & {id(p) for p in parameters})
            raise CapabilityError(
                f"modalities {other!r} and {modality!r} share every parameter of {modality!r}: whose gradient it is "
                "cannot be told; give each the part of the model that feeds it alone"
            )
    return own, {m: len(found[m]) - len(own[m]) for m in found if len(found[m]) > len(own[m])}


def _modules(modality: str, given: object) -> tuple[nn.Module, ...]:
    listed = list(given) if isinstance(given, list | tuple | nn.ModuleList) else [given]
    found = tuple(module for module in listed if isinstance(module, nn.Module))
    if not listed or len(found) < len(listed):
        raise ConfigError(
            f"encoder {modality!r} is {type(given).__name__}, expected a module or a list of modules of your model"
        )
    return found


def _checked_head(head: object) -> nn.Linear | nn.Conv2d | None:
    if head is None or isinstance(head, nn.Linear):
        return head
    if isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1) and head.groups == 1:
        return head
    inside = [name for name, part in head.named_modules() if isinstance(part, nn.Linear)] if isinstance(
        head, nn.Module) else []  # fmt: skip
    hint = f"; its last linear layer is {inside[-1]!r}: give that one" if inside else ""
    raise CapabilityError(
        f"head is a {type(head).__name__}, expected the last layer itself, nn.Linear or a 1x1 nn.Conv2d{hint}"
    )
