"""Which rows train, which test, and in which batches: the same at all parties, with no message.

The randomness is public: it comes from the agreed seed and hides nothing. It is drawn as raw words
of Philox, keyed by SHA-256 of the purpose and the seed, and sorted. NumPy promises the words of a
bit generator for ever, but not what its ``permutation`` makes of them (NEP 19), and two parties may
not differ by a NumPy version.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError


def permutation(rows: int, purpose: str, seed: int) -> NDArray[np.int64]:
    """Return a public random order of range(rows), another for each purpose."""
    digest = hashlib.sha256(f"tallystick {purpose}, seed {seed}".encode()).digest()
    coins = np.random.Philox(key=int.from_bytes(digest[:16], "big")).random_raw(rows)
    result: NDArray[np.int64] = np.argsort(coins, kind="stable").astype(np.int64)
    return result


def train_test(
    rows: int, test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split range(rows) in two.

    Args:
        rows: how many there are.
        test_fraction: about this part is for the test; in (0, 1).
        seed: agreed by the parties.

    Returns:
        train_rows and test_rows: positions, ascending, one or more each.

    Raises:
        DataError: there are fewer than two rows.
    """
    if rows < 2:
        raise DataError(
            f"{rows} rows cannot be split into training and test rows; bring more rows that match"
        )
    num_test = min(max(round(rows * test_fraction), 1), rows - 1)
    shuffled = permutation(rows, "train-test split", seed)
    return np.sort(shuffled[num_test:]), np.sort(shuffled[:num_test])


def batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Cut range(rows), shuffled anew for each epoch, into batches.

    Args:
        rows: how many training rows there are.
        batch_size: rows of each batch; the last one may be shorter and is kept.
        seed: agreed by the parties.
        epoch: counted from 0.

    Returns:
        positions among the training rows.
    """
    shuffled = permutation(rows, f"batches of epoch {epoch}", seed)
    return [shuffled[start : start + batch_size] for start in range(0, rows, batch_size)]
