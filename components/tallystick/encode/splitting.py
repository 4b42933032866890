"""Which rows train, validate and test, when it is not only the seed that decides.

``seed``     The rows that have ids are ordered by a public hash of id and seed, and the first of
             them test: no message, and the same ids test in another session too, whatever the
             order of rows there. Rows without ids are ordered by their number.
``time``     The latest rows by a column that one party holds test, those before them validate.
``stratify`` Each part has the same portion of each class, drawn by the label's owner in private:
             drawn by a seed that others know, it would tell them about the classes.

In the last two the owner sends every party the part of each row, and nothing else. Where parties
hold different rows, each does so for its own.
"""

# N = rows of the owner.

import hashlib
import secrets
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.encode.label import Label
from tallystick.encode.layout import Holdings
from tallystick.encode.own import OwnRows
from tallystick.runtime.errors import DataError, ProtocolViolation
from tallystick.runtime.session import Session
from tallystick.tables import ids, split
from tallystick.tables.split import TEST, TRAIN, VALIDATION, Split

SEED, TIME, STRATIFY = WAYS = ("seed", "time", "stratify")
Parts = NDArray[np.uint8]


def by_ids(
    columns: Sequence[pa.ChunkedArray], forms: Sequence[str], seed: int
) -> NDArray[np.int64]:
    """Return rows in an order that follows from their ids and the seed alone.

    Args:
        columns: the id columns as text.
        forms: how ids were normalised when they were matched.
        seed: agreed by the parties.
    """
    normal = [ids.normalised(_one(column), forms) for column in columns]
    words_N2 = ids.digests(ids.encoded(normal))[:, :16].copy().view("<u8")
    salt = hashlib.sha256(f"tallystick split by id, seed {seed}".encode()).digest()
    # Odd factors, so that every bit of an id's digest counts, in another way for each seed.
    first, second = (int.from_bytes(salt[i : i + 8], "big") | 1 for i in (0, 8))
    key_N = words_N2[:, 0] * np.uint64(first) + words_N2[:, 1] * np.uint64(second)
    return np.lexsort((words_N2[:, 0], key_N))


def by_time(times_N: NDArray[np.float64], test: float, validation: float) -> Parts:
    """Return the part of each row: the latest test, those before them validate."""
    latest_N = np.argsort(-times_N, kind="stable")
    return split.cut(latest_N, test, validation).part_N


def stratified(label: Label, test: float, validation: float) -> Parts:
    """Draw the part of each row, class by class; a number by tenths of its range of ranks."""
    places_N = label.values_N.astype(np.int64)
    if not label.classes:
        ranks_N = np.argsort(np.argsort(label.values_N, kind="stable"))
        places_N = ranks_N * 10 // max(len(ranks_N), 1)
    generator = np.random.Generator(np.random.Philox(key=secrets.randbits(128)))
    part_N = np.full(len(places_N), TRAIN, dtype=np.uint8)
    for place in np.unique(places_N):
        rows = generator.permutation(np.flatnonzero(places_N == place))
        num_test, num_validation = round(len(rows) * test), round(len(rows) * validation)
        part_N[rows[:num_test]] = TEST
        part_N[rows[num_test : num_test + num_validation]] = VALIDATION
    return part_N


def known_to_all(
    own: OwnRows, forms: Sequence[str], seed: int, test: float, validation: float
) -> Split:
    """Return the split of rows that all parties hold, by the seed."""
    if own.ids and forms:
        return split.cut(by_ids(own.ids, forms, seed), test, validation)
    return split.by_number(own.rows, seed, test, validation)


def settle(
    session: Session,
    own: OwnRows,
    holdings: Holdings,
    *,
    way: str,
    horizontal: bool,
    test: float,
    validation: float,
) -> Split:
    """Let the owners say which part their rows belong to.

    Raises:
        DataError: a part that must have rows has none; at every party.
        ProtocolViolation: an owner sent something else than parts.
    """
    owner = holdings.time_owner if way == TIME else holdings.label_owner
    mine: Parts | None = None
    if horizontal or owner == session.party:
        if way == TIME:
            assert own.times_N is not None
            mine = by_time(own.times_N, test, validation)
        else:
            assert own.label is not None
            mine = stratified(own.label, test, validation)
    owners = session.parties if horizontal else (owner,)
    sent = _tell(session, mine, {party: holdings.rows[party] for party in owners})
    drawn = Split(np.concatenate([sent[party] for party in owners]))
    counts = drawn.counts()
    if not counts["train_rows"] or not counts["test_rows"]:
        raise DataError(
            f"{len(drawn.part_N)} rows leave no training or no test rows when split by {way}; "
            "bring more rows, or change test_fraction"
        )
    return drawn


def _tell(session: Session, mine: Parts | None, rows: Mapping[str, int]) -> dict[str, Parts]:
    """Send own parts to all, and take in those of the other owners."""
    found = {party: np.empty(count, dtype=np.uint8) for party, count in rows.items()}
    others = [party for party in session.parties if party != session.party]
    if mine is not None:
        found[session.party] = np.ascontiguousarray(mine)
        for party in others:
            session.mesh.post(party, found[session.party].data)
    receipts = [session.mesh.expect(party, found[party].data) for party in rows if party in others]
    session.mesh.wait(receipts)
    for party, parts in found.items():
        if np.any(parts > TEST):
            raise ProtocolViolation(
                f"party {party!r} did not send the parts of its rows in the agreed form; "
                "check that it runs the same version of tallystick"
            )
    return found


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined
