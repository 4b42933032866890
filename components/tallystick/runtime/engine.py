"""CrypTen on this runtime: the only module that imports it and adapts its internals.

CrypTen 0.4.1 gives the tensors on shares, their autograd and their neural-network modules.
Replaced are:

==========================  ===================================================================
its part                    ours
==========================  ===================================================================
masks from MT19937          AES-256-CTR streams (:mod:`~tallystick.runtime.randomness`)
the first party as dealer   the dealer's service (:mod:`~tallystick.runtime.dealer`)
Gloo                        pinned mutual TLS (:mod:`~tallystick.runtime.process_group`)
truncation with errors      exact truncation (:mod:`~tallystick.runtime.protocols.truncation`)
comparison by an adder      comparison by digits (:mod:`~tallystick.runtime.protocols.comparison`)
functions without a domain  bounded ones (:mod:`~tallystick.runtime.protocols.functions`)
maxima in many rounds       eight (:mod:`~tallystick.runtime.protocols.largest`)
gradients from nothing      on what is masked already (:mod:`~tallystick.runtime.gradients`)
retry on network faults     none: a fault ends the step
==========================  ===================================================================

CrypTen keeps its state in module variables, so a process runs one engine at a time.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import torch
import torch.onnx
from torch import Tensor
from torch.onnx._internal.torchscript_exporter import registration

# CrypTen's ONNX converter imports a module that torch 2.13 has moved.
sys.modules.setdefault("torch.onnx._internal.registration", registration)

import crypten  # noqa: E402
import crypten.communicator  # noqa: E402
import crypten.mpc  # noqa: E402
import crypten.mpc.primitives.arithmetic as crypten_arithmetic  # noqa: E402
import crypten.mpc.primitives.binary as crypten_binary  # noqa: E402
import crypten.mpc.primitives.converters as crypten_converters  # noqa: E402
import torch.distributed as dist  # noqa: E402
from crypten.communicator import DistributedCommunicator  # noqa: E402
from crypten.config import cfg  # noqa: E402
from crypten.cryptensor import CrypTensor  # noqa: E402
from crypten.gradients import FUNCTION_REGISTRY  # noqa: E402
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from tallystick.runtime import gradients, process_group  # noqa: E402
from tallystick.runtime.dealer.client import DealerClient, shapes  # noqa: E402
from tallystick.runtime.dealer.correlations import And, BitToRing  # noqa: E402
from tallystick.runtime.errors import ConfigError, DataError  # noqa: E402
from tallystick.runtime.mesh import Mesh  # noqa: E402
from tallystick.runtime.process_group import payload  # noqa: E402
from tallystick.runtime.protocols import (  # noqa: E402
    comparison,
    functions,
    largest,
    layers,
    products,
    truncation,
)
from tallystick.runtime.protocols.context import Context  # noqa: E402
from tallystick.runtime.randomness import KEY_BYTES, Stream, new_key  # noqa: E402

if TYPE_CHECKING:
    Secret: TypeAlias = Any  # crypten has no types
else:
    Secret = crypten.mpc.MPCTensor
PRECISION_BITS = 16
"""Fraction bits of a shared real number."""
MAX_MAGNITUDE = 2.0**20
"""What is shared must be smaller, so that products of shared numbers fit the ring."""
PROVIDER = "tallystick"
_RECIPROCAL_BITS = 24
_CPU = torch.device("cpu")


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
            open_sums=self._open_sums,
            open_xors=self._open_xors,
        )

    def __enter__(self) -> Self:
        """Make this engine CrypTen's world until the block ends."""
        refuse_insecure_settings()
        process_group.start(self._mesh, self._parties, self.rank)
        _install_streams(self._pairwise_streams())
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        """Undo what :meth:`__enter__` did; the links are the session's to close."""
        self.end()
        for streams in crypten.generators.values():
            streams.clear()
        process_group.stop()

    def begin(self) -> None:
        """Let CrypTen compute by this engine's means."""
        _install_communicator(self.rank, self.world_size)
        crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"][PROVIDER] = _Provider(self.context)
        cfg.config.mpc.provider = PROVIDER
        _current.append(self)
        self._no_grad = crypten.no_grad()
        self._no_grad.__enter__()

    def end(self) -> None:
        """Undo :meth:`begin`."""
        self._no_grad.__exit__(None, None, None)
        _current.remove(self)
        DistributedCommunicator.instance = None

    def share_ring(self, value: Tensor | None, owner: int, shape: Sequence[int]) -> Tensor:
        """Split the owner's ring elements into shares; no message is needed.

        Args:
            value: int64 at the owner, None elsewhere.
            owner: its rank.
            shape: of the value, known to all.

        Returns:
            This party's int64 share.
        """
        share: Tensor = ArithmeticSharedTensor.PRZS(torch.Size(shape)).share
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
        plain = tuple(sorted((name, _plain(value)) for name, value in options.items()))
        left, right = products.mask(self.context, x.share, y.share)
        share = products.product(self.context, operation, left, right, plain)
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

    def _pairwise_streams(self) -> dict[str, Stream]:
        """Agree on keys for sharings of nought, with the rank before and with the rank after."""
        ours = new_key()
        before = self._parties[(self.rank - 1) % self.world_size]
        after = self._parties[(self.rank + 1) % self.world_size]
        theirs = bytearray(KEY_BYTES)
        receipt = self._mesh.expect(before, memoryview(theirs))
        self._mesh.post(after, memoryview(ours))
        self._mesh.wait([receipt])
        return {"prev": Stream(bytes(theirs)), "next": Stream(ours), "local": Stream(new_key())}


