"""Products modulo 2**64, against torch's own on numbers small enough to be exact in float64."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tallystick.runtime.dealer import bilinear
from tallystick.runtime.dealer.shapes import product_shape
from torch import Tensor

SIZES = st.integers(1, 5)
PLACES = st.fixed_dictionaries(
    {
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    }
)


@pytest.fixture(autouse=True, scope="module", params=[1, 60, bilinear.AT_ONCE])
def _in_pieces(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether all is computed at once or a row at a time, the result is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bilinear, "AT_ONCE", request.param)
        yield


def small(*shape: int) -> Tensor:
    return torch.randint(-1000, 1000, shape)


def agrees(operation: str, x: Tensor, y: Tensor, exact: Tensor, options: Any) -> None:
    """The product, its shape, and the sum of two such products."""
    found = bilinear.apply(operation, x, y, options)
    assert torch.equal(found, exact)
    assert product_shape(operation, tuple(x.shape), tuple(y.shape), options) == tuple(exact.shape)
    start = torch.full_like(exact, 5)
    total = bilinear.add(start, operation, (x, 3 * x), (y, y + 1), options)
    both = 5 + exact + bilinear.apply(operation, 3 * x, y + 1, options)
    assert torch.equal(total, both)


@given(st.lists(SIZES, min_size=2, max_size=3), SIZES)
def test_matrices_and_dot_products(shape: list[int], other: int) -> None:
    x, y = small(*shape), small(*shape[:-2], shape[-1], other)
    exact = (x.double() @ y.double()).long()
    agrees("matmul", x, y, exact, {})
    agrees("matmul_tn", x.transpose(-1, -2).contiguous(), y, exact, {})
    agrees("matmul_nt", x, y.transpose(-1, -2).contiguous(), exact, {})
    z = small(*shape)
    agrees("mul", x, z, x * z, {})
    agrees("dot", x, z, (x * z).sum(-1), {})


@settings(deadline=None)
@given(
    batch=SIZES,
    channels=SIZES,
    kernels=SIZES,
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    places=PLACES,
)
def test_convolutions_and_their_gradients(
    batch: int,
    channels: int,
    kernels: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    places: Any,
) -> None:
    x, w = small(batch, channels, *size), small(kernels, channels, *kernel)
    x_real, w_real = x.double().requires_grad_(), w.double().requires_grad_()
    try:
        exact = torch.conv2d(x_real, w_real, **places)
    except RuntimeError:
        assume(False)
    agrees("conv2d", x, w, exact.detach().long(), places)
    g = small(*exact.shape)
    exact.backward(g.double())
    assert x_real.grad is not None
    assert w_real.grad is not None
    agrees("conv2d_kernel", x, g, w_real.grad.long(), {**places, "kernel": kernel})
    rim = tuple(
        size[i]
        - (g.shape[i + 2] - 1) * places["stride"][i]
        + 2 * places["padding"][i]
        - places["dilation"][i] * (kernel[i] - 1)
        - 1
        for i in range(2)
    )
    options = {**places, "output_padding": rim}
    if all(r < max(places["stride"][i], places["dilation"][i]) for i, r in enumerate(rim)):
        agrees("conv_transpose2d", g, w, x_real.grad.long(), options)


@pytest.mark.parametrize("operation", sorted(bilinear.OPERATIONS - {"conv2d_kernel"}))
def test_products_wrap_around(operation: str) -> None:
    """The ring's largest numbers: float64 in between would lose their low bits."""
    shape = (3,) * (int(operation[-2]) + 2 if operation.startswith("conv") else 2)
    x, y = torch.full(shape, 2**62 + 1), torch.full(shape, 5)
    ones = bilinear.apply(operation, torch.ones_like(x), torch.ones_like(y), {})
    value = (5 * (2**62 + 1) + 2**63) % 2**64 - 2**63
    assert torch.equal(bilinear.apply(operation, x, y, {}), ones * value)


def test_the_work_of_a_product_is_its_multiplications() -> None:
    places = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    assert bilinear.work("mul", (7, 1), (3,), {}) == 21
    assert bilinear.work("dot", (7, 3), (7, 3), {}) == 21
    assert bilinear.work("matmul", (2, 3), (3, 5), {}) == 30
    assert bilinear.work("matmul_tn", (3, 2), (3, 5), {}) == 30
    assert bilinear.work("matmul_nt", (2, 3), (5, 3), {}) == 30
    by_hand = 4 * 8 * 6 * 6 * 3 * 5 * 5  # images, kernels, places, channels, kernel
    assert bilinear.work("conv2d", (4, 3, 10, 10), (8, 3, 5, 5), places) == by_hand
    kernel = {**places, "kernel": (5, 5)}
    assert bilinear.work("conv2d_kernel", (4, 3, 10, 10), (4, 8, 6, 6), kernel) == by_hand
    assert bilinear.work("conv_transpose2d", (4, 8, 6, 6), (8, 3, 5, 5), places) == by_hand
