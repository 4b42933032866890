"""AES-256-CTR streams: the only source of shares and masks.

CrypTen draws its masks from the Mersenne Twister, whose state anybody recovers who knows a few
hundred of the values drawn; then all later masks are known. Here a stream is AES-256 in counter
mode (NIST SP 800-38A) under a 256-bit key from the operating system, which no number of known
outputs helps to continue.

A key makes up to 2**64 streams, told apart by their number; each holds 2**64 blocks. No state is
ever saved.
"""

import math
import os
from collections.abc import Sequence

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from torch import Tensor

KEY_BYTES = 32
# Encrypting zeros in pieces that stay in the processor's cache is three times as fast as all at
# once.
_ZEROS = bytes(1 << 18)


def new_key() -> bytes:
    """Return a fresh 256-bit key from the operating system."""
    return os.urandom(KEY_BYTES)


class Stream:
    """One stream of uniformly random ring elements and bits.

    Args:
        key: 32 bytes, shared by exactly those who may know what is drawn.
        number: which of the key's streams.
    """

    def __init__(self, key: bytes, number: int = 0) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, not {len(key)}")
        start = number.to_bytes(8, "big") + bytes(8)
        self._key, self._number = key, number
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(start)).encryptor()

    def fill(self, buffer: np.ndarray) -> None:
        """Fill a contiguous uint8 array."""
        view = buffer.data
        for begin in range(0, len(view), len(_ZEROS)):
            piece = view[begin : begin + len(_ZEROS)]
            self._encryptor.update_into(_ZEROS[: len(piece)], piece)

    def elements(self, shape: Sequence[int]) -> Tensor:
        """Draw int64 elements, uniform over the ring of integers modulo 2**64."""
        buffer = np.empty(8 * math.prod(shape), dtype=np.uint8)
        self.fill(buffer)
        return torch.from_numpy(buffer.view(np.int64)).reshape(tuple(shape))

    def rows(self, rows: NDArray[np.int64], width: int) -> Tensor:
        """Draw some rows of a table: int64 [len(rows), width].

        A row is the same whenever it is drawn, and with whichever others: row r takes the blocks
        of the stream from r times its own number of blocks on. So a stream that rows are drawn of
        must be drawn of in no other way.
        """
        blocks = -(-width // 2)
        drawn = np.empty((len(rows), width), dtype=np.int64)
        # Counter mode is the cipher on a counter's blocks; here the blocks are not consecutive.
        encryptor = Cipher(algorithms.AES(self._key), modes.ECB()).encryptor()  # noqa: S305
        at_once = max(1, len(_ZEROS) // max(1, 16 * blocks))
        for begin in range(0, len(rows), at_once):
            piece = rows[begin : begin + at_once]
            counter = np.empty((len(piece), blocks, 2), dtype=">u8")
            counter[:, :, 0] = self._number
            counter[:, :, 1] = piece[:, np.newaxis] * blocks + np.arange(blocks)
            words = np.frombuffer(encryptor.update(counter.tobytes()), dtype=np.int64)
            drawn[begin : begin + at_once] = words.reshape(len(piece), 2 * blocks)[:, :width]
        return torch.from_numpy(drawn)

    def bits(self, shape: Sequence[int]) -> Tensor:
        """Draw int64 tensors of zeros and ones."""
        count = math.prod(shape)
        buffer = np.empty((count + 7) // 8, dtype=np.uint8)
        self.fill(buffer)
        bits = np.unpackbits(buffer, count=count).astype(np.int64)
        return torch.from_numpy(bits).reshape(tuple(shape))
