"""CrypTen's operations on shared tensors, by the protocols of this runtime."""

from collections.abc import Callable, Mapping
from typing import Any

import crypten
import crypten.mpc
import crypten.mpc.primitives.converters as crypten_converters
import torch
from crypten.config import cfg
from crypten.cryptensor import CrypTensor
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor
from torch import Tensor

from tallystick.runtime.adaptation.world import Secret, current
from tallystick.runtime.dealer.kinds import Options
from tallystick.runtime.protocols import functions, largest, layers, products

_RECIPROCAL_BITS = 24


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
            self.share = current().truncate(self.share, bits)
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
    context = current().context
    both = self.encoder.scale > 1 and other.encoder.scale > 1
    masked = products.mask(context, *([self.share] if other is self else [self.share, other.share]))
    result = self if inplace else self.shallow_copy()
    bits = _scale_bits(self) if both else 0
    result.share = products.product(context, operation, masked[0], masked[-1], plain(options), bits)
    result.encoder = self.encoder if self.encoder.scale > 1 else other.encoder
    return result


def _scale_bits(tensor: Any) -> int:
    return int(tensor.encoder.scale).bit_length() - 1


def _square(self: Any) -> Any:
    result = self.shallow_copy()
    result.share = products.square(current().context, self.share, _scale_bits(self))
    return result


def _relu(self: Any) -> Any:
    share, _ = layers.relu(current().context, self.share)
    return Secret.from_shares(share, precision=_scale_bits(self))


def _along(x: Any, dim: int) -> Tensor:
    """Return the share with a dimension moved to the end."""
    share: Tensor = x.share.movedim(dim, -1)
    return share


def _softmax(name: str) -> Callable[..., Any]:
    def apply(self: Any, dim: int, **_: Any) -> Any:
        if self.dim() == 0:
            return getattr(self.unsqueeze(0), name)(0).squeeze(0)
        engine = current()
        result = getattr(functions, name)(engine.context, _along(self, dim))
        return engine.from_share(result.movedim(-1, dim))

    return apply


def _max(self: Any, dim: int | None = None, keepdim: bool = False, one_hot: bool = True) -> Any:
    """CrypTen's ``max``; of equal values it takes the first, where CrypTen takes any."""
    flat = self.flatten() if dim is None else self
    along = 0 if dim is None else dim
    value, here = largest.largest(current().context, _along(flat, along))
    top = Secret.from_shares(value, precision=_scale_bits(self))
    if dim is None:
        return top
    if keepdim:
        top = top.unsqueeze(dim)
    return top, _where(here, along, keepdim=keepdim, one_hot=one_hot)


def _argmax(self: Any, dim: int | None = None, keepdim: bool = False, one_hot: bool = True) -> Any:
    flat = self.flatten() if dim is None else self
    along = 0 if dim is None else dim
    _, here = largest.largest(current().context, _along(flat, along))
    found = _where(here, along, keepdim=keepdim, one_hot=one_hot)
    return found.view(self.size()) if dim is None and one_hot else found


def _where(here: Tensor, dim: int, *, keepdim: bool, one_hot: bool) -> Any:
    """Return where the maximum is, as bits or as an index: whole numbers."""
    if one_hot:
        return Secret.from_shares(here.movedim(-1, dim), precision=0)
    index = (here * torch.arange(here.shape[-1])).sum(-1)
    return Secret.from_shares(index.unsqueeze(dim) if keepdim else index, precision=0)


def _function(name: str) -> Callable[..., Any]:
    """CrypTen's function of a real number, by ours."""

    def apply(self: Any, **_: Any) -> Any:
        engine = current()
        known = {"positive": True} if name == "reciprocal" and _known_positive() else {}
        return engine.from_share(getattr(functions, name)(engine.context, self.share, **known))

    return apply


def _known_positive() -> bool:
    return bool(cfg.functions.reciprocal_all_pos)


def _negative(self: Any) -> Any:
    """CrypTen's ``_ltz`` by our comparison."""
    return current().negative(self)


def _to_binary(arithmetic: Any) -> Any:
    """CrypTen's conversion, without its retry: after a fault that desynchronises the parties."""
    shares = [
        BinarySharedTensor(arithmetic.share, src=rank)
        for rank in range(crypten.communicator.get().get_world_size())
    ]
    binary = BinarySharedTensor.stack(shares).sum(dim=0)
    binary.encoder = arithmetic.encoder
    return binary


def plain(options: Mapping[str, Any]) -> Options:
    """Return an operation's options as a request for the dealer has them."""
    return tuple(sorted((name, _numbers(value)) for name, value in options.items()))


def _numbers(value: Any) -> Any:
    return tuple(int(n) for n in value) if isinstance(value, tuple | list) else int(value)


def install() -> None:
    """Put these in the place of CrypTen's."""
    crypten_converters._A2B = _to_binary
    ArithmeticSharedTensor._arithmetic_function = _arithmetic
    ArithmeticSharedTensor.square = _square
    ArithmeticSharedTensor.div_ = _divide_in_place
    Secret.__init__ = _init_secret
    Secret._ltz = _negative
    Secret.relu = _relu
    Secret.max, Secret.argmax = _max, _argmax
    for name in ("softmax", "log_softmax"):
        setattr(Secret, name, _softmax(name))
    for name in ("sigmoid", "tanh", "exp", "log", "reciprocal", "inv_sqrt", "sqrt"):
        setattr(Secret, name, _function(name))
