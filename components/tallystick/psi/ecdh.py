"""Private set intersection by Diffie-Hellman, between the parties alone.

Roles
    Party i of P holds a set X_i of n_i ids. There is no third party; the dealer
    hears nothing of it.

Messages (H hashes to the group ristretto255; a_i is a secret number of party i, drawn for this
session; indices are modulo P; all links are mutual TLS)
    1. party i -> every party    n_i, and 32 random bytes for a joint key h
    2. party i -> party i+1      M_i = (a_i H(x) : x in X_i), in a random order
       party j -> party j+1      (a_j p : p in what came), in the order in which it came; and so
                                 on, until party i-1, the last, has multiplied M_i by its number too
       party i-1                 keeps D_i: of each of these points 16 of its 32 bytes
    3. party i-1 -> learners     sort(D_i), range by range as in aided.py
       learner                   S = D_1 n ... n D_P
    4. learner -> all            whether |S| is at least the minimum; |S| where all learn it
    5. party i -> party i-1      where the elements of S stand in sort(D_i), if it is to learn its
                                 rows; with two parties a single receiver asks for all elements
       party i-1 -> party i      where these elements stand in M_i

    Rows are kept in ascending order of D, which is a random order to anyone without all numbers,
    and the same at every party.

Cost
    Each party multiplies the points of all parties, about 50 microseconds each, and hashes its
    own. It sends 32 bytes for each point of P - 1 parties, 16 for each element of D_{i+1} to each
    learner, and 8 for each match twice. Rounds: about one for each 16384 points of the largest set.

What each learns
    party       all n_i; |S|, and which of its own ids are in S, unless another result was agreed.
                With three parties or more, who learns |S| also learns how many ids any group of
                parties has in common, but not which: the D_i come sorted, so nobody knows whose id
                an element is; and party i-1 learns |S| where party i alone learns its rows.
    must not    any a_i leave its party. A party that has all products of guessed ids can try them.

Adversary
    Semi-honest parties that do not collude. Points that are none, or the neutral one, are refused
    by libsodium's multiplication. Below the minimum the parties learn |S|, but not which ids.

    16 bytes are 128 bits, all of them as good as random: the first byte, of which one bit is fixed,
    is not among them. That is more than 40 + log2(n_1 n_2) for any sets of fewer than 2**44 ids, so
    the chance that two ids are taken for one is below 2**-40.

Source
    C. Meadows, "A More Efficient Cryptographic Matchmaking Protocol for Use in the Absence of a
    Continuously Available Third Party", IEEE S&P 1986; B. Huberman, M. Franklin, T. Hogg,
    "Enhancing Privacy and Trust in Electronic Communities", EC 1999, section 3. The group: RFC
    9496. Three parties and more, in a ring: J. Vaidya, C. Clifton, "Secure Set Intersection
    Cardinality with Application to Association Rule Mining", Journal of Computer Security 13(4),
    2005.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from tallystick.psi import keys, ring
from tallystick.psi.intake import OwnIds
from tallystick.psi.matches import Matches, TooFewMatch, Wanted, note
from tallystick.psi.opening import look_up
from tallystick.psi.runs import Keys, Rows, SortedRuns, raw
from tallystick.psi.workers import Workers
from tallystick.runtime.dealer.intersection import MAX_RANGE_ROWS, common, fault, num_ranges
from tallystick.runtime.errors import PeerError, ProtocolViolation
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
        workers: who multiplies points.

    Raises:
        TooFewMatch: fewer ids match than ``wanted.minimum``; at every party.
        ProtocolViolation: a message of another form than this protocol has.
    """
    joint, sizes = keys.meet(session, own.count)
    rows_N, masked = ring.pass_points(session, own, sizes, folder, workers)
    ranges = num_ranges(max(sizes))
    learners = wanted.size_to(session.parties)
    places_M, names_M16 = _compare(session, masked, sizes, ranges, learners)
    size = len(places_M) if session.party in learners else None
    _require_enough(session, wanted, learners, size)
    positions = None
    if wanted.result != "size":
        everything = wanted.result == "receiver" and session.world_size == 2
        asked = None if everything else places_M
        found = look_up(session, masked, sizes, ranges, wanted.rows_to(session.parties), asked)
        if found is not None:
            positions = rows_N[found[places_M] if everything else found]
    masked.close()
    note(session, wanted, sizes, size)
    commitment = hashlib.blake2b(key=joint.key("row order"), digest_size=32)
    commitment.update(raw(names_M16))
    return Matches(
        sizes=sizes,
        size=size,
        positions=positions,
        row_order="" if positions is None else commitment.hexdigest(),
    )


