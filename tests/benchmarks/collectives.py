"""All_reduce over these links and over Gloo in plaintext, by turns.

How long a message takes between two processes changes on a shared machine from minute to minute
by a factor of five, so the two sides are measured again and again in alternation.
"""

import tempfile
from pathlib import Path

import torch
from tallystick.runtime.session import Session

from tests.benchmarks import pair
from tests.benchmarks.operations import median_seconds
from tests.harness import dealer, make_place, run_parties

TURNS = 7


def run() -> dict[str, list[tuple[float, float]]]:
    """Return by name, for each turn, the median seconds over Gloo and over our links."""
    turns: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder))
        with dealer(place):
            for _ in range(TURNS):
                theirs, _ = pair.run(_over_gloo, timeout_s=120)
                mine = run_parties(place, _over_links, timeout_s=120)["alice"]
                if isinstance(mine, BaseException):
                    raise mine
                for name, seconds in theirs.items():
                    turns.setdefault(name, []).append((seconds, mine[name]))
    return turns


def _over_gloo(rank: int, rendezvous: str) -> dict[str, float]:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    seconds = _time()
    dist.destroy_process_group()
    return seconds


def _over_links(session: Session) -> dict[str, float]:
    return _time()


def _time() -> dict[str, float]:
    import torch.distributed as dist

    torch.set_num_threads(1)
    small, large = torch.zeros(1, dtype=torch.int64), torch.zeros(8 << 20, dtype=torch.int64)
    return {
        "all_reduce 8 bytes": median_seconds(dist.all_reduce, small, repeats=500),
        "all_reduce 64 MB": median_seconds(dist.all_reduce, large, repeats=5),
    }
