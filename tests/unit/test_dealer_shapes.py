"""The shapes of products, against torch itself."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tallystick.runtime.dealer.shapes import product_shape

SIZES = st.integers(1, 6)


def by_torch(operation, left, right, options):
    a, b = torch.zeros(left), torch.zeros(right)
    return tuple(getattr(torch, operation)(a, b, **options).shape)


@given(st.lists(SIZES, max_size=4), st.lists(SIZES, max_size=4), st.sampled_from(["mul", "matmul"]))
def test_products_have_the_shape_that_torch_gives_or_are_refused(left, right, operation):
    try:
        expected = by_torch(operation, left, right, {})
    except (RuntimeError, IndexError):
        with pytest.raises(ValueError, match=r"."):
            product_shape(operation, tuple(left), tuple(right), {})
    else:
        assert product_shape(operation, tuple(left), tuple(right), {}) == expected


@given(
    operation=st.sampled_from(["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]),
    batch=SIZES,
    channels=st.integers(1, 3),
    sizes=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
)
def test_convolutions_have_the_shape_that_torch_gives(
    operation, batch, channels, sizes, kernel, stride, padding, dilation, groups
):
    dims = int(operation[-2])
    left = (batch, channels * groups, *sizes[:dims])
    right = (4, channels, *kernel[:dims])
    if "transpose" in operation:
        right = (channels * groups, 2, *kernel[:dims])
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    try:
        expected = by_torch(operation, left, right, options)
    except RuntimeError:
        assume(False)
    assume(0 not in expected)
    assert product_shape(operation, left, right, options) == expected
