"""The closed list of correlated randomness that the dealer deals.

Roles: parties P0..Pn-1 and the dealer. Party i and the dealer hold a key k_i (sent over TLS when
the session starts); request number t of a session draws from stream t of each key. For one request:

    every party i      draws its share of each *mask* from its stream;
    the dealer         draws the same, combines them (sum modulo 2**64, or exclusive or), and
                       computes the *derived* values from the masks;
    every party i > 0  draws its share of each derived value from its stream too;
    the dealer         sends P0 what is missing: derived - (or xor) the shares of all others.

So only P0 waits for the dealer, and only derived values travel. Both sides compute from the same
class here, so what is drawn and in which order is written once. The dealer learns the requests:
kinds, shapes, and which rows of a masked table are taken together.

A value that goes into several operations is masked and opened once. Such a mask is drawn from a
stream of its own, number :data:`MASKS` + n, without a word to the dealer; the requests that build
on it name n, and the dealer draws the mask again. The dealer keeps nothing.

So it is with a table that is masked and opened once, and read some rows at a time for as long as a
training lasts: a :class:`Taken` mask is some rows of a mask of such a number. The rows are named by
a public order (runtime/orders.py), which the dealer sorts for itself and keeps while it is read.
Adversary: semi-honest, and the dealer colludes with no party.

Source: Beaver, "Efficient Multiparty Protocols Using Circuit Randomization", CRYPTO 1991; with a
dealer and pseudo-random shares as in CrypTen (Knott et al., NeurIPS 2021, section on the trusted
third party).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from tallystick.runtime.dealer.shapes import Shape
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.orders import Selection
from tallystick.runtime.randomness import Stream

MAX_ELEMENTS = 1 << 27
"""The most ring elements that one request may draw or derive: 1 GiB."""

MAX_WORK = 1 << 35
"""The most multiplications for one request: seconds of one core."""

MASKS = 1 << 63
"""Streams from this number on are masks that several requests may name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of a request: its shape, and how the parties' shares of it combine."""

    shape: Shape
    sharing: str = "sum"
    """sum: modulo 2**64; xor: bitwise, 64 bits; bit: bitwise, the lowest bit alone; own: not shared
    at all, every party draws a value of its own, and the dealer has all of them in rank order."""

    def draw(self, source: "Source") -> Tensor:
        """Draw one party's share."""
        return source.bits(self.shape) if self.sharing == "bit" else source.elements(self.shape)

    def combine(self, left: Tensor, right: Tensor) -> Tensor:
        """Add a share to another, in place."""
        if self.sharing == "own":
            return torch.cat([left, right])
        return left.add_(right) if self.sharing == "sum" else left.bitwise_xor_(right)

    def remove(self, value: Tensor, share: Tensor) -> Tensor:
        """Take a share away from a value, in place."""
        return value.sub_(share) if self.sharing == "sum" else value.bitwise_xor_(share)

    @property
    def elements(self) -> int:
        """How many ring elements the tensor has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A mask with a stream of its own, and the number that requests name it by."""

    number: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Some rows of a mask of a whole table."""

    number: int
    """Counted from the first that was taken of any table; the parties' own, the dealer has none."""
    table: int
    """The number of the whole mask's stream."""
    rows: Selection


Name = Drawn | Taken


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One party's share of a mask that requests may name."""

    name: Name
    share: Tensor


class Source(Protocol):
    """What a part is drawn from: a stream, or some rows of one."""

    def elements(self, shape: Sequence[int]) -> Tensor: ...  # noqa: D102

    def bits(self, shape: Sequence[int]) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class RowsOf:
    """Some rows of a stream."""

    stream: Stream
    rows: Selection

    def elements(self, shape: Sequence[int]) -> Tensor:
        """Draw them, in a shape of as many elements."""
        width, rest = divmod(math.prod(shape), self.rows.count)
        if rest or not width:
            raise ProtocolViolation("rows of a mask were asked for in a shape that does not fit")
        return self.stream.rows(self.rows.positions(), width).view(tuple(shape))

    def bits(self, shape: Sequence[int]) -> Tensor:
        """Refuse: what is kept is masked by sum."""
        raise ProtocolViolation("rows of a mask hold no single bits")


def source(key: bytes, name: Name) -> Source:
    """Return what a party's share of a named mask is drawn from."""
    if isinstance(name, Drawn):
        return Stream(key, MASKS + name.number)
    return RowsOf(Stream(key, MASKS + name.table), name.rows)


@dataclass(frozen=True)
class Correlation(ABC):
    """A kind of request. Equal requests are equal values."""

    KIND: ClassVar[str]

    @cached_property
    def operands(self) -> tuple[Part, ...]:
        """The masks that were drawn before, and are named with the request."""
        return ()

    @cached_property
    @abstractmethod
    def masks(self) -> tuple[Part, ...]:
        """What is uniformly random and belongs to this request alone."""

    @cached_property
    @abstractmethod
    def derived(self) -> tuple[Part, ...]:
        """What is computed from the masks."""

    @abstractmethod
    def derive(self, *masks: Tensor) -> Sequence[Tensor]:
        """Compute the derived values from the combined masks, those of the operands first."""

    @cached_property
    def derived_bytes(self) -> int:
        """What the dealer sends."""
        return 8 * sum(part.elements for part in self.derived)

    @property
    def work(self) -> int:
        """How many numbers are multiplied to derive it."""
        return 0

    def encode(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return {"kind": self.KIND, **asdict(self)}

    def check(self) -> None:
        """Refuse sizes that the dealer does not serve.

        Raises:
            ProtocolViolation: too large, or shapes that do not fit together.
        """
        parts = (*self.operands, *self.masks, *self.derived)
        if any(part.elements > MAX_ELEMENTS for part in parts):
            raise ProtocolViolation(
                f"a request for {self.KIND} exceeds {MAX_ELEMENTS} elements; use a smaller batch"
            )
        if self.work > MAX_WORK:
            raise ProtocolViolation(
                f"a request for {self.KIND} exceeds {MAX_WORK} multiplications; use a smaller batch"
            )


def deal(
    request: Correlation,
    streams: Sequence[Stream],
    operands: Sequence[Sequence[Source]] = (),
) -> list[Tensor]:
    """The dealer's part: what P0 lacks of the derived values.

    Args:
        request: what is asked for.
        streams: one for each party, in rank order, at the request's number.
        operands: for each of its operands, what the parties' shares of its mask are drawn from.
    """
    sources: Sequence[Sequence[Source]] = (*operands, *[streams] * len(request.masks))
    masks = []
    for part, each in zip((*request.operands, *request.masks), sources, strict=True):
        total = part.draw(each[0])
        for one in each[1:]:
            total = part.combine(total, part.draw(one))
        masks.append(total)
    missing = []
    for part, value in zip(request.derived, request.derive(*masks), strict=True):
        rest = value
        for stream in streams[1:]:
            rest = part.remove(rest, part.draw(stream))
        missing.append(rest.contiguous())
    return missing
