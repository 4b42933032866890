"""Whole numbers on shares: bits, counts and their products, without fraction bits.

Counts multiply here (the area under a curve is a sum of products of counts), so they have no
fraction bits: two counts of 2**30 still fit the ring.
"""

# Everything is this party's int64 share of whole numbers, unless it is called public.

from torch import Tensor

from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.ledger import Ledger
from tallystick.runtime.protocols import products
from tallystick.runtime.protocols.comparison import negative


def plus(engine: Engine, share: Tensor, public: Tensor | int) -> Tensor:
    """Add a public value, which the first party's share takes."""
    return share + public if engine.rank == 0 else share.clone()


def below(engine: Engine, share: Tensor, public: Tensor | int) -> Tensor:
    """Return bits: is the value below a public one?"""
    return negative(engine.context, plus(engine, share, -public))


def inverse(engine: Engine, bits: Tensor) -> Tensor:
    """Return one minus each bit."""
    return plus(engine, -bits, 1)


def times(engine: Engine, left: Tensor, right: Tensor) -> Tensor:
    """Multiply element by element; shapes may broadcast."""
    return products.times(engine.context, left, right)


def matmul(engine: Engine, left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices."""
    x, y = products.mask(engine.context, left, right)
    return products.product(engine.context, "matmul", x, y)


def bits(engine: Engine, label: Secret) -> Tensor:
    """Turn noughts and ones with fraction bits into whole ones."""
    half = 1 << (engine.precision_bits - 1)
    return inverse(engine, below(engine, label.share, half))


def reveal(engine: Engine, ledger: Ledger, share: Tensor, what: str, *, why: str) -> Tensor:
    """Open whole numbers to all parties, as int64."""
    opened = ledger.reveal(engine.from_share(share, precision_bits=0), what, why=why)
    assert opened is not None
    return opened.round().long()
