"""torch.distributed over links: the backend on which CrypTen's communicator runs unchanged.

Every collective is a direct exchange in one round: each member sends what the others need and
takes what they send. All members of a group call the same collectives in the same order, so frames
need no tags.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ReduceOp

from tallystick.runtime.frames import Receipt
from tallystick.runtime.mesh import Mesh

BACKEND = "tallystick"
_KEPT_BYTES = 1 << 20, 1 << 26
"""The least and the most memory that is kept for what comes from one peer."""
_NOTHING = torch.empty(0, dtype=torch.uint8)


def payload(tensor: Tensor) -> memoryview:
    """Return the bytes of a contiguous CPU tensor of any dtype, without a copy."""
    assert tensor.is_contiguous()
    if tensor.numel() == 0:
        return memoryview(b"")
    # A single element counts as contiguous whatever its stride, which `view` would not have.
    flat = tensor.detach().as_strided((tensor.numel(),), (1,))
    return flat.view(torch.uint8).numpy().data


class _Work(dist.Work):
    """An operation under way; ``wait`` finishes it."""

    def __init__(self, finish: Callable[[], None] | None = None, result: Any = None) -> None:
        super().__init__()
        self._finish = finish
        self._result = result

    def wait(self, timeout: timedelta | None = None) -> bool:
        if self._finish is not None:
            finish, self._finish = self._finish, None
            finish()
        return True

    def is_completed(self) -> bool:
        return self._finish is None

    def is_success(self) -> bool:
        return self._finish is None

    def result(self) -> Any:
        return self._result

    def get_future(self) -> "torch.futures.Future[Any]":
        self.wait()
        future: torch.futures.Future[Any] = torch.futures.Future()
        future.set_result(self._result)
        return future


class LinkProcessGroup(dist.ProcessGroup):
    """A group of members of one mesh.

    Args:
        mesh: the session's links.
        members: names in group-rank order.
        rank: this member's group rank.
    """

    def __init__(self, mesh: Mesh, members: Sequence[str], rank: int) -> None:
        super().__init__(rank, len(members))
        self._mesh = mesh
        self._members = list(members)
        self._rank = rank
        self._peers = [(r, name) for r, name in enumerate(members) if r != rank]
        self._rooms: dict[int, Tensor] = {}
        self._name = ""

    # torch looks these up when a group is made and when it is destroyed.
    def getBackendName(self) -> str:  # noqa: D102
        return BACKEND

    def setGroupName(self, name: str) -> None:  # noqa: D102
        self._name = name

    def getGroupName(self) -> str:  # noqa: D102
        return self._name

    @property
    def group_name(self) -> str:  # noqa: D102
        return self._name

    def allreduce(self, tensors: list[Tensor], opts: Any = None) -> _Work:
        """Combine everybody's tensor at everybody: each sends its tensor to each, in one round."""
        (tensor,) = tensors
        self._combine(tensor, self._exchange(tensor), opts)
        return _Work(result=tensors)

    def reduce(self, tensors: list[Tensor], opts: Any) -> _Work:
        """Combine everybody's tensor at the root."""
        (tensor,) = tensors
        if self._rank != opts.rootRank:
            return self._send(tensor, opts.rootRank)
        self._combine(tensor, self._collect(tensor), opts)
        return _Work(result=tensors)

    def broadcast(self, tensors: list[Tensor], opts: Any) -> _Work:
        """Copy the root's tensor to everybody."""
        (tensor,) = tensors
        if self._rank != opts.rootRank:
            return self._receive(tensor, opts.rootRank)
        source = tensor.contiguous()
        for _, name in self._peers:
            self._post(name, source)
        self._mesh.wait()
        return _Work(result=tensors)

    def allgather(
        self, output: list[list[Tensor]], inputs: list[Tensor], opts: Any = None
    ) -> _Work:
        """Copy everybody's tensor to everybody."""
        ((outputs,), (tensor,)) = (output, inputs)
        for rank, other in self._exchange(tensor).items():
            outputs[rank].copy_(other)
        outputs[self._rank].copy_(tensor)
        return _Work(result=output)

    def gather(self, output: list[list[Tensor]], inputs: list[Tensor], opts: Any) -> _Work:
        """Copy everybody's tensor to the root."""
        (tensor,) = inputs
        if self._rank != opts.rootRank:
            return self._send(tensor, opts.rootRank)
        (outputs,) = output
        for rank, other in self._collect(tensor).items():
            outputs[rank].copy_(other)
        outputs[self._rank].copy_(tensor)
        return _Work(result=output)

    def scatter(self, output: list[Tensor], inputs: list[list[Tensor]], opts: Any) -> _Work:
        """Hand one tensor of the root's list to each member."""
        (tensor,) = output
        if self._rank != opts.rootRank:
            return self._receive(tensor, opts.rootRank)
        (sources,) = inputs
        kept = [source.contiguous() for source in sources]
        for rank, name in self._peers:
            self._post(name, kept[rank])
        self._mesh.wait()
        tensor.copy_(sources[self._rank])
        return _Work(result=output)

    def send(self, tensors: list[Tensor], dst: int, tag: int = 0) -> _Work:
        """Begin to send; ``wait`` returns when the tensor may change again."""
        (tensor,) = tensors
        source = tensor.contiguous()
        self._post(self._members[dst], source)
        link = self._mesh.links[self._members[dst]]
        # `source` is kept alive by the closure until the link has sent it.
        return _Work(lambda: self._mesh.drive(lambda: source is not None and link.flushed))

    def recv(self, tensors: list[Tensor], src: int, tag: int = 0) -> _Work:
        """Begin to receive; ``wait`` returns when the tensor is there."""
        (tensor,) = tensors
        target, receipt = self._expect(self._members[src], tensor)

        def finish() -> None:
            if receipt is not None:
                # What we posted may not be asked for until we have received this.
                self._mesh.wait([receipt], sent=False)
            if target is not tensor:
                tensor.copy_(target)

        return _Work(finish)

    def barrier(self, opts: Any = None) -> _Work:
        """Wait until everybody is here."""
        self.allreduce([torch.zeros(1, dtype=torch.int64)])
        return _Work()

    def _combine(self, tensor: Tensor, others: dict[int, Tensor], opts: Any) -> None:
        """Combine in place, in rank order: floating-point sums must be the same at everybody."""
        operation = _operation(opts)
        parts = {self._rank: tensor, **others}
        # The first two parts may be overwritten at once; a later one is needed until its turn.
        target = tensor if self._rank < 2 else torch.empty_like(tensor)
        combined = parts[0]
        for rank in range(1, len(self._members)):
            combined = operation(combined, parts[rank], out=target)
        if target is not tensor:
            tensor.copy_(target)

    def _exchange(self, tensor: Tensor) -> dict[int, Tensor]:
        """Send a tensor to each peer and take one like it from each."""
        source = tensor.contiguous()
        expected = {
            rank: self._expect(name, self._room(rank, tensor)) for rank, name in self._peers
        }
        for _, name in self._peers:
            self._post(name, source)
        return self._await(expected)

    def _collect(self, like: Tensor) -> dict[int, Tensor]:
        return self._await(
            {rank: self._expect(name, self._room(rank, like)) for rank, name in self._peers}
        )

    def _room(self, rank: int, like: Tensor) -> Tensor:
        """Return memory for a peer's tensor, which lasts until the next one of that peer.

        Fresh memory costs as much as the bytes that come: the system clears it page by page.
        """
        size = like.numel() * like.element_size()
        least, most = _KEPT_BYTES
        if not least <= size <= most:
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        if self._rooms.get(rank, _NOTHING).numel() < size:
            self._rooms[rank] = torch.empty(size, dtype=torch.uint8)
        return self._rooms[rank][:size].view(like.dtype).view(like.shape)

    def _await(self, expected: dict[int, tuple[Tensor, Receipt | None]]) -> dict[int, Tensor]:
        self._mesh.wait([receipt for _, receipt in expected.values() if receipt is not None])
        return {rank: target for rank, (target, _) in expected.items()}

    def _send(self, tensor: Tensor, rank: int) -> _Work:
        source = tensor.contiguous()
        self._post(self._members[rank], source)
        self._mesh.wait()
        return _Work()

    def _receive(self, tensor: Tensor, rank: int) -> _Work:
        self.recv([tensor], rank).wait()
        return _Work(result=[tensor])

    def _post(self, name: str, source: Tensor) -> None:
        if source.numel():
            self._mesh.post(name, payload(source))

    def _expect(self, name: str, tensor: Tensor) -> tuple[Tensor, Receipt | None]:
        """Ask for a tensor's bytes: straight into it where its memory is contiguous."""
        target = tensor if tensor.is_contiguous() else torch.empty(tensor.shape, dtype=tensor.dtype)
        if not target.numel():
            return target, None
        return target, self._mesh.expect(name, payload(target))


