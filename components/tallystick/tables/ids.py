"""Ids in one form for all parties, and the pseudonyms that stand for them.

Two parties that mean the same row must arrive at the same bytes, and two different rows never may.
So each value is normalised (Unicode NFKC, spaces at the ends dropped; case is kept), and the values
of several id columns are joined in a way that keeps their borders::

    id = len32(v1) || utf8(v1) || len32(v2) || utf8(v2) || ...

``len32`` is the number of bytes, big-endian, in 4 bytes. So ("a", "b,c") and ("a,b", "c") differ.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError

PSEUDONYM_BYTES = 16


def canonical(table: pa.Table, id_columns: Sequence[str]) -> list[bytes]:
    """Return each row's id in canonical bytes, in the table's order.

    Args:
        table: its id columns hold text.
        id_columns: one name or more; their order counts.

    Raises:
        DataError: an id is empty, or stands in more than one row.
    """
    columns = [_normalised(table.column(name), name) for name in id_columns]
    found = [encode(values) for values in zip(*columns, strict=True)]
    surplus = len(found) - len(set(found))
    if surplus:
        raise DataError(
            f"{surplus} of {len(found)} rows repeat the id of an earlier row (id columns: "
            f"{', '.join(id_columns)}; spaces at the ends do not tell ids apart); "
            "keep one row for each id"
        )
    return found


def normalise(value: str) -> str:
    """Return the one form of a value that all parties use."""
    return unicodedata.normalize("NFKC", value).strip()


def encode(values: Sequence[str]) -> bytes:
    """Join the values of one id into bytes that no other values give."""
    encoded = [value.encode() for value in values]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def pseudonyms(ids: Sequence[bytes], key: bytes) -> NDArray[np.uint8]:
    """Return the keyed hash of each id: BLAKE2b with a 16-byte digest, in the order of the ids.

    Without the key they cannot be told from random bytes; two of n ids collide with a chance of
    n**2 / 2**129.

    Args:
        ids: n canonical ids.
        key: 16 to 64 secret bytes.

    Returns:
        uint8 [n, 16].
    """
    digests = b"".join(
        hashlib.blake2b(each, key=key, digest_size=PSEUDONYM_BYTES).digest() for each in ids
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(ids), PSEUDONYM_BYTES)


def order(pseudonyms_N16: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the positions that sort pseudonyms ascending, as bytes compare."""
    halves_N2 = np.ascontiguousarray(pseudonyms_N16).view(">u8")
    positions: NDArray[np.int64] = np.lexsort((halves_N2[:, 1], halves_N2[:, 0])).astype(np.int64)
    return positions


def _normalised(column: pa.ChunkedArray, name: str) -> list[str]:
    values = [normalise(value or "") for value in column.to_pylist()]
    empty = values.count("")
    if empty:
        raise DataError(
            f"the id column {name!r} is empty in {empty} of {len(values)} rows; fill or drop them"
        )
    return values
