"""Canonical ids and pseudonyms."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime.errors import DataError
from tallystick.tables import ids

KEY = bytes(range(32))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Few letters, so that different tuples often have the same text in all.
CONFUSABLE = st.lists(st.text("a,\x00\x01", max_size=4), min_size=1, max_size=4)


def table(**columns: list[str | None]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


@given(CONFUSABLE, CONFUSABLE)
def test_different_values_never_encode_to_the_same_bytes(a: list[str], b: list[str]) -> None:
    assert (ids.encode(a) == ids.encode(b)) == (a == b)


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_an_encoded_id_can_be_taken_apart_again(values: list[str]) -> None:
    encoded, found = ids.encode(values), []
    while encoded:
        length = int.from_bytes(encoded[:4], "big")
        found.append(encoded[4 : 4 + length].decode())
        encoded = encoded[4 + length :]
    assert found == values


def test_a_comma_does_not_move_between_columns() -> None:
    two = ids.canonical(table(a=["a", "a,b"], b=["b,c", "c"]), ["a", "b"])
    assert len(set(two)) == 2


@given(TEXT)
def test_normalising_twice_changes_nothing_more(value: str) -> None:
    once = ids.normalise(value)
    assert ids.normalise(once) == once


@pytest.mark.parametrize(
    "other", ["caf\u00e9", "cafe\u0301", " caf\u00e9\t", "\uff43af\u00e9\u00a0"]
)
def test_forms_of_the_same_text_are_one_id(other: str) -> None:
    assert ids.canonical(table(id=[other]), ["id"]) == [ids.encode(["caf\u00e9"])]


@pytest.mark.parametrize("other", ["Caf\u00e9", "cafe", "caf \u00e9", "007", "7"])
def test_other_text_is_another_id(other: str) -> None:
    assert ids.canonical(table(id=[other]), ["id"]) != [ids.encode(["caf\u00e9"])]


def test_leading_zeros_tell_ids_apart() -> None:
    assert len(set(ids.canonical(table(id=["007", "7", "07"]), ["id"]))) == 3


@pytest.mark.parametrize("empty", [None, "", "  ", "\u00a0\t"])
def test_empty_ids_are_counted_and_refused(empty: str | None) -> None:
    rows = table(key=["planted", "b", "c"], day=["1", empty, empty])
    with pytest.raises(DataError, match="'day' is empty in 2 of 3 rows") as error:
        ids.canonical(rows, ["key", "day"])
    assert "planted" not in str(error.value)


def test_repeated_ids_are_counted_and_refused() -> None:
    rows = table(key=["planted", "planted ", "b", "planted"], day=["1", "1", "1", "1"])
    with pytest.raises(DataError, match=r"2 of 4 rows repeat .* key, day") as error:
        ids.canonical(rows, ["key", "day"])
    assert "planted" not in str(error.value)


def test_the_same_key_on_other_days_is_no_repetition() -> None:
    assert len(ids.canonical(table(key=["a", "a"], day=["1", "2"]), ["key", "day"])) == 2


@given(st.lists(st.binary(max_size=20), unique=True, max_size=30))
def test_pseudonyms_are_keyed_blake2b_in_the_order_of_the_ids(values: list[bytes]) -> None:
    found = ids.pseudonyms(values, KEY)
    assert found.dtype == np.uint8
    assert found.shape == (len(values), 16)
    for value, row in zip(values, found, strict=True):
        assert row.tobytes() == hashlib.blake2b(value, key=KEY, digest_size=16).digest()


@given(st.lists(st.binary(max_size=20), unique=True, min_size=1, max_size=30))
def test_another_key_gives_other_pseudonyms(values: list[bytes]) -> None:
    ours = {row.tobytes() for row in ids.pseudonyms(values, KEY)}
    theirs = {row.tobytes() for row in ids.pseudonyms(values, KEY[::-1])}
    assert len(ours) == len(values)
    assert not ours & theirs


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=50))
def test_the_order_of_pseudonyms_is_that_of_their_bytes(rows: list[bytes]) -> None:
    array = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), 16)
    assert [rows[i] for i in ids.order(array)] == sorted(rows)


def test_the_order_does_not_depend_on_the_file() -> None:
    values = [str(i).encode() for i in range(100)]
    one = ids.pseudonyms(values, KEY)
    other = ids.pseudonyms(values[::-1], KEY)
    assert (one[ids.order(one)] == other[ids.order(other)]).all()
