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

A value that goes into several operations is masked and opened once. Such a mask is drawn from a
stream of its own, number :data:`MASKS` + n, without a word to the dealer; the requests that build
on it name n, and the dealer draws the mask again. The dealer keeps nothing.
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

from tallystick.runtime.dealer import bilinear, digits
from tallystick.runtime.dealer.shapes import Shape, product_shape
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.randomness import Stream

MAX_ELEMENTS = 1 << 27
"""The most ring elements that one request may draw or derive: 1 GiB."""

MAX_WORK = 1 << 35
"""The most multiplications for one request: seconds of one core."""

MASKS = 1 << 63
"""Streams from this number on are masks that several requests may name."""

MAX_DIMENSIONS = 8
MAX_TERMS = 4
Options = tuple[tuple[str, int | Shape], ...]
Term = tuple[str, int, int, Options]


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


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One party's share of a mask that requests may name, and the number they name it by."""

    part: Part
    number: int
    share: Tensor


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


@dataclass(frozen=True)
class Product(Correlation):
    """The sum of products of masked values. See protocols/products.py.

    Of the masks a of the operands. With ``bits`` = 0 it is dealt as it is. Otherwise what is dealt
    truncates the sum of products of the values: v, and what Truncation derives, of r = v - sum.
    """

    KIND: ClassVar[str] = "product"
    shapes: tuple[Shape, ...]
    """Of the operands."""
    terms: tuple[Term, ...]
    """What is added up: the operation, the number of its left and right operand, its options."""
    bits: int = 0

    @cached_property
    def operands(self) -> tuple[Part, ...]:  # noqa: D102
        return tuple(Part(shape) for shape in self.shapes)

    @cached_property
    def _result(self) -> Part:
        shapes = [
            product_shape(operation, self.shapes[left], self.shapes[right], dict(options))
            for operation, left, right, options in self.terms
        ]
        if set(shapes) != {shapes[0]}:
            raise ValueError("the products to be added differ in shape")
        return Part(shapes[0])

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return (self._result,) if self.bits else ()

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (self._result, self._result) if self.bits else (self._result,)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        total = torch.zeros(self._result.shape, dtype=torch.int64)
        for operation, left, right, options in self.terms:
            total += bilinear.apply(operation, masks[left], masks[right], dict(options))
        if not self.bits:
            return (total,)
        return truncated(torch.sub(masks[-1], total, out=total), self.bits)

    @property
    def work(self) -> int:  # noqa: D102
        return sum(
            bilinear.work(operation, self.shapes[left], self.shapes[right], dict(options))
            for operation, left, right, options in self.terms
        )

    def check(self) -> None:  # noqa: D102
        if not 0 < len(self.terms) <= MAX_TERMS or not 0 < len(self.shapes) <= 2 * MAX_TERMS:
            raise ProtocolViolation("a product of too many terms is not served")
        super().check()
        if self.bits:
            check_bits(self.bits)


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
        return truncated(r, self.bits)

    def check(self) -> None:  # noqa: D102
        super().check()
        check_bits(self.bits)


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
        scale = 2.0**self.precision_bits
        sin, cos = waves(r, self.count, self.period_bits)
        return (sin * scale).round().long(), (cos * scale).round().long()

    def check(self) -> None:  # noqa: D102
        super().check()
        if not (
            0 < self.count <= 64 and 0 < self.period_bits < 53 and 0 < self.precision_bits < 40
        ):
            raise ProtocolViolation("a request for harmonics outside its range is not served")


@dataclass(frozen=True)
class Sign(Correlation):
    """For a value masked by a: the comparison tables of r = -a, and b = t xor the top bit of r.

    See protocols/comparison.py.
    """

    KIND: ClassVar[str] = "sign"
    shape: Shape
    gates: int
    """1: deal a b as well, which multiplies the value by its sign; 0: do not."""

    @cached_property
    def operands(self) -> tuple[Part, ...]:  # noqa: D102
        return Part(self.shape), flips(self.shape)

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return ()

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        tables = Part((digits.PLANES, digits.words(math.prod(self.shape))), "xor")
        return (tables, *[Part(self.shape)] * (1 + self.gates))

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        a, t = masks
        r = -a
        b = digits.unpack(t, r.numel()).view(r.shape) ^ (r < 0).long()
        return [digits.tables(r.view(-1)), b, a * b][: 2 + self.gates]

    def check(self) -> None:  # noqa: D102
        if self.gates not in (0, 1):
            raise ProtocolViolation("a comparison gates its value or does not")
        super().check()


