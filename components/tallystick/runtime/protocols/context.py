"""What every protocol needs of the session: its rank, the dealer, and openings of masked values."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tallystick.runtime.dealer.correlations import Correlation, Mask, Part
from tallystick.runtime.orders import Selection


class Obtain(Protocol):
    """Asks the dealer for this party's shares of a correlation, given its operands' masks."""

    def __call__(self, request: Correlation, operands: Sequence[Mask] = ()) -> list[Tensor]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """One party's means in a protocol.

    The openings are for values that say nothing: a uniform mask is on them, or they follow from an
    order that is uniformly random (sort.py). Anything else is opened by the ledger alone.
    """

    rank: int
    world_size: int
    obtain: Obtain
    mask: Callable[[Part], Mask]
    """Draws this party's share of a fresh mask, which requests may name."""
    reserve: Callable[[], int]
    """Numbers the mask of a table, which is drawn some rows at a time."""
    take: Callable[[int, Selection, int], Mask]
    """Draws this party's share of such rows: of which table, which of them, and how wide."""
    foretell: Callable[[Iterable[tuple[int, Selection]]], None]
    """Takes which rows of which tables will be taken from now on."""
    open_sums: Callable[[Sequence[Tensor]], list[Tensor]]
    """Opens int64 values that are shared by sum; one round for all of them."""
    open_xors: Callable[[Sequence[Tensor]], list[Tensor]]
    """Opens int64 words that are shared by exclusive or; one round for all of them."""

    def open_sum(self, share: Tensor) -> Tensor:
        """Open one value that is shared by sum."""
        return self.open_sums([share])[0]

    def open_xor(self, share: Tensor) -> Tensor:
        """Open one tensor of words shared by exclusive or."""
        return self.open_xors([share])[0]
