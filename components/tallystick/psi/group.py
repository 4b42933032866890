"""The group ristretto255 of RFC 9496, in which the discrete logarithm is hard: libsodium's.

Hashing to the group and multiplying are the library's, in constant time; nothing of either is here.
"""

import hashlib
from typing import Any

from tallystick.runtime.errors import ConfigError

POINT_BYTES = SCALAR_BYTES = 32


class InvalidPoint(ValueError):
    """Bytes that encode no point, or the neutral one."""


def sodium() -> Any:
    """Return the binding.

    Raises:
        ConfigError: libsodium is not installed.
    """
    try:
        import pysodium
    except (ImportError, ValueError, OSError):
        raise ConfigError(
            "protocol 'ecdh' needs libsodium 1.0.18 or newer, which this machine lacks; install it "
            "(Debian's package is libsodium23), or use protocol 'aided'"
        ) from None
    return pysodium


def new_scalar() -> bytes:
    """Draw a secret number from the operating system's randomness."""
    return bytes(sodium().crypto_core_ristretto255_scalar_random())


def masked(scalar: bytes, content: bytes, *, hashed: bool) -> bytes:
    """Multiply many points by one number.

    Args:
        scalar: 32 secret bytes.
        content: 32 bytes for each point, or for each digest.
        hashed: whether it is digests, which are first hashed to points.

    Returns:
        32 bytes for each point.

    Raises:
        InvalidPoint: one that came is no valid point.
    """
    library = sodium()
    multiply, hash_to_group = (
        library.crypto_scalarmult_ristretto255,
        library.crypto_core_ristretto255_from_hash,
    )
    found = []
    for start in range(0, len(content), POINT_BYTES):
        point = content[start : start + POINT_BYTES]
        if hashed:
            point = hash_to_group(hashlib.blake2b(point, person=b"tallystick point").digest())
        try:
            found.append(multiply(scalar, point))
        except ValueError:
            raise InvalidPoint from None
    return b"".join(found)