@dataclass(frozen=True)
class Gate(Correlation):
    """For a comparison's masks a and t, and the mask c of another value: c times b of Sign."""

    KIND: ClassVar[str] = "gate"
    shape: Shape

    @cached_property
    def operands(self) -> tuple[Part, ...]:  # noqa: D102
        return Part(self.shape), flips(self.shape), Part(self.shape)

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return ()

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        a, t, c = masks
        b = digits.unpack(t, a.numel()).view(a.shape) ^ (-a < 0).long()
        return (c.mul_(b),)


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


@dataclass(frozen=True)
class Nought(Correlation):
    """r, and [v = r modulo 2**bits] for each v: a table along a new first dimension.

    See protocols/largest.py.
    """

    KIND: ClassVar[str] = "nought"
    shape: Shape
    bits: int

    @cached_property
    def masks(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part(self.shape),)

    @cached_property
    def derived(self) -> tuple[Part, ...]:  # noqa: D102
        return (Part((1 << self.bits, *self.shape)),)

    def derive(self, *masks: Tensor) -> Sequence[Tensor]:  # noqa: D102
        (r,) = masks
        values = torch.arange(1 << self.bits).view(-1, *[1] * r.dim())
        return ((values == (r & ((1 << self.bits) - 1))).long(),)

    def check(self) -> None:  # noqa: D102
        if not 0 < self.bits <= 8:
            raise ProtocolViolation(f"a table of {self.bits} bits is not served")
        super().check()


def flips(shape: Shape) -> Part:
    """Return the part that holds one random bit for each element, packed."""
    return Part((digits.words(math.prod(shape)),), "xor")


def truncated(r: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return what truncates under the mask r: its low 63 bits shifted right, and its top bit."""
    top = (r < 0).long()
    return r.bitwise_and_(torch.iinfo(torch.int64).max).bitwise_right_shift_(bits), top


def check_bits(bits: int) -> None:
    """Refuse a truncation that is not served."""
    if not 0 < bits < 62:
        raise ProtocolViolation(f"a truncation by {bits} bits is not served")


def waves(ring: Tensor, count: int, period_bits: int) -> tuple[Tensor, Tensor]:
    """Return float64 sin and cos of 2 pi k x / 2**period_bits, k = 1..count along a new dimension.

    By powers of exp(i x): their error is far below what the fixed point keeps.
    """
    turn = (ring & ((1 << period_bits) - 1)).double() * (2 * math.pi / 2.0**period_bits)
    powers = torch.empty((count, *ring.shape), dtype=torch.complex128)
    powers[0] = torch.polar(torch.ones_like(turn), turn)
    for k in range(1, count):
        torch.mul(powers[(k - 1) // 2], powers[k // 2], out=powers[k])
    return powers.imag, powers.real


_KINDS: Mapping[str, type[Correlation]] = {
    kind.KIND: kind
    for kind in (
        Product,
        And,
        BitToRing,
        Truncation,
        Harmonics,
        Sign,
        Gate,
        Nought,
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
    except (ValueError, OverflowError, IndexError):
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


def _shapes(value: Any) -> tuple[Shape, ...]:
    if not isinstance(value, list) or len(value) > 2 * MAX_TERMS:
        raise ValueError("not a list of shapes")
    return tuple(_shape(shape) for shape in value)


def _terms(value: Any) -> tuple[Term, ...]:
    if not isinstance(value, list) or len(value) > MAX_TERMS:
        raise ValueError("not a list of terms")
    return tuple(_term(term) for term in value)


def _term(value: Any) -> Term:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("not a term")
    operation, left, right, options = value
    if not isinstance(operation, str) or operation not in bilinear.OPERATIONS:
        raise ValueError("not an operation that is dealt for")
    return operation, _whole(left), _whole(right), _options(options)


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
    Shape: _shape,
    tuple[Shape, ...]: _shapes,
    tuple[Term, ...]: _terms,
}


def deal(
    request: Correlation,
    streams: Sequence[Stream],
    operands: Sequence[Sequence[Stream]] = (),
) -> list[Tensor]:
    """The dealer's part: what P0 lacks of the derived values.

    Args:
        request: what is asked for.
        streams: one for each party, in rank order, at the request's number.
        operands: for each of its operands, the parties' streams that its mask is drawn from.
    """
    sources = (*operands, *[streams] * len(request.masks))
    masks = []
    for part, source in zip((*request.operands, *request.masks), sources, strict=True):
        total = part.draw(source[0])
        for stream in source[1:]:
            total = part.combine(total, part.draw(stream))
        masks.append(total)
    missing = []
    for part, value in zip(request.derived, request.derive(*masks), strict=True):
        rest = value
        for stream in streams[1:]:
            rest = part.remove(rest, part.draw(stream))
        missing.append(rest.contiguous())
    return missing
