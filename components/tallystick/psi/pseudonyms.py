"""Pseudonyms of ids: AES-256-CMAC under a key, of many ids at once.

CMAC (RFC 4493; NIST SP 800-38B) of a message of blocks m_1 ... m_b, the last one padded, is

    X_0 = 0;  X_i = E(X_{i-1} xor m_i) for i < b;  E(X_{b-1} xor m_b xor K)

where K is E(0) doubled in GF(2**128), and doubled once more where the last block needed padding. It
is a pseudorandom function: whoever lacks the key cannot tell pseudonyms from random bytes. Two of n
ids have the same pseudonym with a chance of n**2 / 2**129.
"""

# N = ids, K = ids that have as many blocks.

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from tallystick.psi.runs import Keys, raw
from tallystick.tables.arrays import Bytes

KEY_BYTES = 32
BLOCK = 16
PIECE_BYTES = 1 << 20
"""So much is worked on at once; it stays in the cache."""
_PADDING = 0x80
_REDUCTION = 0x87


def pseudonyms(key: bytes, encoded_ids: pa.Array) -> Keys:
    """Return the pseudonym of each id.

    Args:
        key: 32 secret bytes.
        encoded_ids: binary, without nulls.

    Returns:
        uint8 [N, 16].
    """
    values = Bytes.of(encoded_ids)
    # Each block is encrypted by itself because the chaining is done here, for many ids at once.
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    whole = _doubled(cipher.update(bytes(BLOCK)))
    subkeys = np.frombuffer(whole + _doubled(whole), dtype=np.uint8).reshape(2, BLOCK)
    found_N16 = np.empty((len(values.lengths_N), BLOCK), dtype=np.uint8)
    blocks_N = np.maximum(1, -(-values.lengths_N // BLOCK))
    for blocks in np.unique(blocks_N):
        rows = np.flatnonzero(blocks_N == blocks)
        step = max(1, PIECE_BYTES // int(blocks * BLOCK))
        for start in range(0, len(rows), step):
            rows_K = rows[start : start + step]
            found_N16[rows_K] = _macs(cipher, subkeys, values, rows_K, int(blocks))
    return found_N16


def _macs(
    cipher: CipherContext,
    subkeys: NDArray[np.uint8],
    values: Bytes,
    rows_K: NDArray[np.int64],
    blocks: int,
) -> Keys:
    lengths_K = values.lengths_N[rows_K]
    width = blocks * BLOCK
    message = np.zeros(len(rows_K) * width, dtype=np.uint8)
    starts_K = np.arange(len(rows_K), dtype=np.int64) * width
    values.put(message, starts_K, rows_K)
    padded_K = lengths_K < width
    message[(starts_K + lengths_K)[padded_K]] = _PADDING
    message_KB = message.reshape(len(rows_K), width)
    message_KB[:, width - BLOCK :] ^= subkeys[padded_K.astype(np.intp)]
    state_K16 = np.zeros((len(rows_K), BLOCK), dtype=np.uint8)
    for block in range(blocks):
        state_K16 = state_K16 ^ message_KB[:, block * BLOCK : (block + 1) * BLOCK]
        content = cipher.update(raw(state_K16))
        state_K16 = np.frombuffer(content, dtype=np.uint8).reshape(-1, BLOCK)
    return state_K16


def _doubled(block: bytes) -> bytes:
    number = int.from_bytes(block, "big") << 1
    if block[0] >> 7:
        number ^= _REDUCTION
    return (number % (1 << 128)).to_bytes(BLOCK, "big")
