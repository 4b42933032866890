"""Every kind of correlated randomness that is dealt; correlations.py says how."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tallystick.runtime.dealer import bilinear, digits
from tallystick.runtime.dealer.correlations import MAX_ELEMENTS, Correlation, Part
from tallystick.runtime.dealer.shapes import Shape, product_shape
from tallystick.runtime.errors import ProtocolViolation

MAX_TERMS = 4
Options = tuple[tuple[str, int | Shape], ...]
Term = tuple[str, int, int, Options]


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
        if any(
            bilinear.held(operation, self.shapes[left], self.shapes[right], dict(options))
            > MAX_ELEMENTS
            for operation, left, right, options in self.terms
        ):
            raise ProtocolViolation(
                f"a request for {self.KIND} would hold more than {MAX_ELEMENTS} elements on the way"
            )
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


KINDS = (Product, And, BitToRing, Truncation, Harmonics, Sign, Gate, Nought, Permutation)
