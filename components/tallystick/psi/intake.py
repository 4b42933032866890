"""Take in a party's file: bring its ids into one form and check them, before anybody is dialled."""

# N = rows of one piece.

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.psi import shapes
from tallystick.psi.profile import Profile
from tallystick.psi.pseudonyms import KEY_BYTES
from tallystick.psi.runs import Rows, SortedRuns
from tallystick.psi.store import IdStore
from tallystick.psi.tasks import Work
from tallystick.psi.workers import Workers
from tallystick.runtime.dealer.intersection import num_ranges
from tallystick.runtime.errors import DataError
from tallystick.runtime.progress import Progress
from tallystick.tables import ids, reading
from tallystick.tables.arrays import numbers
from tallystick.tables.streaming import Restart, Source

HELD_BYTES = 256 << 20
"""A file whose columns take less is kept in memory; a larger one is read a second time."""


@dataclass(kw_only=True, slots=True)
class OwnIds:
    """A party's ids, and where they stand in its file."""

    count: int
    """How many different ids there are."""
    rows: int
    """How many rows the file has."""
    profile: Profile
    source: Source
    held: list[pa.RecordBatch] | None
    """The file's content, if it is small."""
    _store: IdStore
    _kept: NDArray[np.bool_] | None
    """Which rows are not repetitions; None where all are not."""

    def pieces(self) -> Iterator[tuple[pa.Array, Rows]]:
        """Give all different ids, encoded, and the rows that they stand in; piece by piece."""
        start = 0
        for piece in self._store.pieces():
            rows_N = np.arange(start, start + len(piece), dtype=np.int64)
            if self._kept is None:
                yield piece, rows_N
            else:
                kept_N = rows_N[self._kept[rows_N]]
                yield piece.take(numbers(kept_N - start)), kept_N
            start += len(rows_N)

    def forget(self) -> None:
        """Give back what the ids take."""
        self._store.close()


def take_in(
    source: Source,
    *,
    forms: Sequence[str],
    keep_first: bool,
    folder: Path,
    workers: Workers,
) -> OwnIds:
    """Read a file's ids.

    Args:
        source: the file.
        forms: how ids are normalised; names out of ``ids.FORMS``.
        keep_first: whether of the rows that have the same id the first is kept. Otherwise they are
            refused.
        folder: where what has no room in memory is spilled.
        workers: who brings ids into one form.

    Raises:
        DataError: the file cannot be read, has no rows, empty ids, or ids that repeat. The
            profile has been shown by then if there is one.
    """
    while True:
        taking = _Taking(source, forms, folder)
        try:
            taking.read(workers)
            break
        except Restart:
            taking.close()
    if taking.rows == 0:
        raise reading.no_rows(source.name)
    kept = None if any(taking.empty) else _kept(taking.names, taking.rows)
    taking.names.close()
    duplicates = 0 if kept is None else taking.rows - int(kept.sum())
    profile = Profile(
        rows=taking.rows,
        distinct=taking.rows - duplicates,
        duplicates=duplicates,
        empty=dict(zip(source.id_columns, taking.empty, strict=True)),
        shapes=taking.shapes,
    )
    profile.show()
    _refuse(profile, keep_first=keep_first)
    return OwnIds(
        count=profile.distinct,
        rows=taking.rows,
        profile=profile,
        source=source,
        held=taking.held,
        _store=taking.store,
        _kept=kept,
    )


class _Taking:
    """One reading of the file, from its start."""

    def __init__(self, source: Source, forms: Sequence[str], folder: Path) -> None:
        self.rows = 0
        self.empty = [0] * len(source.id_columns)
        self.shapes: Counter[str] = Counter()
        self.held: list[pa.RecordBatch] | None = []
        self.store = IdStore(folder)
        self.names = SortedRuns(ids.PSEUDONYM_BYTES, folder)
        """Of each id a pseudonym that means nothing beyond this reading; equal ids show by it."""
        self._key = secrets.token_bytes(KEY_BYTES)
        self._source = source
        self._forms = list(forms)
        self._held_bytes = 0

    def read(self, workers: Workers) -> None:
        """Read all of it.

        Raises:
            Restart: it has to be read again.
        """
        megabytes = Progress("MB read", self._source.total_bytes >> 20)
        for done in workers.map("encode", self._works()):
            count = done.about["rows"]
            split = len(done.payload) - count * ids.PSEUDONYM_BYTES
            self.store.add(done.payload[:split], count)
            names_N16 = np.frombuffer(done.payload, dtype=np.uint8, offset=split)
            self.names.add(
                names_N16.reshape(count, ids.PSEUDONYM_BYTES),
                np.arange(self.rows, self.rows + count, dtype=np.int64),
            )
            self.rows += count
            self.empty = [a + b for a, b in zip(self.empty, done.about["empty"], strict=True)]
            self.shapes = shapes.merged(self.shapes, done.about["shapes"])
            megabytes.reached(self._source.done_bytes >> 20)

    def close(self) -> None:
        """Forget everything."""
        self.store.close()
        self.names.close()

    def _works(self) -> Iterator[Work]:
        for batch in self._source.batches():
            self._hold(batch)
            columns = batch.select(list(self._source.id_columns))
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, columns.schema) as stream:
                stream.write_batch(columns)
            yield Work(self._key + sink.getvalue().to_pybytes(), {"forms": self._forms})

    def _hold(self, batch: pa.RecordBatch) -> None:
        self._held_bytes += batch.nbytes
        if self._held_bytes > HELD_BYTES:
            self.held = None
        if self.held is not None:
            self.held.append(batch)


def _kept(names: SortedRuns, rows: int) -> NDArray[np.bool_] | None:
    """Return which rows do not repeat the id of an earlier one; None where none does."""
    kept = None
    for keys_N16, rows_N in names.merged(num_ranges(names.count)):
        words_N2 = np.ascontiguousarray(keys_N16).view(np.uint64)
        # Equal ids stand together, the first row first.
        again_N = np.flatnonzero((words_N2[1:] == words_N2[:-1]).all(axis=1)) + 1
        if len(again_N):
            kept = np.ones(rows, dtype=np.bool_) if kept is None else kept
            kept[rows_N[again_N]] = False
    return kept


def _refuse(profile: Profile, *, keep_first: bool) -> None:
    for name, empty in profile.empty.items():
        if empty:
            raise DataError(
                f"the id column {name!r} is empty in {empty} of {profile.rows} rows; "
                "fill or drop them"
            )
    if profile.duplicates and not keep_first:
        raise DataError(
            f"{profile.duplicates} of {profile.rows} rows repeat the id of an earlier row (id "
            f"columns: {', '.join(profile.empty)}; ids are compared as 'normalise' says); keep one "
            "row for each id, or set on_duplicate to 'first' on all sides"
        )
