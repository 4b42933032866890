"""Parties of one cluster behind one Service: one address for all, and whoever answers."""

import dataclasses
from pathlib import Path

import torch
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.session import Session

from tests import harness


def add(session: Session) -> float:
    shared = [
        session.engine.share(
            torch.tensor([float(rank + 1)]) if session.rank == rank else None, rank, (1,)
        )
        for rank in range(session.world_size)
    ]
    total = sum(shared[1:], start=shared[0])
    return float(session.ledger.reveal(total, "sum", why="a test"))


def test_parties_that_share_an_address_find_each_other_by_their_keys(tmp_path: Path) -> None:
    place = harness.make_place(tmp_path, 3)
    members = place.load()
    # The kernel hands each connection to any of the listeners, as a Service does.
    shared = [
        dataclasses.replace(party, address=members.parties[0].address) for party in members.parties
    ]
    Consortium(parties=tuple(shared), dealer=members.dealer).save(place.consortium)
    with harness.dealer(place):
        for _ in range(3):
            assert set(harness.run_parties(place, add).values()) == {6.0}
