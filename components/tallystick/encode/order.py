"""What names an encoding: its coin, and a commitment to rows that psi has not matched."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

import pyarrow as pa

from tallystick.encode.layout import refused_together
from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session


def coin(session: Session) -> bytes:
    """Return 32 bytes that the parties make together, new in each session."""
    coins = session.exchange({"coin": secrets.token_hex(32)})
    return hashlib.sha256("".join(str(answer.get("coin")) for answer in coins).encode()).digest()


def commitment(session: Session, key: bytes, ids: Sequence[pa.ChunkedArray]) -> str:
    """Return a commitment to rows that were not matched by psi, new in each session.

    Where all bring the same rows, and these have ids, the ids must be the same in the same order:
    the parties compare a hash of all of them, under a key that they make together.

    Args:
        session: the joined session.
        key: its coin.
        ids: the id columns as text; none where rows have no ids, or are different ones.

    Raises:
        DataError: the ids differ; at every party.
    """
    if not ids:
        return key.hex()
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for column in ids:
        for value in column.to_pylist():
            encoded = str(value).encode()
            digest.update(len(encoded).to_bytes(4, "big") + encoded)
    answers = session.exchange({"rows": digest.hexdigest()})
    with refused_together(session):
        if any(answer.get("rows") != digest.hexdigest() for answer in answers):
            raise DataError(
                "the parties' rows are not the same rows in the same order, by their ids; match "
                "them by psi first"
            )
    return digest.hexdigest()
