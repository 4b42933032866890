"""This runtime, with links, dealer and all: two processes and the dealer's, one thread each."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from tallystick.runtime.randomness import Stream, new_key
from tallystick.runtime.session import Session

from tests.benchmarks.operations import OPERATIONS, median_seconds, time_operations
from tests.harness import dealer, make_place, run_parties


def run() -> tuple[dict[str, float], dict[str, int]]:
    """Return median seconds, and rounds of each operation, as the first party measured them."""
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder))
        with dealer(place):
            results = run_parties(place, _party, timeout_s=600)
    outcome = results["alice"]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _party(session: Session) -> tuple[dict[str, float], dict[str, int]]:
    torch.set_num_threads(1)

    def share(tensor: torch.Tensor) -> Any:
        mine = tensor if session.rank == 0 else None
        return session.engine.share(mine, 0, tensor.shape)

    seconds = time_operations(share)
    stream = Stream(new_key())
    seconds["draw 10^7 elements"] = median_seconds(stream.elements, (10**7,), repeats=5)
    return seconds, {name: _rounds(session, share, name) for name in OPERATIONS}


def _rounds(session: Session, share: Any, name: str) -> int:
    left, right, operation = OPERATIONS[name]
    inputs = [share(torch.randn(shape)) for shape in (left, right) if shape is not None]
    before = session.rounds
    operation(*inputs)
    return session.rounds - before
