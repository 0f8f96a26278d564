"""Joint training: the method that does nothing, and the reference for all others."""

from cggm_core.cards import MethodCard
from cggm_core.protocols.method import BalanceMethod

CARD = MethodCard(
    name="joint",
    title="Joint training",
    summary="One loss on the fused prediction, nothing balanced; every other method is compared with it.",
    lever="none",
    cost="1",
    neutral={},
)


class Joint(BalanceMethod):
    """Every hook left at its default."""
