"""The closed list of correlated randomness that the dealer deals.

Roles: parties P0..Pn-1 and the dealer. Party i and the dealer hold a key k_i (sent over TLS when
the session starts); request number t of a session draws from stream t of each key. For one request:

    every party i draws its share of each *mask* from its stream;
    the dealer draws the same, combines them (sum modulo 2**64, or exclusive or), and computes the
    *derived*
        values from the masks;
    every party i > 0 draws its share of each derived value from its stream too;
    the dealer sends P0 what is missing:  derived - (or xor) the shares of all others.

So only P0 waits for the dealer, and only derived values travel. Both sides compute from the same
class here, so what is drawn and in which order is written once. The dealer learns the requests:
kinds and shapes.
Adversary: semi-honest, and the dealer colludes with no party.

Source: Beaver, "Efficient Multiparty Protocols Using Circuit Randomization", CRYPTO 1991; with a
dealer and pseudo-random shares as in CrypTen (Knott et al., NeurIPS 2021, section on the trusted
third party).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tallystick.runtime.dealer import digits
from tallystick.runtime.dealer.shapes import Shape, product_shape
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.randomness import Stream

MAX_ELEMENTS = 1 << 27
"""The most ring elements that one request may draw or derive: 1 GiB."""

MAX_DIMENSIONS = 8
Options = tuple[tuple[str, int | Shape], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of a request: its shape, and how the parties' shares of it combine."""

    shape: Shape
    sharing: str = "sum"
    """sum: modulo 2**64; xor: bitwise, 64 bits; bit: bitwise, the lowest bit alone; own: not shared
    at all, every party draws a value of its own, and the dealer has all of them in rank order."""

    def draw(self, stream: Stream) -> Tensor:
        """Draw one party's share."""
        return stream.bits(self.shape) if self.sharing == "bit" else stream.elements(self.shape)

    def combine(self, left: Tensor, right: Tensor) -> Tensor:
        """Add a share to another."""
        if self.sharing == "own":
            return torch.cat([left, right])
        return left + right if self.sharing == "sum" else left ^ right

    def remove(self, value: Tensor, share: Tensor) -> Tensor:
        """Take a share away from a value."""
        return value - share if self.sharing == "sum" else value ^ share

    @property
    def elements(self) -> int:
        """How many ring elements the tensor has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Correlation(ABC):
    """A kind of request. Equal requests are equal values."""

    KIND: ClassVar[str]

    @cached_property
    @abstractmethod
    def masks(self) -> tuple[Part, ...]:
        """What is uniformly random."""

    @cached_property
    @abstractmethod
    def derived(self) -> tuple[Part, ...]:
        """What is computed from the masks."""

    @abstractmethod
    def derive(self, *masks: Tensor) -> Sequence[Tensor]:
        """Compute the derived values from the combined masks."""

    def encode(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return {"kind": self.KIND, **asdict(self)}

    def check(self) -> None:
        """Refuse sizes that the dealer does not serve.

        Raises:
            ProtocolViolation: too large, or shapes that do not fit together.
        """
        if any(part.elements > MAX_ELEMENTS for part in (*self.masks, *self.derived)):
            raise ProtocolViolation(
                f"a request for {self.KIND} exceeds {MAX_ELEMENTS} elements; use a smaller batch"
            )


@dataclass(frozen=True)
class Product(Correlation):
    """a, b and c = a op b, for a bilinear operation of torch."""

    KIND: ClassVar[str] = "product"
    OPERATIONS: ClassVar[frozenset[str]] = frozenset(
        {"mul", "matmul", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"}
    )
    operation: str
    left: Shape
    right: Shape
    options: Options = ()
    """Keyword arguments of the operation (stride, padding...), sorted by name."""

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return Part(self.left), Part(self.right)

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        options = dict(self.options)
        return (Part(product_shape(self.operation, self.left, self.right, options)),)

    def apply(self, a: Tensor, b: Tensor) -> Tensor:
        """Compute a op b."""
        result: Tensor = getattr(torch, self.operation)(a, b, **dict(self.options))
        return result

    def add_to(self, total: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Add a op b to a tensor, in place."""
        if self.operation == "mul":
            return total.addcmul_(a, b)
        return total.add_(self.apply(a, b))

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        return (self.apply(*masks),)


@dataclass(frozen=True)
class Square(Correlation):
    """r and r * r."""

    KIND: ClassVar[str] = "square"
    shape: Shape

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        (r,) = masks
        return (r * r,)


@dataclass(frozen=True)
class And(Correlation):
    """a, b and c = a & b, bitwise over 64 bits."""

    KIND: ClassVar[str] = "and"
    left: Shape
    right: Shape

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return Part(self.left, "xor"), Part(self.right, "xor")

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(tuple(np.broadcast_shapes(self.left, self.right)), "xor"),)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        a, b = masks
        return (a & b,)


@dataclass(frozen=True)
class BitToRing(Correlation):
    """A random bit, shared both by exclusive or and by sum."""

    KIND: ClassVar[str] = "bit_to_ring"
    shape: Shape

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape, "bit"),)

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        return masks


@dataclass(frozen=True)
class Truncation(Correlation):
    """r, its low 63 bits shifted right, and its top bit. See protocols/truncation.py."""

    KIND: ClassVar[str] = "truncation"
    shape: Shape
    bits: int

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return Part(self.shape), Part(self.shape)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        (r,) = masks
        return (r & torch.iinfo(torch.int64).max) >> self.bits, (r < 0).long()

    def check(self) -> None:  # noqa: D102
        super().check()
        if not 0 < self.bits < 62:
            raise ProtocolViolation(f"a truncation by {self.bits} bits is not served")


