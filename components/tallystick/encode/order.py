"""A commitment to the order of rows that psi has not matched."""

import hashlib
import hmac
import secrets

from tallystick.encode.own import OwnRows
from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session


def commitment(session: Session, rows: OwnRows) -> str:
    """Return a commitment to rows that were not matched by psi, new in each session.

    Where rows have ids, all parties must have the same in the same order: they compare a hash of
    all of them, under a key that they make together.

    Raises:
        DataError: the ids differ.
    """
    coins = session.exchange({"coin": secrets.token_hex(32)})
    key = hashlib.sha256("".join(str(answer.get("coin")) for answer in coins).encode()).digest()
    if not rows.ids:
        return key.hex()
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for column in rows.ids:
        for value in column.to_pylist():
            encoded = str(value).encode()
            digest.update(len(encoded).to_bytes(4, "big") + encoded)
    answers = session.exchange({"rows": digest.hexdigest()})
    if any(answer.get("rows") != digest.hexdigest() for answer in answers):
        raise DataError(
            "the parties' rows are not the same rows in the same order, by their ids; match them "
            "by psi first"
        )
    return digest.hexdigest()
