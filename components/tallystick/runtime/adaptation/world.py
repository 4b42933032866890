"""CrypTen's world while an engine computes: its ranks, masks, dealer and settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import crypten
import crypten.communicator
import crypten.mpc
import crypten.mpc.primitives.arithmetic as crypten_arithmetic
import crypten.mpc.primitives.binary as crypten_binary
import torch
import torch.distributed as dist
from crypten.communicator import DistributedCommunicator
from crypten.config import cfg
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor
from omegaconf import OmegaConf
from torch import Tensor

from tallystick.runtime.dealer.client import shapes
from tallystick.runtime.dealer.kinds import And, BitToRing
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.randomness import Stream

if TYPE_CHECKING:
    from tallystick.runtime.engine import Engine

    Secret: TypeAlias = Any  # crypten has no types
else:
    Secret = crypten.mpc.MPCTensor
_PROVIDER = "tallystick"
_engines: list["Engine"] = []
"""The one that computes stands last; a rehearsal may stand on a session's."""


class Streams(NamedTuple):
    """What a party draws masks and its shares of nought from."""

    own: Stream
    earlier: tuple[Stream, ...]
    """One shared with each party of a lower rank."""
    later: tuple[Stream, ...]
    """One shared with each party of a higher rank."""


_streams: Streams | None = None
"""Of the session; None where there is none."""


def current() -> "Engine":
    """Return the engine that computes."""
    return _engines[-1]


@contextmanager
def computing(engine: "Engine") -> Iterator[None]:
    """Let CrypTen compute by an engine's means, and keep no graph unless it is asked to."""
    _install_communicator(engine.rank, engine.world_size)
    crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"][_PROVIDER] = _Provider(engine.context)
    cfg.config.mpc.provider = _PROVIDER
    _engines.append(engine)
    try:
        with crypten.no_grad():
            yield
    finally:
        _engines.remove(engine)
        DistributedCommunicator.instance = None


def install_streams(streams: Streams | None) -> None:
    """Let CrypTen draw masks from these; from nothing where there are none."""
    global _streams
    _streams = streams


def nought(shape: Sequence[int]) -> Tensor:
    """Return this party's share of nought; no message is needed.

    It adds what it draws with each later party, and takes away what with each earlier one. So all
    the others together know it, and any fewer of them know nothing of it. (CrypTen draws with two
    neighbours, who know it alone, however many parties there are.)
    """
    share = torch.zeros(tuple(shape), dtype=torch.int64)
    for stream in _installed().later:
        share += stream.elements(shape)
    for stream in _installed().earlier:
        share -= stream.elements(shape)
    return share


def _installed() -> Streams:
    if _streams is None:
        raise ConfigError("shares and masks can be drawn within a session alone")
    return _streams


def _arithmetic_nought(*size: Any, **_: Any) -> ArithmeticSharedTensor:
    """CrypTen's ``PRZS``."""
    return ArithmeticSharedTensor.from_shares(nought(torch.Size(*size)), precision=0)


def _binary_nought(*size: Any, **_: Any) -> BinarySharedTensor:
    """CrypTen's ``PRZS`` of words that are shared by exclusive or."""
    shape = torch.Size(*size)
    share = torch.zeros(shape, dtype=torch.int64)
    for stream in (*_installed().earlier, *_installed().later):
        share ^= stream.elements(shape)
    return BinarySharedTensor.from_shares(share)


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


def _install_communicator(rank: int, world_size: int) -> None:
    communicator = DistributedCommunicator.__new__(DistributedCommunicator)
    communicator.rank = rank
    communicator.world_size = world_size
    communicator.main_group = dist.group.WORLD
    communicator.ttp_initialized = False
    communicator._name = f"rank{rank}"
    communicator.reset_communication_stats()
    DistributedCommunicator.instance = communicator


def _stream(generator: Any) -> Stream:
    stream = _installed().own if generator is None else generator
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


def install() -> None:
    """Put our randomness and plain settings in the place of CrypTen's."""
    cfg.config = _namespace(OmegaConf.to_container(cfg.config))
    type(cfg).temp_override = _override_settings
    crypten_arithmetic.generate_random_ring_element = _random_ring_element
    crypten_binary.generate_kbit_random_tensor = _random_bits
    ArithmeticSharedTensor.PRZS = staticmethod(_arithmetic_nought)
    BinarySharedTensor.PRZS = staticmethod(_binary_nought)
    # What the communicator knows itself it says without torch.distributed, which a rehearsal lacks.
    DistributedCommunicator.is_initialized = classmethod(lambda cls: cls.instance is not None)
    DistributedCommunicator.get_rank = lambda self: self.rank
    DistributedCommunicator.get_world_size = lambda self: self.world_size
