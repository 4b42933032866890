"""The matching of sorted pseudonyms against sets, and what is no sorted range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime.dealer import intersection, matchmaker
from tallystick.runtime.errors import ProtocolViolation

# Rows whose first eight bytes are often alike, so that the slow way is gone too.
ALIKE = st.binary(min_size=1, max_size=1).map(lambda last: bytes(15) + last)
ROW = st.one_of(st.binary(min_size=16, max_size=16), ALIKE)


def table(rows: set[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(sorted(rows)), dtype=np.uint8).reshape(-1, 16)


@given(
    common=st.sets(ROW, max_size=10),
    own=st.lists(st.sets(ROW, max_size=10), min_size=2, max_size=4),
)
def test_what_all_have_is_found(common: set[bytes], own: list[set[bytes]]) -> None:
    sets = [rows | common for rows in own]
    expected = set.intersection(*sets)
    found = intersection.common([table(rows) for rows in sets])
    for rows, bits in zip(sets, found, strict=True):
        assert [row in expected for row in sorted(rows)] == bits.tolist()


@given(st.sets(ROW, max_size=20))
def test_a_sorted_table_is_in_order(rows: set[bytes]) -> None:
    assert intersection.fault(table(rows), 0, 1) is None


@pytest.mark.parametrize(
    "rows",
    [
        [b"\x01" * 16, b"\x01" * 16],
        [b"\x02" * 16, b"\x01" * 16],
        [bytes(15) + b"\x02", bytes(15) + b"\x01"],
        [bytes(16), bytes(16)],
        [bytes(16), bytes(15) + b"\x01", bytes(15) + b"\x01"],
    ],
)
def test_disorder_and_repetitions_are_found(rows: list[bytes]) -> None:
    array = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 16)
    assert intersection.fault(array, 0, 1) == "pseudonyms out of order, or one twice"


@pytest.mark.parametrize(("first", "number"), [(0x3F, 1), (0x80, 1), (0x00, 3), (0xBF, 3)])
def test_rows_of_another_range_are_found(first: int, number: int) -> None:
    array = np.array([[first] + [0xFF] * 15], dtype=np.uint8)
    assert intersection.fault(array, number, 4) == "pseudonyms out of their range"
    assert intersection.fault(array, first >> 6, 4) is None


@pytest.mark.parametrize(
    ("largest", "ranges"),
    [
        (0, 1),
        (1, 1),
        (1 << 17, 1),
        ((1 << 17) + 1, 2),
        (10**7, 128),
        (10**9, 4096),
        (1 << 40, 4096),
    ],
)
def test_the_number_of_ranges_is_a_power_of_two(largest: int, ranges: int) -> None:
    assert intersection.num_ranges(largest) == ranges


GOOD = {"counts": [1, 2], "minimum": 1, "bits_to": ["alice"], "number_to": []}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(JSON, st.sampled_from([*GOOD, "more"]))
def test_any_request_is_read_or_refused(value: object, field: str) -> None:
    for content in (value, {**GOOD, field: value}):
        try:
            request = matchmaker.decode(content, "alice", ["alice", "bob"])
        except ProtocolViolation:
            continue
        assert len(request.counts) in (1, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": []},
        {"counts": [1, 2, 3]},
        {"counts": [-1]},
        {"counts": [1.0]},
        {"counts": [True]},
        {"counts": [intersection.MAX_RANGE_ROWS + 1]},
        {"counts": [intersection.MAX_RANGE_ROWS] * 4096},
        {"counts": [1] * 8192},
        {"minimum": -1},
        {"minimum": 1.5},
        {"minimum": True},
        {"bits_to": ["eve"]},
        {"bits_to": "alice"},
        {"number_to": [7]},
        {"more": 1},
    ],
)
def test_a_request_beyond_the_limits_is_refused(change: dict[str, object]) -> None:
    assert matchmaker.decode(GOOD, "alice", ["alice", "bob"]).counts == (1, 2)
    with pytest.raises(ProtocolViolation):
        matchmaker.decode({**GOOD, **change}, "alice", ["alice", "bob"])