@dataclass(frozen=True)
class Harmonics(Correlation):
    """r, and sin(k r w), cos(k r w) for k = 1..count, in fixed point. See protocols/fourier.py."""

    KIND: ClassVar[str] = "harmonics"
    shape: Shape
    count: int
    period_bits: int
    """The period in ring elements is 2**period_bits."""
    precision_bits: int

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return Part((self.count, *self.shape)), Part((self.count, *self.shape))

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        (r,) = masks
        angles = phases(r, self.count, self.period_bits)
        scale = 2.0**self.precision_bits
        return (angles.sin() * scale).round().long(), (angles.cos() * scale).round().long()

    def check(self) -> None:  # noqa: D102
        super().check()
        if not (
            0 < self.count <= 64 and 0 < self.period_bits < 53 and 0 < self.precision_bits < 40
        ):
            raise ProtocolViolation("a request for harmonics outside its range is not served")


@dataclass(frozen=True)
class SignMask(Correlation):
    """r, t, the comparison tables of r, and t xor the top bit of r. See protocols/comparison.py."""

    KIND: ClassVar[str] = "sign_mask"
    shape: Shape

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        words = (math.prod(self.shape) + 63) // 64
        return Part(self.shape), Part((words,), "xor")

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return Part((digits.WORDS, *self.shape), "xor"), Part(self.shape)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        r, t = masks
        flipped = digits.unpack(t, r.numel()).view(r.shape) ^ (r < 0).long()
        return digits.tables(r), flipped


@dataclass(frozen=True)
class Permutation(Correlation):
    """a, and a with its columns in an order that one party alone draws. See protocols/shuffle.py.

    The order is that which sorts N random keys: uniform, but for a chance of N**2 / 2**65.
    """

    KIND: ClassVar[str] = "permutation"
    shape: Shape
    """[C, N]: N columns of C values change places."""
    owner: int
    """The rank of the party that draws the order."""

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return Part(self.shape), Part(self.shape[-1:], "own")

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        a, keys = masks
        # Every party drew keys. An owner that is none of them wraps around and harms nobody.
        begin = self.owner * self.shape[-1] % max(1, keys.numel())
        return (a[:, order(keys[begin : begin + self.shape[-1]])],)

    def check(self) -> None:  # noqa: D102
        super().check()
        if len(self.shape) != 2:
            raise ProtocolViolation("a permutation of anything but columns is not served")


def order(keys: Tensor) -> Tensor:
    """Return the order that sorts one party's random keys."""
    return torch.argsort(keys, stable=True)


def phases(ring: Tensor, count: int, period_bits: int) -> Tensor:
    """Return float64 angles 2 pi k x / 2**period_bits, k = 1..count along a new first dimension."""
    turn = (ring & ((1 << period_bits) - 1)).double() * (2 * math.pi / 2.0**period_bits)
    orders = torch.arange(1, count + 1, dtype=torch.float64).reshape(-1, *[1] * ring.dim())
    return orders * turn


_KINDS: Mapping[str, type[Correlation]] = {
    kind.KIND: kind
    for kind in (
        Product,
        Square,
        And,
        BitToRing,
        Truncation,
        Harmonics,
        SignMask,
        Permutation,
    )
}


def decode(content: Any) -> Correlation:
    """Read a request that came over a link.

    Raises:
        ProtocolViolation: a kind, field or size that is not on the list.
    """
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ProtocolViolation("a request of unknown kind reached the dealer")
    declared = {field.name: field.type for field in fields(_KINDS[kind])}
    try:
        if content.keys() != {"kind", *declared}:
            raise ValueError("other fields than the kind has")
        values = {name: _READERS[hint](content[name]) for name, hint in declared.items()}
        request = _KINDS[kind](**values)
        request.check()
    except (ValueError, OverflowError):
        raise ProtocolViolation(f"a malformed request for {kind} reached the dealer") from None
    return request


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ELEMENTS:
        raise ValueError("not a whole number in range")
    return int(value)


def _shape(value: Any) -> Shape:
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        raise ValueError("not a shape")
    return tuple(_whole(size) for size in value)


def _operation(value: Any) -> str:
    if not isinstance(value, str) or value not in Product.OPERATIONS:
        raise ValueError("not an operation that is dealt for")
    return value


def _options(value: Any) -> Options:
    if not isinstance(value, list) or not all(isinstance(o, list) and len(o) == 2 for o in value):
        raise ValueError("not a list of options")
    if not all(isinstance(name, str) for name, _ in value):
        raise ValueError("an option without a name")
    return tuple(
        (name, _shape(setting) if isinstance(setting, list) else _whole(setting))
        for name, setting in value
    )


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    int: _whole,
    str: _operation,
    Shape: _shape,
    Options: _options,
}


def deal(request: Correlation, streams: Sequence[Stream]) -> list[Tensor]:
    """The dealer's part: what P0 lacks of the derived values.

    Args:
        request: what is asked for.
        streams: one for each party, in rank order, at the request's number.
    """
    masks = []
    for part in request.masks:
        total = part.draw(streams[0])
        for stream in streams[1:]:
            total = part.combine(total, part.draw(stream))
        masks.append(total)
    missing = []
    for part, value in zip(request.derived, request.derive(*masks), strict=True):
        rest = value
        for stream in streams[1:]:
            rest = part.remove(rest, part.draw(stream))
        missing.append(rest.contiguous())
    return missing
