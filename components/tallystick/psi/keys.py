"""Keys that all parties have and the dealer does not.

::

    c_i  32 fresh random bytes of party i, sent to every party over the parties' own links
    k    HKDF-SHA256(c_1 || ... || c_P, info = purpose and session)        (RFC 5869)
"""

import secrets
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.session import Session

KEY_BYTES = 32


class JointKeys:
    """The parties' contributions to all keys of one session."""

    def __init__(self, session: str, material: bytes) -> None:
        self._session = session
        self._material = material

    def key(self, purpose: str) -> bytes:
        """Derive the key for one purpose: 32 bytes."""
        info = f"tallystick psi: {purpose}: {self._session}".encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(
            self._material
        )


def meet(session: Session, num_ids: int) -> tuple[JointKeys, tuple[int, ...]]:
    """Agree on keys, and tell each other how many ids there are.

    Returns:
        The keys, and every party's number of ids in rank order.

    Raises:
        ProtocolViolation: a party sent something else.
    """
    answers = session.exchange({"contribution": secrets.token_hex(KEY_BYTES), "ids": num_ids})
    material, numbers = b"", []
    for party, answer in zip(session.parties, answers, strict=True):
        contribution, number = _parsed(answer)
        if len(contribution) != KEY_BYTES or not 0 <= number < 1 << 40:
            raise ProtocolViolation(
                f"party {party!r} sent no {KEY_BYTES} bytes of key material and number of ids; "
                "check that it runs the same version of tallystick"
            )
        material += contribution
        numbers.append(number)
    return JointKeys(session.name, material), tuple(numbers)


def _parsed(answer: dict[str, Any]) -> tuple[bytes, int]:
    try:
        number = answer["ids"]
        return bytes.fromhex(answer["contribution"]), number if type(number) is int else -1
    except (KeyError, TypeError, ValueError):
        return b"", -1
