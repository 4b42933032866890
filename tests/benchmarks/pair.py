"""Two processes of a peer's, which know nothing of our engine: it adapts CrypTen in place."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from tests.slow_net import DEVICE, Host

_spawn = multiprocessing.get_context("spawn")


def run(
    party: Callable[[int, str], Any], timeout_s: float, hosts: Sequence[Host] = ()
) -> list[Any]:
    """Run ``party(rank, rendezvous)`` in both, and return what they return, in rank order.

    Args:
        party: a module's function; its rendezvous is a ``file://`` address for torch.distributed.
        timeout_s: how long both together may take.
        hosts: where each of them is, unless both are on this machine.
    """
    results: Any = _spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        place = f"file://{folder}/rendezvous"
        processes = [
            _spawn.Process(target=_one, args=(party, rank, place, hosts, results))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        try:
            found = dict(results.get(timeout=timeout_s) for _ in processes)
        finally:
            for process in processes:
                process.join(10)
                process.kill()
    return [found[0], found[1]]


def _one(
    party: Callable[[int, str], Any],
    rank: int,
    rendezvous: str,
    hosts: Sequence[Host],
    results: Any,
) -> None:
    if hosts:
        hosts[rank].enter()
        os.environ["GLOO_SOCKET_IFNAME"] = DEVICE
    results.put((rank, party(rank, rendezvous)))
