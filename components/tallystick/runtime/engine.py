"""Computation on shares: what steps and models call, on CrypTen's tensors and our protocols."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from tallystick.runtime import process_group
from tallystick.runtime.adaptation import operations, refusals, world
from tallystick.runtime.adaptation.operations import plain
from tallystick.runtime.adaptation.world import Secret
from tallystick.runtime.dealer.client import DealerClient
from tallystick.runtime.errors import DataError
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.process_group import payload
from tallystick.runtime.protocols import comparison, functions, products, truncation
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.functions import PRECISION_BITS
from tallystick.runtime.randomness import KEY_BYTES, Stream, new_key

__all__ = ["MAX_MAGNITUDE", "PRECISION_BITS", "Engine", "Secret", "decode", "encode"]

MAX_MAGNITUDE = 2.0**20
"""What is shared must be smaller. A product must be below 2**30, or it wraps without notice."""


class Engine:
    """Computation on shares between the parties of one session.

    Args:
        mesh: the session's links.
        parties: names in rank order.
        rank: this party's rank.
        dealer: this party's side of the dealer.
    """

    def __init__(self, mesh: Mesh, parties: Sequence[str], rank: int, dealer: DealerClient) -> None:
        self.rank = rank
        self.world_size = len(parties)
        self.precision_bits = PRECISION_BITS
        self._mesh = mesh
        self._parties = list(parties)
        self.context = Context(
            rank=rank,
            world_size=self.world_size,
            obtain=dealer.obtain,
            mask=dealer.mask,
            reserve=dealer.reserve,
            take=dealer.take,
            foretell=dealer.foretell,
            open_sums=self._open_sums,
            open_xors=self._open_xors,
        )

    def __enter__(self) -> Self:
        """Make this engine CrypTen's world until the block ends."""
        refusals.check_settings()
        process_group.start(self._mesh, self._parties, self.rank)
        world.install_streams(self._agree_on_streams())
        self._world = world.computing(self)
        self._world.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Undo what :meth:`__enter__` did; the links are the session's to close."""
        self._world.__exit__(*error)
        world.install_streams(None)
        process_group.stop()

    def share_ring(self, value: Tensor | None, owner: int, shape: Sequence[int]) -> Tensor:
        """Split the owner's ring elements into shares; no message is needed.

        Args:
            value: int64 at the owner, None elsewhere.
            owner: its rank.
            shape: of the value, known to all.

        Returns:
            This party's int64 share.
        """
        share = world.nought(shape)
        if value is not None:
            if self.rank != owner or tuple(value.shape) != tuple(shape):
                raise ValueError("only the owner gives the value, and in the announced shape")
            share += value
        return share

    def share(self, value: Tensor | None, owner: int, shape: Sequence[int]) -> Secret:
        """Share the owner's real numbers in fixed point; see :meth:`share_ring`."""
        encoded = None if value is None else encode(value)
        return self.from_share(self.share_ring(encoded, owner, shape))

    def from_share(self, share: Tensor, precision_bits: int = PRECISION_BITS) -> Secret:
        """Take an int64 share as this party's part of a secret."""
        return Secret.from_shares(share, precision=precision_bits)

    def open(self, secret: Secret, receivers: Sequence[int]) -> Tensor | None:
        """Open a secret to the given ranks. Only the ledger may call this.

        Returns:
            float64 plaintext, or None at a rank that is not a receiver.
        """
        names = [self._parties[rank] for rank in receivers]
        parts = self._exchange([secret.share], names)
        if not parts:
            return None
        total = sum((part for (part,) in parts), torch.zeros_like(secret.share))
        return decode(total, _precision(secret))

    def truncate(self, share: Tensor, bits: int) -> Tensor:
        """Divide a shared value by 2**bits; see :mod:`~tallystick.runtime.protocols.truncation`."""
        return truncation.truncate(self.context, share, bits)

    def public(self, value: Tensor, precision_bits: int = PRECISION_BITS) -> Secret:
        """Take a value that everybody knows as a secret: the first party's share holds it all."""
        encoded = encode(value, precision_bits)
        return self.from_share(encoded if self.rank == 0 else encoded.zero_(), precision_bits)

    def combine(
        self, terms: Sequence[tuple[Secret, float]], *, factor_bits: int | None = None
    ) -> Secret:
        """Return the sum of secrets times public factors, with a single truncation.

        By default the factors keep 12 significant bits or more where the largest is below 2**20
        times the smallest, and every value must stay below 2**24 / max(1, its factor).

        Args:
            terms: secrets and their factors.
            factor_bits: fraction bits of the factors, where the terms' sizes are known better:
                value times factor must stay below 2**(46 - factor_bits).
        """
        used = [(secret, factor) for secret, factor in terms if factor]
        smallest = min((abs(factor) for _, factor in used), default=1.0)
        bits = factor_bits or min(22, max(12, 12 - math.floor(math.log2(smallest))))
        total = torch.zeros_like(terms[0][0].share)
        for secret, factor in used:
            total = total + secret.share * round(factor * 2**bits)
        return self.from_share(self.truncate(total, bits))

    def product(self, operation: str, x: Secret, y: Secret, **options: Any) -> Secret:
        """Return ``x op y`` with the fraction bits of both; :meth:`rounded` brings them back.

        What is summed before it is rounded is rounded once, and more exactly.

        Args:
            operation: one of those that the dealer deals for: mul, matmul, conv2d...
            x: the left side.
            y: the right side.
            options: of a convolution: stride, padding, dilation...
        """
        left, right = products.mask(self.context, x.share, y.share)
        share = products.product(self.context, operation, left, right, plain(options))
        return self.from_share(share, _precision(x) + _precision(y))

    def times(self, x: Secret, y: Secret) -> Secret:
        """Return the element-wise product, rounded in the same round that truncates it."""
        surplus = _precision(x) + _precision(y) - PRECISION_BITS
        share = products.times(self.context, x.share, y.share, max(0, surplus))
        return self.from_share(share, PRECISION_BITS + min(0, surplus))

    def squared(self, x: Secret) -> Secret:
        """Return x * x with twice the fraction bits; see :meth:`product`."""
        return self.from_share(products.square(self.context, x.share), 2 * _precision(x))

    def rounded(self, x: Secret, precision_bits: int = PRECISION_BITS) -> Secret:
        """Bring a product back to the usual fraction bits, or to so many."""
        surplus = _precision(x) - precision_bits
        return self.from_share(self.truncate(x.share, surplus), precision_bits) if surplus else x

    def scaled(self, x: Secret, factor: float, *, extra_bits: int = 0) -> Secret:
        """Return x times a public factor, which keeps 15 significant bits; |x| below 2**30.

        Args:
            x: what is multiplied.
            factor: by what.
            extra_bits: how many fraction bits the result has more than x.
        """
        mantissa, exponent = math.frexp(factor)
        bits = 15 - exponent - extra_bits
        share = x.share * round(mantissa * 2**15)
        share = self.truncate(share, bits) if bits > 0 else share << -bits
        return self.from_share(share, _precision(x) + extra_bits)

    def sigmoid(self, secret: Secret) -> Secret:
        """Return 1 / (1 + exp(-x)); see :mod:`~tallystick.runtime.protocols.functions`."""
        return self.from_share(functions.sigmoid(self.context, secret.share))

    def softplus(self, secret: Secret) -> Secret:
        """Return log(1 + exp(x)); see :mod:`~tallystick.runtime.protocols.functions`."""
        return self.from_share(functions.softplus(self.context, secret.share))

    def negative(self, secret: Secret) -> Secret:
        """Return shared bits, whole numbers nought or one: is the value below nought?"""
        return self.from_share(comparison.negative(self.context, secret.share), precision_bits=0)

    def _open_sums(self, shares: Sequence[Tensor]) -> list[Tensor]:
        totals, *others = self._exchange(shares, self._parties)
        for parts in others:
            for total, part in zip(totals, parts, strict=True):
                total += part
        return totals

    def _open_xors(self, shares: Sequence[Tensor]) -> list[Tensor]:
        totals, *others = self._exchange(shares, self._parties)
        for parts in others:
            for total, part in zip(totals, parts, strict=True):
                total ^= part
        return totals

    def _exchange(self, shares: Sequence[Tensor], receivers: Sequence[str]) -> list[list[Tensor]]:
        """Send shares to the receivers, in one round.

        Returns:
            At a receiver everybody's, the other parties' first and in memory of their own; else
            nothing.
        """
        shares = [share.contiguous() for share in shares]
        me = self._parties[self.rank]
        others = [name for name in self._parties if name != me]
        parts = [[torch.empty_like(s) for s in shares] for _ in others if me in receivers]
        if any(share.numel() for share in shares):
            receipts = [
                self._mesh.expect(name, payload(part))
                for name, theirs in zip(others, parts, strict=False)
                for part in theirs
                if part.numel()
            ]
            for name in others:
                if name in receivers:
                    for share in shares:
                        if share.numel():
                            self._mesh.post(name, payload(share))
            self._mesh.wait(receipts)
        return [*parts, shares] if me in receivers else []

    def _agree_on_streams(self) -> world.Streams:
        """Give each later party a key of the pair's own, and take one from each earlier one."""
        earlier, later = self._parties[: self.rank], self._parties[self.rank + 1 :]
        theirs = [bytearray(KEY_BYTES) for _ in earlier]
        receipts = [
            self._mesh.expect(name, memoryview(key))
            for name, key in zip(earlier, theirs, strict=True)
        ]
        ours = [new_key() for _ in later]
        for name, key in zip(later, ours, strict=True):
            self._mesh.post(name, memoryview(key))
        self._mesh.wait(receipts)
        return world.Streams(
            own=Stream(new_key()),
            earlier=tuple(Stream(bytes(key)) for key in theirs),
            later=tuple(Stream(key) for key in ours),
        )


def encode(value: Tensor, precision_bits: int = PRECISION_BITS) -> Tensor:
    """Return real numbers as fixed-point ring elements, rounded to nearest.

    Raises:
        DataError: a value is NaN or infinite, or too large.
    """
    if value.numel() and not bool(value.abs().max() < MAX_MAGNITUDE):
        raise DataError(
            f"a value to be shared is not a number below {MAX_MAGNITUDE:.0f} in magnitude; "
            "standardise or scale the column that it comes from"
        )
    return (value.double() * 2.0**precision_bits).round().long()


def decode(value: Tensor, precision_bits: int = PRECISION_BITS) -> Tensor:
    """Return fixed-point ring elements as float64."""
    return value.double() / 2.0**precision_bits


def _precision(secret: Secret) -> int:
    return int(secret.encoder._precision_bits)


for _part in (world, operations, refusals):
    _part.install()
