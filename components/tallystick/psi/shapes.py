"""What ids look like, with no id in it: ``99999-AA`` for five digits, a hyphen and two capitals."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from tallystick.tables.arrays import numbers

SAMPLE = 4096
"""So many ids of each piece of a file are looked at, evenly spaced."""
MOST_KEPT = 1000
_LONGEST = 40
_LETTERS = str.maketrans(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "9" * 10 + "A" * 26 + "a" * 26,
)
_HEX = re.compile(r"(?:[0-9a-f]{2}){16,64}|(?:[0-9A-F]{2}){16,64}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_LONG_RUN = re.compile(r"(.)\1{8,}")
SEPARATOR = " | "
"""Stands between the shapes of several id columns."""


def shape(value: str) -> str:
    """Return the shape of one value.

    Digits become 9, letters A or a; of a long run only the length is told, as in ``9{18}``. A hash
    in hexadecimal is ``hex(64)``, and a letter that cannot be seen is its Unicode number.
    """
    if _HEX.fullmatch(value) and not value.isdigit():
        return f"hex({len(value)})"
    if _UUID.fullmatch(value):
        return "uuid"
    text = value.translate(_LETTERS)
    if not text.isascii():
        text = "".join(map(_shape_of_other, text))
    text = _LONG_RUN.sub(lambda run: f"{run[1]}{{{len(run[0])}}}", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _shape_of_other(letter: str) -> str:
    if letter.isascii():
        return letter
    if letter.isdigit():
        return "9"
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return letter if letter.isprintable() else f"<U+{ord(letter):04X}>"


def sampled(columns: Iterable[pa.Array]) -> Counter[str]:
    """Count the shapes of a sample of a piece's rows.

    Args:
        columns: text without nulls, one array for each id column.
    """
    arrays = list(columns)
    rows = len(arrays[0])
    chosen = numbers(np.linspace(0, rows - 1, min(rows, SAMPLE)).astype(np.int64))
    values = [[shape(value) for value in array.take(chosen).to_pylist()] for array in arrays]
    return Counter(SEPARATOR.join(row) for row in zip(*values, strict=True))


def merged(known: Counter[str], more: Mapping[str, int]) -> Counter[str]:
    """Add counts, and forget the rarest shapes where there are too many."""
    total = known + Counter(more)
    return Counter(dict(total.most_common(MOST_KEPT)))