class _Provider:
    """CrypTen's source of randomness for the bitwise circuits that it still runs itself."""

    def __init__(self, context: Context) -> None:
        self._obtain = context.obtain

    def generate_binary_triple(
        self, left: torch.Size, right: torch.Size, device: Any = None
    ) -> list[BinarySharedTensor]:
        return [BinarySharedTensor.from_shares(t) for t in self._obtain(And(*shapes(left, right)))]

    def B2A_rng(
        self, size: torch.Size, device: Any = None
    ) -> tuple[ArithmeticSharedTensor, BinarySharedTensor]:
        binary, ring = self._obtain(BitToRing(*shapes(size)))
        return (
            ArithmeticSharedTensor.from_shares(ring, precision=0),
            BinarySharedTensor.from_shares(binary),
        )


class _Refused:
    """Stands where CrypTen keeps something without privacy: any use of it ends the step."""

    def __init__(self, what: str, why: str) -> None:
        self._what = what
        self._why = why

    def __getattr__(self, name: str) -> Any:
        raise ConfigError(f"crypten's {self._what} is refused: {self._why}")


def _refuse(why: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError(why)

    return refuse


def encode(value: Tensor, precision_bits: int = PRECISION_BITS) -> Tensor:
    """Return real numbers as fixed-point ring elements, rounded to nearest.

    Raises:
        DataError: a value is NaN or infinite, or leaves no room for a product.
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


def refuse_insecure_settings() -> None:
    """Stop if somebody switched on a part of CrypTen that has no privacy.

    Raises:
        ConfigError: naming the setting.
    """
    for (section, name), (allowed, why) in _SETTINGS.items():
        value = getattr(getattr(cfg, section), name)
        if value != allowed:
            raise ConfigError(f"crypten's {section}.{name} = {value!r} is refused: {why}")


def _plain(value: Any) -> Any:
    return tuple(int(n) for n in value) if isinstance(value, tuple | list) else int(value)


def _install_communicator(rank: int, world_size: int) -> None:
    communicator = DistributedCommunicator.__new__(DistributedCommunicator)
    communicator.rank = rank
    communicator.world_size = world_size
    communicator.main_group = dist.group.WORLD
    communicator.ttp_initialized = False
    communicator._name = f"rank{rank}"
    communicator.reset_communication_stats()
    DistributedCommunicator.instance = communicator


def _install_streams(streams: dict[str, Stream]) -> None:
    for name in crypten.generators:
        crypten.generators[name].clear()
    for name, stream in streams.items():
        crypten.generators[name][_CPU] = stream


def _stream(generator: Any) -> Stream:
    stream = crypten.generators["local"][_CPU] if generator is None else generator
    if not isinstance(stream, Stream):
        raise ConfigError(
            "a torch.Generator for shares or masks is refused: anybody can clone it from a few "
            "values"
        )
    return stream


def _random_ring_element(
    size: Sequence[int], ring_size: int = 2**64, generator: Any = None, **_: Any
) -> Tensor:
    if ring_size != 2**64:
        raise ValueError("masks come from the whole ring")
    return _stream(generator).elements(size)


def _random_bits(
    size: Sequence[int], bitlength: int | None = None, generator: Any = None, **_: Any
) -> Tensor:
    stream = _stream(generator)
    if bitlength == 1:
        return stream.bits(size)
    elements = stream.elements(size)
    return elements if bitlength in (None, 64) else elements & ((1 << bitlength) - 1)


def _divide_in_place(self: Any, divisor: Any) -> Any:
    """CrypTen's ``div_`` with exact truncation in place of its own."""
    if isinstance(divisor, float) and divisor.is_integer():
        divisor = int(divisor)
    if isinstance(divisor, Tensor) and divisor.is_floating_point() and (divisor.frac() == 0).all():
        divisor = divisor.long()
    if isinstance(divisor, Tensor) and not divisor.is_floating_point() and divisor.numel() == 1:
        divisor = int(divisor)
    if isinstance(divisor, int) and divisor > 0:
        bits = divisor.bit_length() - 1
        if divisor != 1 << bits:
            bits = max(_RECIPROCAL_BITS, 13 + divisor.bit_length())
            self.share = self.share * round(2**bits / divisor)
        if bits:
            self.share = _current[-1].truncate(self.share, bits)
        return self
    reciprocal = 1.0 / (divisor.double() if isinstance(divisor, Tensor) else torch.tensor(divisor))
    return self.mul_(reciprocal.float())


_make_secret = Secret.__init__


def _init_secret(self: Any, tensor: Any, *arguments: Any, **options: Any) -> None:
    """CrypTen makes results as ``MPCTensor([])`` and fills them: spare it a sharing of nothing."""
    if isinstance(tensor, list) and not tensor:
        CrypTensor.__init__(self, requires_grad=False)
        self.ptype = crypten.mpc.arithmetic
        return
    _make_secret(self, tensor, *arguments, **options)


_compute = ArithmeticSharedTensor._arithmetic_function


def _arithmetic(
    self: Any, other: Any, operation: str, inplace: bool = False, **options: Any
) -> Any:
    """CrypTen's arithmetic; products of two shared tensors by our protocol, truncation included."""
    if not isinstance(other, ArithmeticSharedTensor) or operation in ("add", "sub"):
        return _compute(self, other, operation, inplace, **options)
    context = _current[-1].context
    plain = tuple(sorted((name, _plain(value)) for name, value in options.items()))
    both = self.encoder.scale > 1 and other.encoder.scale > 1
    masked = products.mask(context, *([self.share] if other is self else [self.share, other.share]))
    result = self if inplace else self.shallow_copy()
    bits = _scale_bits(self) if both else 0
    result.share = products.product(context, operation, masked[0], masked[-1], plain, bits)
    result.encoder = self.encoder if self.encoder.scale > 1 else other.encoder
    return result


def _scale_bits(tensor: Any) -> int:
    return int(tensor.encoder.scale).bit_length() - 1


def _square(self: Any) -> Any:
    result = self.shallow_copy()
    result.share = products.square(_current[-1].context, self.share, _scale_bits(self))
    return result


def _relu(self: Any) -> Any:
    share, _ = layers.relu(_current[-1].context, self.share)
    return Secret.from_shares(share, precision=_scale_bits(self))


def _along(x: Any, dim: int) -> Tensor:
    """Return the share with a dimension moved to the end."""
    share: Tensor = x.share.movedim(dim, -1)
    return share


def _softmax(name: str) -> Callable[..., Any]:
    def apply(self: Any, dim: int, **_: Any) -> Any:
        if self.dim() == 0:
            return getattr(self.unsqueeze(0), name)(0).squeeze(0)
        engine = _current[-1]
        result = getattr(functions, name)(engine.context, _along(self, dim))
        return engine.from_share(result.movedim(-1, dim))

    return apply


def _max(self: Any, dim: int | None = None, keepdim: bool = False, one_hot: bool = True) -> Any:
    """CrypTen's ``max``; of equal values it takes the first, where CrypTen takes any."""
    flat = self.flatten() if dim is None else self
    along = 0 if dim is None else dim
    value, here = largest.largest(_current[-1].context, _along(flat, along))
    top = Secret.from_shares(value, precision=_scale_bits(self))
    if dim is None:
        return top
    if keepdim:
        top = top.unsqueeze(dim)
    return top, _where(here, along, keepdim=keepdim, one_hot=one_hot)


def _argmax(self: Any, dim: int | None = None, keepdim: bool = False, one_hot: bool = True) -> Any:
    flat = self.flatten() if dim is None else self
    along = 0 if dim is None else dim
    _, here = largest.largest(_current[-1].context, _along(flat, along))
    found = _where(here, along, keepdim=keepdim, one_hot=one_hot)
    return found.view(self.size()) if dim is None and one_hot else found


def _where(here: Tensor, dim: int, *, keepdim: bool, one_hot: bool) -> Any:
    """Return where the maximum is, as bits or as an index: whole numbers."""
    if one_hot:
        return Secret.from_shares(here.movedim(-1, dim), precision=0)
    index = (here * torch.arange(here.shape[-1])).sum(-1)
    return Secret.from_shares(index.unsqueeze(dim) if keepdim else index, precision=0)


def _in_fixed_point(share: Tensor) -> Any:
    return Secret.from_shares(share, precision=PRECISION_BITS)


def _function(name: str) -> Callable[..., Any]:
    """CrypTen's function of a real number, by ours."""

    def apply(self: Any, **_: Any) -> Any:
        engine = _current[-1]
        known = {"positive": True} if name == "reciprocal" and _known_positive() else {}
        return engine.from_share(getattr(functions, name)(engine.context, self.share, **known))

    return apply


def _known_positive() -> bool:
    return bool(cfg.functions.reciprocal_all_pos)


def _negative(self: Any) -> Any:
    """CrypTen's ``_ltz`` by our comparison."""
    return _current[-1].negative(self)


def _to_binary(arithmetic: Any) -> Any:
    """CrypTen's conversion, without its retry: after a fault that desynchronises the parties."""
    shares = [
        BinarySharedTensor(arithmetic.share, src=rank)
        for rank in range(crypten.communicator.get().get_world_size())
    ]
    binary = BinarySharedTensor.stack(shares).sum(dim=0)
    binary.encoder = arithmetic.encoder
    return binary


# What CrypTen may not be set to; see SECURITY.md.
_SETTINGS = {
    ("mpc", "protocol"): ("beaver", "replicated sends products of shares without masking them"),
    ("mpc", "active_security"): (False, "it checks the dealer's triples alone"),
    ("debug", "debug_mode"): (False, "it opens values outside the ledger"),
    ("debug", "validation_mode"): (False, "it opens values outside the ledger"),
}
_current: list[Engine] = []


def _namespace(settings: Any) -> Any:
    """CrypTen reads its settings many times in each operation: plain attributes, not OmegaConf."""
    if not isinstance(settings, dict):
        return settings
    return SimpleNamespace(**{name: _namespace(value) for name, value in settings.items()})


@contextmanager
def _override_settings(self: Any, values: dict[str, Any]) -> Iterator[None]:
    """CrypTen's ``cfg.temp_override``, for plain attributes."""
    places = [(getattr(cfg, path.split(".")[0]), path.split(".")[1]) for path in values]
    before = [getattr(section, name, None) for section, name in places]
    try:
        for (section, name), value in zip(places, values.values(), strict=True):
            setattr(section, name, value)
        yield
    finally:
        for (section, name), value in zip(places, before, strict=True):
            setattr(section, name, value)


def _adapt() -> None:
    cfg.config = _namespace(OmegaConf.to_container(cfg.config))
    type(cfg).temp_override = _override_settings
    providers = crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"]
    providers["TFP"] = _Refused("provider TFP", "the first party knows every mask")
    providers["TTP"] = _Refused("provider TTP", "its masks can be cloned; the dealer replaces it")
    providers["HE"] = _Refused("provider HE", "it was never finished")
    crypten_arithmetic.replicated = _Refused("protocol replicated", "it does not mask products")
    crypten_arithmetic.generate_random_ring_element = _random_ring_element
    crypten_binary.generate_kbit_random_tensor = _random_bits
    crypten_converters._A2B = _to_binary
    ArithmeticSharedTensor._arithmetic_function = _arithmetic
    ArithmeticSharedTensor.square = _square
    Secret.relu = _relu
    Secret.max, Secret.argmax = _max, _argmax
    for function in ("softmax", "log_softmax"):
        setattr(Secret, function, _softmax(function))
    gradients.replace(FUNCTION_REGISTRY, lambda: _current[-1].context, _in_fixed_point)
    Secret.__init__ = _init_secret
    Secret._ltz = _negative
    Secret.get_plain_text = Secret.reveal = _refuse("a secret is opened by the ledger alone")
    # What the communicator knows itself it says without torch.distributed, which a rehearsal lacks.
    DistributedCommunicator.is_initialized = classmethod(lambda cls: cls.instance is not None)
    DistributedCommunicator.get_rank = lambda self: self.rank
    DistributedCommunicator.get_world_size = lambda self: self.world_size
    for message in ("send_obj", "recv_obj", "broadcast_obj"):
        setattr(DistributedCommunicator, message, _refuse("pickled objects are refused"))
    for function in ("sigmoid", "tanh", "exp", "log", "reciprocal", "inv_sqrt", "sqrt"):
        setattr(Secret, function, _function(function))
    ArithmeticSharedTensor.div_ = _divide_in_place


_adapt()
