"""Stock CrypTen 0.4.1 over Gloo with its default provider: two processes, one thread each."""

import os
import sys

import torch
import torch.onnx
from torch.onnx._internal.torchscript_exporter import registration

from tests.benchmarks import pair
from tests.benchmarks.operations import median_seconds, time_operations


def run() -> dict[str, float]:
    """Return median seconds by name, as the first party measured them."""
    seconds: dict[str, float] = pair.run(_party, timeout_s=600)[0]
    return seconds


def _party(rank: int, rendezvous: str) -> dict[str, float]:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", RENDEZVOUS=rendezvous, DISTRIBUTED_BACKEND="gloo"
    )
    # torch 2.13 has moved a module that CrypTen imports.
    sys.modules.setdefault("torch.onnx._internal.registration", registration)
    import crypten

    torch.set_num_threads(1)
    crypten.init()
    with crypten.no_grad():
        seconds = time_operations(lambda tensor: crypten.cryptensor(tensor, src=0))
    draw = crypten.common.rng.generate_random_ring_element
    seconds["draw 10^7 elements"] = median_seconds(draw, (10**7,), repeats=5)
    return seconds
