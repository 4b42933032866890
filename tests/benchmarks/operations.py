"""The operations that both sides time, on CrypTen's tensors."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

REPEATS = 9

# name: (shape of x, shape of y or None, the operation)
OPERATIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None, Callable[..., Any]]] = {
    "mul 100x100": ((100, 100), (100, 100), lambda x, y: x * y),
    "mul 1000x1000": ((1000, 1000), (1000, 1000), lambda x, y: x * y),
    "matmul 100x100": ((100, 100), (100, 100), lambda x, y: x @ y),
    "matmul 512x512": ((512, 512), (512, 512), lambda x, y: x @ y),
    "conv2d 32x1x28x28, 16x1x5x5": (
        (32, 1, 28, 28),
        (16, 1, 5, 5),
        lambda x, y: x.conv2d(y, stride=1, padding=2),
    ),
    "relu 100x100": ((100, 100), None, lambda x: x.relu()),
    "relu 500x500": ((500, 500), None, lambda x: x.relu()),
    "sigmoid 100x100": ((100, 100), None, lambda x: x.sigmoid()),
    "softmax 100x10": ((100, 10), None, lambda x: x.softmax(1)),
}


def time_operations(share: Callable[[torch.Tensor], Any]) -> dict[str, float]:
    """Return the median seconds of each operation.

    Args:
        share: turns a tensor of the first party into a secret.
    """
    torch.manual_seed(0)
    seconds = {}
    for name, (left, right, operation) in OPERATIONS.items():
        inputs = [share(torch.randn(shape)) for shape in (left, right) if shape is not None]
        operation(*inputs)
        seconds[name] = median_seconds(operation, *inputs)
    return seconds


def median_seconds(function: Callable[..., Any], *arguments: Any, repeats: int = REPEATS) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
