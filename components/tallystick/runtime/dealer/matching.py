"""The dealer's part of aided PSI: which pseudonyms did every party send?

See ``tallystick/psi/aided.py`` for the protocol.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np


def common_positions(tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Find the rows that all tables share.

    Args:
        tables: uint8 of shape [n_i, 16], each without duplicates.

    Returns:
        For each table the int64 positions of the common rows, in ascending order of the row's
        bytes; all of the same length.
    """
    columns = [_as_column(table) for table in tables]
    common = reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), columns)
    positions = []
    for column in columns:
        order = np.argsort(column, kind="stable")
        positions.append(order[np.searchsorted(column, common, sorter=order)].astype(np.int64))
    return positions


def has_duplicates(table: np.ndarray) -> bool:
    """Say whether two rows of a uint8 table of shape [n, 16] are equal."""
    return len(np.unique(_as_column(table))) < len(table)


def _as_column(table: np.ndarray) -> np.ndarray:
    # Fixed-width byte strings compare like the rows themselves: padding is part of the width.
    return np.ascontiguousarray(table).view("S16").reshape(-1)
