"""The contract of torch.distributed, for everything that CrypTen's communicator calls.

Parties are threads, each with links over TLS and a process group; at the end they are processes.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tallystick.runtime.errors import PeerLost
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.process_group import LinkProcessGroup
from torch import Tensor
from torch.distributed import ReduceOp

from tests import harness
from tests.harness import Place

DTYPES = (
    torch.int64,
    torch.int32,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.float32,
    torch.float64,
)
SHAPES = ((), (0,), (1,), (1000,), (3, 0, 2), (10, 20, 5))
CASES = [*product(DTYPES, SHAPES), (torch.int64, (10**6,)), (torch.uint8, (1000, 1000))]


class Party:
    """One member: its group, its rank, and how many there are."""

    def __init__(self, mesh: Mesh, names: tuple[str, ...], rank: int) -> None:
        self.mesh = mesh
        self.names = names
        self.rank = rank
        self.size = len(names)
        self.group = LinkProcessGroup(mesh, names, rank)


Everybody = Callable[[Callable[[Party], Any]], dict[str, Any]]


@pytest.fixture
def everybody(members: Place) -> Iterator[Everybody]:
    meshes = {
        name: Mesh(links) for name, links in harness.connected(members, members.parties).items()
    }
    parties = {
        name: Party(meshes[name], members.parties, rank)
        for rank, name in enumerate(members.parties)
    }

    def one(function: Callable[[Party], Any], party: Party) -> Any:
        try:
            return function(party)
        except BaseException:
            party.mesh.abort("Error", "its test failed", None)
            raise

    def run(function: Callable[[Party], Any]) -> dict[str, Any]:
        results = harness.together({n: partial(one, function, p) for n, p in parties.items()})
        errors = [result for result in results.values() if isinstance(result, BaseException)]
        for error in sorted(errors, key=lambda error: isinstance(error, PeerLost)):
            raise error
        return results

    yield run
    for mesh in meshes.values():
        mesh.close()


def values(rank: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * rank + len(shape))
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=dtype)
    low, high = (0, 2) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return torch.randint(low, high, shape, generator=generator, dtype=torch.int64).to(dtype)


def laid_out(tensor: Tensor, *, strided: bool) -> Tensor:
    """Return an equal tensor, on request one whose memory has gaps."""
    if not strided or tensor.dim() == 0:
        return tensor.clone()
    wide = torch.empty((*tensor.shape, 3), dtype=tensor.dtype)[..., 1]
    assert tensor.numel() < 2 or not wide.is_contiguous()
    return wide.copy_(tensor)


def cases() -> Iterator[tuple[torch.dtype, tuple[int, ...], bool]]:
    for (dtype, shape), strided in product(CASES, (False, True)):
        yield dtype, shape, strided


def total(parts: list[Tensor], op: Any) -> Tensor:
    result = parts[0]
    for part in parts[1:]:
        result = result ^ part if op == ReduceOp.BXOR else result + part
    return result


def test_all_reduce(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        options = dist.AllreduceOptions()
        for (dtype, shape, strided), op in product(cases(), (ReduceOp.SUM, ReduceOp.BXOR)):
            if op == ReduceOp.BXOR and dtype.is_floating_point:
                continue
            parts = [values(rank, dtype, shape) for rank in range(party.size)]
            mine = laid_out(parts[party.rank], strided=strided)
            options.reduceOp = op
            party.group.allreduce([mine], options).wait()
            # Exactly, for floating point too: everybody adds in the same order.
            assert torch.equal(mine, total(parts, op)), (dtype, shape, strided, op)

    everybody(work)


def test_all_reduce_of_ten_million_elements(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        mine = torch.arange(10**7) + party.rank
        party.group.allreduce([mine], dist.AllreduceOptions()).wait()
        expected = torch.arange(10**7) * party.size + sum(range(party.size))
        assert torch.equal(mine, expected)

    everybody(work)


def test_reduce(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        options = dist.ReduceOptions()
        for (dtype, shape, strided), root in product(cases(), range(party.size)):
            parts = [values(rank, dtype, shape) for rank in range(party.size)]
            mine = laid_out(parts[party.rank], strided=strided)
            options.rootRank, options.reduceOp = root, ReduceOp.SUM
            party.group.reduce([mine], options).wait()
            expected = total(parts, ReduceOp.SUM) if party.rank == root else parts[party.rank]
            assert torch.equal(mine, expected), (dtype, shape, strided, root)

    everybody(work)


def test_broadcast(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        options = dist.BroadcastOptions()
        for (dtype, shape, strided), root in product(cases(), range(party.size)):
            mine = laid_out(values(party.rank, dtype, shape), strided=strided)
            options.rootRank = root
            party.group.broadcast([mine], options).wait()
            assert torch.equal(mine, values(root, dtype, shape)), (dtype, shape, strided, root)

    everybody(work)


def test_all_gather(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        for dtype, shape, strided in cases():
            parts = [values(rank, dtype, shape) for rank in range(party.size)]
            outputs = [laid_out(torch.zeros_like(part), strided=strided) for part in parts]
            mine = laid_out(parts[party.rank], strided=strided)
            party.group.allgather([outputs], [mine]).wait()
            assert all(map(torch.equal, outputs, parts)), (dtype, shape, strided)

    everybody(work)


def test_gather(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        options = dist.GatherOptions()
        for (dtype, shape, strided), root in product(cases(), range(party.size)):
            parts = [values(rank, dtype, shape) for rank in range(party.size)]
            mine = laid_out(parts[party.rank], strided=strided)
            outputs = [laid_out(torch.zeros_like(part), strided=strided) for part in parts]
            options.rootRank = root
            party.group.gather([outputs] if party.rank == root else [], [mine], options).wait()
            assert party.rank != root or all(map(torch.equal, outputs, parts)), (dtype, shape)

    everybody(work)


def test_scatter(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        options = dist.ScatterOptions()
        for (dtype, shape, strided), root in product(cases(), range(party.size)):
            parts = [values(rank, dtype, shape) for rank in range(party.size)]
            mine = laid_out(torch.zeros_like(parts[0]), strided=strided)
            inputs = [laid_out(part, strided=strided) for part in parts]
            options.rootRank = root
            party.group.scatter([mine], [inputs] if party.rank == root else [], options).wait()
            assert torch.equal(mine, parts[party.rank]), (dtype, shape, strided, root)

    everybody(work)


def test_send_and_receive_around_a_ring(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        to, source = (party.rank + 1) % party.size, (party.rank - 1) % party.size
        for dtype, shape, strided in cases():
            mine = laid_out(values(party.rank, dtype, shape), strided=strided)
            theirs = laid_out(torch.zeros_like(mine), strided=strided)
            sending = party.group.send([mine], to)
            party.group.recv([theirs], source).wait()
            sending.wait()
            assert sending.is_completed()
            assert torch.equal(theirs, values(source, dtype, shape)), (dtype, shape, strided)

    everybody(work)


def test_receives_that_are_asked_for_early_keep_their_order(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        others = [rank for rank in range(party.size) if rank != party.rank]
        received = {(rank, i): torch.zeros(100) for rank in others for i in range(5)}
        receiving = [party.group.recv([t], rank) for (rank, _), t in received.items()]
        sent = [torch.full((100,), 10.0 * party.rank + i) for i in range(5)]
        sending = [party.group.send([t], rank) for t in sent for rank in others]
        for wanted in (*reversed(receiving), *sending):
            wanted.wait()
        for (rank, i), tensor in received.items():
            assert (tensor == 10.0 * rank + i).all()

    everybody(work)


def test_a_big_exchange_in_all_directions_cannot_deadlock(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        others = [rank for rank in range(party.size) if rank != party.rank]
        sending = [party.group.send([torch.ones(2_000_000)], rank) for rank in others]
        for one in sending:  # nobody reads before everybody's sending is done with
            assert not one.is_completed()
        for rank in others:
            theirs = torch.zeros(2_000_000)
            party.group.recv([theirs], rank).wait()
            assert theirs.all()
        for one in sending:
            one.wait()

    everybody(work)


def test_a_barrier_lets_nobody_through_before_the_last(everybody: Everybody) -> None:
    reached: list[int] = []

    def work(party: Party) -> None:
        for _ in range(20):
            reached.append(party.rank)
            party.group.barrier().wait()
            assert len(reached) % party.size == 0
            party.group.barrier().wait()

    everybody(work)


def test_another_reduction_is_refused(everybody: Everybody) -> None:
    def work(party: Party) -> None:
        options = dist.AllreduceOptions()
        options.reduceOp = ReduceOp.BAND
        with pytest.raises(ValueError, match="one of SUM, BXOR"):
            party.group.allreduce([torch.ones(2, dtype=torch.int64)], options)

    everybody(work)


def _as_crypten_calls_it(session: Any) -> None:
    """What the communicator of CrypTen does, in a process of its own, oracle beside it."""
    import crypten.communicator

    communicator = crypten.communicator.get()
    rank, size = communicator.get_rank(), communicator.get_world_size()
    parts = [values(r, torch.int64, (50, 7)) for r in range(size)]
    mine = parts[rank]
    transposed = mine.t()
    for op in (ReduceOp.SUM, ReduceOp.BXOR):
        assert torch.equal(communicator.all_reduce(mine, op=op), total(parts, op))
        assert torch.equal(communicator.all_reduce(transposed, op=op), total(parts, op).t())
    batched = communicator.all_reduce([mine, transposed, mine[::2]], batched=True)
    expected = total(parts, ReduceOp.SUM)
    assert all(map(torch.equal, batched, [expected, expected.t(), expected[::2]]))
    for root in range(size):
        reduced = communicator.reduce(mine, root)
        assert torch.equal(reduced, expected) if rank == root else reduced is None
        gathered = communicator.gather(mine, root)
        assert rank != root or all(map(torch.equal, gathered, parts))
        scattered = communicator.scatter(parts if rank == root else [mine] * size, root)
        assert torch.equal(scattered, parts[rank])
        theirs = communicator.broadcast(mine.clone(), root)
        assert torch.equal(theirs, parts[root])
    assert all(map(torch.equal, communicator.all_gather(mine), parts))
    to, source = (rank + 1) % size, (rank - 1) % size
    sending = communicator.isend(mine, to)
    received = torch.zeros_like(mine)
    communicator.irecv(received, source).wait()
    sending.wait()
    assert torch.equal(received, parts[source])
    if rank == 0:
        communicator.send(mine, 1)
    if rank == 1:
        assert torch.equal(communicator.recv(torch.zeros_like(mine), 0), parts[0])
    communicator.barrier()
    # A group of some, in an order of its own; the root is given by its rank in the world.
    few = dist.new_group([1, 0])
    if rank in (0, 1):
        theirs = mine.clone()
        dist.broadcast(theirs, 1, group=few)
        assert torch.equal(theirs, parts[1])
        dist.all_reduce(theirs, group=few)
        assert torch.equal(theirs, parts[1] * 2)
        dist.destroy_process_group(few)
    if size > 2:
        last = dist.new_group([1, 2])
        if rank in (1, 2):
            theirs = mine.clone()
            dist.reduce(theirs, 2, group=last)
            assert rank == 1 or torch.equal(theirs, parts[1] + parts[2])
    communicator.barrier()


def test_crypten_communicates_through_it_unchanged(place: Place) -> None:
    results = harness.run_parties(place, _as_crypten_calls_it)
    assert results == dict.fromkeys(place.parties)