def _operation(opts: Any) -> Callable[..., Tensor]:
    wanted = ReduceOp.SUM if opts is None else opts.reduceOp
    for operation, function in (
        (ReduceOp.SUM, torch.add),
        (ReduceOp.BXOR, torch.bitwise_xor),
        (ReduceOp.PRODUCT, torch.mul),
        (ReduceOp.MAX, torch.maximum),
        (ReduceOp.MIN, torch.minimum),
    ):
        if wanted == operation:
            return function
    raise ValueError("a reduction must be one of SUM, BXOR, PRODUCT, MAX, MIN")


def start(mesh: Mesh, members: Sequence[str], rank: int) -> None:
    """Make the mesh this process's torch.distributed world.

    Args:
        mesh: links to all other members.
        members: names in rank order, this one included.
        rank: this member's rank.
    """

    def make(options: Any, _: Any = None) -> LinkProcessGroup:
        ranks = options.global_ranks_in_group or list(range(len(members)))
        return LinkProcessGroup(mesh, [members[r] for r in ranks], ranks.index(rank))

    # The registry belongs to the process; a later session of the same process registers its own
    # mesh.
    dist.Backend.register_backend(BACKEND, make, extended_api=True, devices=["cpu"])
    dist.init_process_group(BACKEND, store=dist.HashStore(), rank=rank, world_size=len(members))


def stop() -> None:
    """Undo :func:`start`."""
    if dist.is_initialized():
        dist.destroy_process_group()
