"""Time the evaluation of a binary classifier on shares: all metrics, curves and groups.

``python -m tests.benchmarks.evaluation [ROWS]`` prints wall seconds, rounds and megabytes. Two
parties and a dealer, one thread each.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tallystick.evaluate import binary
from tallystick.runtime.session import Session

from tests.harness import dealer, make_place, run_parties


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder))
        with dealer(place):
            results = run_parties(place, _party, rows, timeout_s=3000)
    for party, found in results.items():
        print(party, found)


def _party(session: Session, rows: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(rows)
    label = (torch.rand(rows, generator=generator) < 0.2).double()
    score = torch.randn(rows, generator=generator, dtype=torch.float64) + 1.5 * label - 2
    group = torch.nn.functional.one_hot(torch.randint(0, 3, (rows,), generator=generator), 3)

    def share(value: torch.Tensor) -> Any:
        mine = value.double() if session.rank == 0 else None
        return session.engine.share(mine, 0, value.shape)

    secrets, members = (share(score), share(label)), share(group)
    wall = time.monotonic()
    rounds, sent = session.rounds, _sent(session)
    result = binary.evaluate(
        session.engine, session.ledger, *secrets, min_count=10, group_NG=members
    )
    return {
        "wall_s": round(time.monotonic() - wall, 1),
        "rounds": session.rounds - rounds,
        "sent_mb": round((_sent(session) - sent) / 1e6, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "auc": result.metrics["auc"],
    }


def _sent(session: Session) -> int:
    return sum(link.counters.sent_bytes for link in session.mesh.links.values())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
