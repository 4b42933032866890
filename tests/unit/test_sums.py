"""Sums over all parties: two words of 64 bits hold a number of any size."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from tallystick.encode import sums

PARTS = st.lists(
    st.floats(-(2.0**49), 2.0**49) | st.floats(-1, 1) | st.floats(-1e-6, 1e-6),
    min_size=2,
    max_size=5,
)


def opened(parts: list[float]) -> float:
    words = [sums.as_words(np.array([part])) for part in parts]
    # As the parties' shares add up: modulo 2**64, and as float64 once opened.
    total = np.zeros((2, 1), dtype=np.int64)
    for word in words:
        total += word
    return float(sums.from_words(total.astype(np.float64))[0])


@given(PARTS)
@example([2.0**49, 2.0**49, -(2.0**49)])
@example([1e-9, -1e9])
def test_a_sum_is_right_whatever_its_size(parts: list[float]) -> None:
    expected = sum(parts)
    tolerance = 2.0**-36 + abs(expected) * 2.0**-50 + max(map(abs, parts)) * 2.0**-50
    assert abs(opened(parts) - expected) <= tolerance


def test_numbers_of_one_value_are_constant_and_others_are_not() -> None:
    assert sums.is_constant(0.1, 1e-17)
    assert sums.is_constant(1e12, 1e-4)
    assert not sums.is_constant(0.0, 1e-8)
    assert not sums.is_constant(1e6, 1.0)
