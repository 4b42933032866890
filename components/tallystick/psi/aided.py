"""Aided private set intersection: the dealer matches pseudonyms that it cannot read.

Roles
    Party i of P holds a set X_i of n_i ids. The dealer holds nothing.

Messages (all links are mutual TLS)
    1. party i -> every party    c_i, 32 fresh random bytes, and n_i
       every party               k and h, two keys that follow from c_1 ... c_P (see keys.py);
                                 F_k(x), 16 bytes, the pseudonym of x (see pseudonyms.py)
    2. party i -> dealer         how many elements of S_i are in each of R ranges, the minimum, who
                                 learns; then S_i = sort({F_k(x) : x in X_i}), range by range
    3. dealer -> party i         for each range one bit for each element of S_i: whether it is in
                                 S = S_1 n ... n S_P; to those that learn their rows, and only
                                 from when |S| has reached the minimum
       dealer -> party i         whether |S| is at least the minimum, and |S| to those that learn it
    4. party i -> every party    t = BLAKE2b_h(S in ascending order), which must be equal; where
                                 all parties learn their rows

    R follows from the largest n_i. Rows are kept in ascending order of F_k(x), which is a random
    order to anyone without k, and the same at every party. Sorting S_i takes the place of the
    paper's random permutation.

Cost
    4 rounds. Party i sends 16 n_i bytes to the dealer and receives n_i / 8; between parties 32
    bytes of key material and a 32-byte commitment each way (as hex, in JSON).

What each learns
    party       all n_i; |S|, and which of its own ids are in S, unless another result was agreed.
                Of another party's other ids nothing, since it sees no pseudonym of theirs; with
                three parties or more nothing of who else has an id that not all have.
    dealer      n_i, |S| and, among three parties or more, how many elements any of them have in
                common. Of the ids themselves nothing: without k, F_k(x) is a random string, and k
                is drawn anew for each session, so that two sessions cannot be linked.
    must not    k reach the dealer: a holder of both k and S_i can try out every plausible id.

Adversary
    Semi-honest parties and dealer; the dealer colludes with no party. The commitment of message 4
    finds a dealer that answers parties differently by mistake; it is no defence against one that
    cheats all of them alike.

Source
    S. Kamara, P. Mohassel, M. Raykova, S. Sadeghian, "Scaling Private Set Intersection to
    Billion-Element Sets", Financial Cryptography 2014: the server-aided protocol for semi-honest
    parties.
"""

import contextlib
import hashlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tallystick.psi import keys, pseudonyms
from tallystick.psi.intake import OwnIds
from tallystick.psi.matches import Matches, TooFewMatch, Wanted, note
from tallystick.psi.runs import Keys, Rows, SortedRuns, raw
from tallystick.psi.workers import Workers
from tallystick.runtime.dealer.intersection import PSEUDONYM_BYTES, num_ranges
from tallystick.runtime.errors import PeerError, ProtocolViolation
from tallystick.runtime.progress import Progress
from tallystick.runtime.session import Session


def intersect(
    session: Session, own: OwnIds, wanted: Wanted, folder: Path, workers: Workers
) -> Matches:
    """Find the ids that every party holds.

    Args:
        session: the joined session.
        own: this party's ids.
        wanted: who is to learn what.
        folder: where what has no room in memory is spilled.
        workers: not needed here; another protocol's interface is the same.

    Raises:
        TooFewMatch: fewer ids match than ``wanted.minimum``; at every party.
        ProtocolViolation: a message of another form than this protocol has.
    """
    joint, sizes = keys.meet(session, own.count)
    runs = _pseudonyms(own, joint.key("pseudonyms"), folder)
    own.forget()
    ranges = num_ranges(max(sizes))
    matching = session.dealer.match(
        runs.counts(ranges),
        minimum=wanted.minimum,
        bits_to=wanted.rows_to(session.parties),
        number_to=wanted.size_to(session.parties),
        party=session.party,
    )
    commitment = hashlib.blake2b(key=joint.key("row order"), digest_size=32)
    sent: deque[tuple[Keys, Rows]] = deque()
    found: list[Rows] = []
    progress = Progress("ids matched", own.count)

    def tables() -> Iterator[Keys]:
        for keys_K16, rows_K in runs.merged(ranges):
            sent.append((keys_K16, rows_K))
            yield keys_K16
            progress.add(len(rows_K))

    for bits_K in matching.run(tables()):
        keys_K16, rows_K = sent.popleft()
        commitment.update(raw(keys_K16[bits_K]))
        found.append(rows_K[bits_K])
    runs.close()
    if not matching.enough:
        # All have read the dealer's answer once they have heard from each other. Without that,
        # whoever stops first would take the blame at those that have not.
        with contextlib.suppress(PeerError):
            session.exchange({"matches": "too few"})
        raise TooFewMatch(wanted.minimum)
    progress.end()
    return _matches(session, wanted, sizes, matching.matched, found, commitment.hexdigest())


def _pseudonyms(own: OwnIds, key: bytes, folder: Path) -> SortedRuns:
    runs = SortedRuns(PSEUDONYM_BYTES, folder)
    for encoded, rows_N in own.pieces():
        runs.add(pseudonyms.pseudonyms(key, encoded), rows_N)
    return runs


def _matches(
    session: Session,
    wanted: Wanted,
    sizes: tuple[int, ...],
    size: int | None,
    found: list[Rows],
    row_order: str,
) -> Matches:
    learns_size = session.party in wanted.size_to(session.parties)
    learns_rows = session.party in wanted.rows_to(session.parties)
    positions = np.concatenate(found) if learns_rows else None
    if learns_size != (size is not None) or (learns_rows and len(positions) != size):  # type: ignore[arg-type]
        raise ProtocolViolation(
            "the dealer's count of matches is not that of the rows that it marked; "
            "check that it runs the same version of tallystick"
        )
    note(session, wanted, sizes, size)
    return Matches(
        sizes=sizes,
        size=size,
        positions=positions,
        row_order=row_order if learns_rows else "",
    )
