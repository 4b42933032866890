"""What every protocol needs of the session: its rank, the dealer, and openings of masked values."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tallystick.runtime.dealer.correlations import Correlation


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """One party's means in a protocol.

    The openings are for values that say nothing: a uniform mask is on them, or they follow from an
    order that is uniformly random (sort.py). Anything else is opened by the ledger alone.
    """

    rank: int
    world_size: int
    obtain: Callable[[Correlation], list[Tensor]]
    """Asks the dealer for this party's shares of a correlation."""
    open_sum: Callable[[Tensor], Tensor]
    """Opens int64 values that are shared by sum; one round."""
    open_xor: Callable[[Tensor], Tensor]
    """Opens int64 words that are shared by exclusive or; one round."""
