"""Pseudonyms are AES-CMAC of encoded ids, whatever their lengths."""

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st
from tallystick.psi import pseudonyms
from tallystick.tables import ids


def oracle(key: bytes, value: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(value)
    return mac.finalize()


@given(
    key=st.binary(min_size=32, max_size=32),
    values=st.lists(st.binary(max_size=70), max_size=12),
    piece_bytes=st.sampled_from([1, 64, 1 << 20]),
)
def test_pseudonyms_are_aes_cmac(key: bytes, values: list[bytes], piece_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pseudonyms, "PIECE_BYTES", piece_bytes)
        found = pseudonyms.pseudonyms(key, pa.array(values, pa.binary()))
    assert found.dtype == np.uint8
    assert found.shape == (len(values), 16)
    assert [row.tobytes() for row in found] == [oracle(key, value) for value in values]


@pytest.mark.parametrize("length", [1, 12, 16, 17, 60])
def test_many_ids_of_one_length(length: int) -> None:
    values = [f"{number:0{length}}"[-length:].encode() for number in range(3000)]
    found = pseudonyms.pseudonyms(bytes(32), pa.array(values, pa.binary()))
    assert [row.tobytes() for row in found] == [oracle(bytes(32), value) for value in values]


def test_both_ways_of_doubling_are_met() -> None:
    kinds = set()
    for number in range(20):
        key = bytes([number]) * 32
        zero = Cipher(AES(key), modes.ECB()).encryptor().update(bytes(16))  # noqa: S305
        kinds.add(zero[0] >> 7)
        for value in (bytes(16), bytes(5)):
            (found,) = pseudonyms.pseudonyms(key, pa.array([value], pa.binary()))
            assert found.tobytes() == oracle(key, value)
    assert kinds == {0, 1}


def test_a_part_of_an_array_has_the_pseudonyms_of_its_own_rows() -> None:
    whole = ids.encoded([pa.array(["a", "bc", "d"])])
    part = pseudonyms.pseudonyms(bytes(32), whole.slice(1, 2))
    assert (part == pseudonyms.pseudonyms(bytes(32), whole)[1:]).all()
