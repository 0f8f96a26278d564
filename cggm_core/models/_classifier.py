"""The paper's unimodal classifier: attention over one modality's tokens, and a linear head."""

from __future__ import annotations

from torch import Tensor, nn

from cggm_core.models._attention import FeedForward, PredictionToken, SelfAttention, keys_of, real_tokens
from cggm_core.protocols.model import UnimodalClassifier


class TransformerClassifier(UnimodalClassifier):
    """Attention layers, a prediction token that reads them, a residual block, a linear head.

    Reference: Guo et al., NeurIPS 2024, Eq. 5 and section 3.3.1.

    Departs from the released code: no dropout, no layer applied twice (methods reference G8, C6), and the
    last attention layer is computed for the prediction token alone.

    Args:
        width: of the tokens, which are normalised.
        outputs: of the head, as many as the fusion head has.
        layers: attention layers, the prediction token's included, 1 or more.
        heads: divides width.
        padded: whether tokens that are exactly 0 are padding.
    """

    def __init__(self, width: int, outputs: int, layers: int, heads: int, *, padded: bool = False) -> None:
        super().__init__()
        self._padded = padded
        self.attention = nn.ModuleList([SelfAttention(width, heads) for _ in range(layers - 1)])
        # Features come normalised; only what attention layers add to them makes it necessary again.
        self.norm = nn.LayerNorm(width) if layers > 1 else nn.Identity()
        self.token = PredictionToken(width, heads)
        self.block = FeedForward(width, 2)
        self._head = nn.Linear(width, outputs)

    @property
    def head(self) -> nn.Linear:
        """Last layer, `width` to `outputs`."""
        return self._head

    def represent(self, features: Tensor) -> Tensor:
        """`[batch, tokens, width]` to the head's input `[batch, width]`."""
        real = real_tokens(features) if self._padded else None
        keys = None if real is None else keys_of(real)
        tokens = features
        for layer in self.attention:
            tokens = layer(tokens, keys)
        read: Tensor = self.block(self.token(self.norm(tokens), real))
        return read
