"""Ids in one form for all parties.

Two parties that mean the same row must arrive at the same bytes, and two different rows never may.
So each value is normalised as the parties agreed (:data:`FORMS`), and the values of several id
columns are joined in a way that keeps their borders::

    id = len32(v1) || utf8(v1) || len32(v2) || utf8(v2) || ...

``len32`` is the number of bytes, big-endian, in 4 bytes. So ("a", "b,c") and ("a,b", "c") differ.
"""

# N = rows, B = bytes of all of them.

import hashlib
import itertools
import json
import unicodedata
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallystick.tables.arrays import Bytes

FORMS = {
    "nfkc": "Unicode's compatibility form: full-width letters, ligatures, composed accents",
    "strip": "no white space at the ends",
    "case": "upper and lower case are one",
    "integer": "a whole number has no leading zeros, no plus sign and no '.0'",
}
"""What may be done to every value, by name; it is done in this order."""
DEFAULT_FORMS = ("nfkc", "strip")
DIGEST_BYTES = 32
PSEUDONYM_BYTES = 16
PREFIX_BYTES = 4

# All of ASCII that str.strip() drops.
_ASCII_SPACE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_WHOLE_NUMBER = r"^(?:\+|(-))?0*(0|[1-9][0-9]*)(?:\.0*)?$"
_PERSON = b"tallystick id"


def agreement(forms: Collection[str]) -> str:
    """Return a digest of how ids are brought into one form, equal at all parties.

    It covers the encoding and, where text is changed by Unicode's tables, the tables' version.
    """
    unicode = unicodedata.unidata_version if {"nfkc", "case"} & set(forms) else None
    content = {"encoding": 1, "forms": [form for form in FORMS if form in forms]}
    text = json.dumps({**content, "unicode": unicode}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def normalise(value: str, forms: Collection[str] = DEFAULT_FORMS) -> str:
    """Return the one form of a value that all parties use."""
    return str(normalised(pa.array([value], pa.string()), forms)[0].as_py())


def normalised(values: pa.Array, forms: Collection[str]) -> pa.Array:
    """Return the values in the one form that all parties use; what was null is empty.

    Args:
        values: text.
        forms: names out of :data:`FORMS`.
    """
    if values.null_count:  # to know a scalar's type, Arrow loads pandas, for a second
        values = pc.fill_null(values, "")
    # What Arrow does to ASCII is what Python does to it, and a hundred times as fast. Arrow's
    # Unicode functions follow tables of their own, so all other text goes through Python's.
    ascii_N = pc.string_is_ascii(values)
    if pc.all(ascii_N, min_count=0).as_py():
        values = _ascii(values, forms)
    else:
        others = pc.invert(ascii_N)
        changed = [_unicode(value, forms) for value in values.filter(others).to_pylist()]
        values = pc.replace_with_mask(_ascii(values, forms), others, pa.array(changed, values.type))
    if "integer" in forms:
        values = pc.replace_substring_regex(values, _WHOLE_NUMBER, r"\1\2")
        values = pc.replace_substring_regex(values, "^-0$", "0")
    return values


def _ascii(values: pa.Array, forms: Collection[str]) -> pa.Array:
    if "strip" in forms:
        values = pc.ascii_trim(values, characters=_ASCII_SPACE)
    return pc.ascii_lower(values) if "case" in forms else values


def _unicode(value: str, forms: Collection[str]) -> str:
    if "nfkc" in forms:
        value = unicodedata.normalize("NFKC", value)
    if "case" in forms:
        value = value.casefold()
        if "nfkc" in forms:
            value = unicodedata.normalize("NFKC", value)
    # Last, for composing may leave a space where there was none.
    return value.strip() if "strip" in forms else value


def encode(values: Sequence[str]) -> bytes:
    """Join the values of one id into bytes that no other values give."""
    encoded = [value.encode() for value in values]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def encoded(columns: Sequence[pa.Array]) -> pa.Array:
    """Do :func:`encode` to each row of some columns of text; binary, without nulls."""
    parts = [Bytes.of(column) for column in columns]
    lengths_N = np.array([part.lengths_N for part in parts]).sum(axis=0) + PREFIX_BYTES * len(parts)
    ends_N = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths_N)])
    content_B = np.empty(ends_N[-1], dtype=np.uint8)
    starts_N = ends_N[:-1].copy()
    for part in parts:
        prefix_N4 = part.lengths_N.astype(">u4").view(np.uint8).reshape(-1, PREFIX_BYTES)
        for byte, values_N in enumerate(prefix_N4.T):
            content_B[starts_N + byte] = values_N
        starts_N += PREFIX_BYTES
        part.put(content_B, starts_N)
        starts_N += part.lengths_N
    buffers = [None, pa.py_buffer(ends_N.astype(np.int32)), pa.py_buffer(content_B)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(ends_N) - 1, buffers)


def digests(encoded_ids: pa.Array) -> NDArray[np.uint8]:
    """Return the BLAKE2b digest of each id.

    It has no key: whoever has it can try out ids. It may leave its process, and not this machine.

    Args:
        encoded_ids: binary, without nulls, from :func:`encoded`.

    Returns:
        uint8 [n, 32].
    """
    values = Bytes.of(encoded_ids)
    content = values.content_B.tobytes()
    fresh = hashlib.blake2b(digest_size=DIGEST_BYTES, person=_PERSON).copy
    found = []
    for start, end in itertools.pairwise(values.ends_N.tolist()):
        one = fresh()
        one.update(content[start:end])
        found.append(one.digest())
    return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