def _compare(
    session: Session,
    masked: SortedRuns,
    sizes: tuple[int, ...],
    ranges: int,
    learners: tuple[str, ...],
) -> tuple[Rows, Keys]:
    """Send the set that this party keeps to the learners, and as one of them find what is common.

    Returns:
        Where the common elements stand in this party's own set, sorted, and these elements; nothing
        at a party that does not learn.
    """
    mesh, parties, rank = session.mesh, session.parties, session.rank
    counts = _agree_counts(session, masked.counts(ranges), sizes)
    places: list[Rows] = [np.empty(0, dtype=np.int64)]
    names: list[Keys] = [np.empty((0, 16), dtype=np.uint8)]
    learns, start = session.party in learners, 0
    for number, (kept_K16, _) in enumerate(masked.merged(ranges)):
        kept_K16 = np.ascontiguousarray(kept_K16)
        for name in learners:
            if name != session.party and len(kept_K16):
                mesh.post(name, raw(kept_K16))
        tables = {(rank + 1) % len(parties): kept_K16}
        receipts = []
        for holder, name in enumerate(parties):
            owner = (holder + 1) % len(parties)
            if learns and name != session.party:
                tables[owner] = np.empty((counts[owner][number], 16), dtype=np.uint8)
                if len(tables[owner]):
                    receipts.append(mesh.expect(name, raw(tables[owner])))
        mesh.wait(receipts)
        if not learns:
            continue
        for owner, table in tables.items():
            if (wrong := fault(table, number, ranges)) is not None:
                raise ProtocolViolation(f"{parties[owner - 1]!r} sent {wrong}")
        found_K = common([tables[owner] for owner in range(len(parties))])[rank]
        places.append(start + np.flatnonzero(found_K))
        names.append(tables[rank][found_K])
        start += len(tables[rank])
    return np.concatenate(places), np.concatenate(names)


def _agree_counts(
    session: Session, own_counts: list[int], sizes: tuple[int, ...]
) -> list[list[int]]:
    """Tell each other how many elements of the kept set are in each range; by the set's owner."""
    answers = session.exchange({"counts": own_counts})
    counts: list[list[int]] = [[] for _ in sizes]
    for holder, (party, answer) in enumerate(zip(session.parties, answers, strict=True)):
        owner, found = (holder + 1) % len(sizes), answer.get("counts")
        if (
            not isinstance(found, list)
            or len(found) != len(own_counts)
            or not all(type(count) is int and 0 <= count <= MAX_RANGE_ROWS for count in found)
            or sum(found) != sizes[owner]
        ):
            raise ProtocolViolation(
                f"party {party!r} sent no proper counts of masked ids; "
                "check that it runs the same version of tallystick"
            )
        counts[owner] = found
    return counts


def _require_enough(
    session: Session, wanted: Wanted, learners: tuple[str, ...], size: int | None
) -> None:
    """Compare what the learners have found, and stop at every party where it is too little."""
    ours: dict[str, object] = {"enough": None if size is None else size >= wanted.minimum}
    if len(learners) > 1:
        ours["matched"] = size
    told = [
        answer
        for party, answer in zip(session.parties, session.exchange(ours), strict=True)
        if party in learners
    ]
    if any(answer != told[0] for answer in told) or type(told[0].get("enough")) is not bool:
        raise ProtocolViolation(
            "the parties have found intersections of different sizes; "
            "check that they run the same version of tallystick"
        )
    if not told[0]["enough"]:
        with contextlib.suppress(PeerError):
            session.exchange({"matches": "too few"})
        raise TooFewMatch(wanted.minimum)
