"""Round the ring: every party multiplies the points of every party by its own secret number.

In round t party p works on batch t - o of the set of party p - o, for each o from 0 to P - 1: it
hashes and masks its own ids (o = 0), masks what came in the round before (o > 0), sends it on to
party p + 1, and keeps what all have masked (o = P - 1). All batches but a set's last have as many
points, so each party knows what comes next from the sizes of the sets alone.
"""

# N = ids of one party.

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tallystick.psi import group
from tallystick.psi.intake import OwnIds
from tallystick.psi.pseudonyms import KEY_BYTES, pseudonyms
from tallystick.psi.runs import Keys, Rows, SortedRuns, raw
from tallystick.psi.tasks import Work
from tallystick.psi.workers import Workers
from tallystick.runtime.dealer.intersection import PSEUDONYM_BYTES, num_ranges
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.progress import Progress
from tallystick.runtime.session import Session
from tallystick.tables.ids import DIGEST_BYTES, digests

BATCH_POINTS = 1 << 14
WORK_POINTS = 1 << 10
"""So many are one worker's at a time."""
_KEPT = slice(1, 1 + PSEUDONYM_BYTES)
"""The bytes of a point that are compared; the lowest bit of the first byte is always 0."""


def pass_points(
    session: Session, own: OwnIds, sizes: tuple[int, ...], folder: Path, workers: Workers
) -> tuple[Rows, SortedRuns]:
    """Mask everybody's points.

    Returns:
        For each of this party's points, in the order in which they went out, its row in the file;
        and what all have masked of the set of the next party, 16 bytes of each point, with its
        place in the order in which that party had sent it.

    Raises:
        ProtocolViolation: what came is no point.
    """
    return _Ring(session, sizes, folder, workers).run(own)


class _Ring:
    def __init__(
        self, session: Session, sizes: tuple[int, ...], folder: Path, workers: Workers
    ) -> None:
        self._session = session
        self._mesh = session.mesh
        self._sizes = sizes
        self._folder = folder
        self._workers = workers
        self._secret = group.new_scalar()
        self._progress = Progress("points", sum(sizes))

    def run(self, own: OwnIds) -> tuple[Rows, SortedRuns]:
        session, sizes, parties = self._session, self._sizes, self._session.world_size
        next_party = session.parties[(session.rank + 1) % parties]
        last_party = session.parties[session.rank - 1]
        shuffled = _shuffled(own, self._folder)
        own.forget()
        order: list[Rows] = [np.empty(0, dtype=np.int64)]
        batches = _batches(shuffled, order)
        masked = SortedRuns(PSEUDONYM_BYTES, self._folder)
        arrived: dict[int, Keys] = {}
        rounds = max(-(-size // BATCH_POINTS) for size in sizes) + parties - 1
        for number in range(rounds):
            outgoing, receipts = [], []
            for offset in range(parties):
                count = self._count(session.rank - offset, number - offset)
                if not count:
                    continue
                content = next(batches) if offset == 0 else arrived.pop(offset)
                assert len(content) == count
                points = self._mask(content, hashed=offset == 0, sender=last_party)
                if offset < parties - 1:
                    outgoing.append(points)
                else:
                    first = (number - offset) * BATCH_POINTS
                    masked.add(
                        np.ascontiguousarray(points[:, _KEPT]),
                        np.arange(first, first + count, dtype=np.int64),
                    )
            for points in outgoing:
                self._mesh.post(next_party, raw(points))
            for offset in range(1, parties):
                # The party before has just worked on what is ours to work on in the next round.
                count = self._count(session.rank - offset, number - offset + 1)
                if count:
                    arrived[offset] = np.empty((count, group.POINT_BYTES), dtype=np.uint8)
                    buffer = raw(arrived[offset])
                    receipts.append(self._mesh.expect(last_party, buffer))
            self._mesh.wait(receipts)
        shuffled.close()
        self._progress.end()
        return np.concatenate(order), masked

    def _count(self, owner: int, batch: int) -> int:
        """Return how many points there are in a batch of a party's set."""
        size = self._sizes[owner % len(self._sizes)]
        return max(0, min(size - batch * BATCH_POINTS, BATCH_POINTS)) if batch >= 0 else 0

    def _mask(self, content: Keys, *, hashed: bool, sender: str) -> Keys:
        works = (
            Work(self._secret + content[start : start + WORK_POINTS].tobytes(), {"hashed": hashed})
            for start in range(0, len(content), WORK_POINTS)
        )
        found = []
        for done in self._workers.map("mask", works):
            if not done.about["valid"]:
                raise ProtocolViolation(
                    f"{sender!r} sent bytes that are no point of the group; nothing of this "
                    "session was kept. Check that every party runs the same version of tallystick"
                )
            found.append(done.payload)
            self._progress.add(len(done.payload) // group.POINT_BYTES)
        points = np.frombuffer(b"".join(found), dtype=np.uint8)
        return points.reshape(-1, group.POINT_BYTES)


def _shuffled(own: OwnIds, folder: Path) -> SortedRuns:
    """Bring the ids' digests into a random order, by a key that nobody else has."""
    key = secrets.token_bytes(KEY_BYTES)
    runs = SortedRuns(PSEUDONYM_BYTES + DIGEST_BYTES, folder)
    for encoded, rows_N in own.pieces():
        runs.add(np.hstack([pseudonyms(key, encoded), digests(encoded)]), rows_N)
    return runs


def _batches(shuffled: SortedRuns, order: list[Rows]) -> Iterator[Keys]:
    """Cut the digests into batches; ``order`` takes the rows that they belong to."""
    held = np.empty((0, DIGEST_BYTES), dtype=np.uint8)
    for records, rows_K in shuffled.merged(num_ranges(shuffled.count)):
        order.append(rows_K)
        held = np.concatenate([held, records[:, PSEUDONYM_BYTES:]])
        while len(held) >= BATCH_POINTS:
            yield held[:BATCH_POINTS]
            held = held[BATCH_POINTS:]
    if len(held):
        yield held
