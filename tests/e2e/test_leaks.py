"""Planted ids and values, searched for in every file that a job leaves: byte by byte."""

import base64
import hashlib
import itertools
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.tables import preparation, split

from tests.e2e import patients, plaintext, running

pytestmark = pytest.mark.timeout(300)
PARTIES = ("alice", "bob")
LENGTHS = (8, 16)
"""Of "731.9182", a float64 or two float32; of two int64 or the first bytes of a digest."""


class Needles:
    """What must not be found, by what it is: the secrets of one party."""

    def __init__(self, party: str, table: pd.DataFrame, job: running.Ended) -> None:
        self.party = party
        self.kinds: dict[bytes, str] = {}
        for name in table[patients.ID]:
            self._add(f"hash of an id of {party}", _hashes(name))
        values = table[patients.planted_columns(party)].to_numpy()
        self._add(f"value of {party} as text", (f"{value:.4f}".encode() for value in values.flat))
        self._add(f"value of {party} as float64", map(np.float64.tobytes, values.flat))
        aligned = job.aligned(party)[patients.planted_columns(party)].to_numpy()
        drawn = split.Split.read(job.task(party, "encode") / "shares", len(aligned))
        prepared = plaintext.standardised(aligned, drawn.train_rows)
        self._add(f"prepared value of {party} as float64", map(np.float64.tobytes, prepared.flat))
        # A number of four bytes, or one that is mostly zeros, turns up by chance in random shares
        # and half-empty pages. Two neighbours do not.
        for table_N2 in (values, aligned):
            self._add(f"values of {party} as float32", map(_float32, neighbours(table_N2)))
        for table_N2 in (values, aligned, prepared):
            self._add(f"values of {party} in fixed point", _fixed_point(neighbours(table_N2)))

    def _add(self, kind: str, needles: Iterable[bytes]) -> None:
        for needle in needles:
            length = max(length for length in LENGTHS if length <= len(needle))
            self.kinds[needle[:length]] = kind

    def found_in(self, content: bytes) -> set[str]:
        found = set()
        for length in LENGTHS:
            wanted = {needle for needle in self.kinds if len(needle) == length}
            windows = {content[i : i + length] for i in range(len(content) - length + 1)}
            found |= {self.kinds[needle] for needle in wanted & windows}
        return found


def _hashes(name: str) -> Iterator[bytes]:
    # As it is written, and with its length before it, as ids of several columns are joined.
    for form in (name.encode(), struct.pack(">I", len(name)) + name.encode()):
        for digest in (
            hashlib.sha256(form).digest(),
            hashlib.sha1(form, usedforsecurity=False).digest(),
            hashlib.md5(form, usedforsecurity=False).digest(),
            hashlib.blake2b(form).digest(),
            hashlib.blake2b(form, digest_size=32).digest(),
            hashlib.blake2b(form, digest_size=16).digest(),
        ):
            yield digest
            yield digest.hex().encode()
            yield base64.b64encode(digest)


def neighbours(values_N2: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield the pairs that lie beside each other, whether rows or columns are written."""
    yield from map(tuple, values_N2)
    for column_N in values_N2.T:
        yield from itertools.pairwise(column_N)


def _float32(pair: tuple[float, float]) -> bytes:
    return struct.pack("<2f", *pair)


def _fixed_point(pairs: Iterable[tuple[float, float]]) -> Iterator[bytes]:
    for pair in pairs:
        encoded = [round(value * 2**PRECISION_BITS) for value in pair]
        # Small numbers stand in files for lengths and offsets too.
        if min(map(abs, encoded)) > 1 << 12:
            yield struct.pack("<2q", *encoded)


def readable(path: Path) -> bytes:
    """A file's bytes, and what they say where they are compressed or scattered over pages."""
    content = path.read_bytes()
    if content.startswith(b"PAR1"):
        content += _plain(pd.read_parquet(path))
    if content.startswith(b"SQLite format 3"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            content += "\n".join(connection.iterdump()).encode()
    return content


def _plain(table: pd.DataFrame) -> bytes:
    numeric = table.select_dtypes("number").to_numpy(np.float64)
    return table.to_csv(index=False).encode() + numeric.tobytes() + numeric.T.tobytes()


@pytest.fixture(scope="module")
def haystacks(good_job: running.Ended) -> dict[str, bytes]:
    """Everything that the job left, by its path; and what it said on the terminal."""
    found = {
        path.relative_to(good_job.out).as_posix(): readable(path)
        for path in sorted(good_job.out.rglob("*"))
        if path.is_file()
    }
    return {**found, "<terminal>": (good_job.stdout + good_job.stderr).encode()}


@pytest.fixture(scope="module")
def needles(good_job: running.Ended, tables: patients.Tables) -> dict[str, Needles]:
    return {party: Needles(party, tables.of[party], good_job) for party in PARTIES}


@pytest.fixture(scope="module")
def findings(haystacks: dict[str, bytes], needles: dict[str, Needles]) -> dict[str, set[str]]:
    """What was found where: ids by their unmistakable beginning, all else by its bytes."""
    found = defaultdict(set)
    for path, content in haystacks.items():
        for party in PARTIES:
            found[path] |= needles[party].found_in(content)
        for who in ("ALICE", "BOB", "BOTH"):
            if f"ID-{who}-".encode() in content or f"ID-{who}-".encode("utf-16-le") in content:
                found[path].add(f"id of {who.lower()}")
    return {path: kinds for path, kinds in found.items() if kinds}


def own_table(path: str) -> str | None:
    """The party whose aligned table a file is, the one artifact that holds a party's own rows."""
    parts = path.split("/")
    return parts[0] if parts[-2:] == ["aligned", "aligned.parquet"] else None


@pytest.mark.parametrize("party", PARTIES)
def test_the_search_finds_what_is_there(
    findings: dict[str, set[str]],
    needles: dict[str, Needles],
    tables: patients.Tables,
    good_job: running.Ended,
    party: str,
) -> None:
    aligned = next(kinds for path, kinds in findings.items() if own_table(path) == party)
    assert {"id of both", f"value of {party} as text", f"value of {party} as float64"} <= aligned
    values = tables.of[party][patients.planted_columns(party)].to_numpy()
    raised = [
        values.astype(np.float32).tobytes(),
        values.T.astype(np.float32).tobytes(),
        np.rint(values * 2**PRECISION_BITS).astype(np.int64).tobytes(),
        hashlib.sha256(tables.of[party][patients.ID].iloc[3].encode()).hexdigest().encode(),
    ]
    assert all(needles[party].found_in(b"xyz" + content) for content in raised)
    fitted = preparation.Preparation.read(good_job.task(party, "encode") / "shares")
    own = pa.Table.from_pandas(good_job.aligned(party), preserve_index=False)
    shared = np.rint(fitted.apply(own) * 2**PRECISION_BITS).astype(np.int64)
    assert f"values of {party} in fixed point" in needles[party].found_in(shared.T.tobytes())


def test_the_search_covers_logs_tracking_and_artifacts(haystacks: dict[str, bytes]) -> None:
    names = {path.rpartition("/")[2] for path in haystacks}
    assert {
        "pipeline.log",
        "dealer.log",
        "mlflow.db",
        "report.html",
        "shares.arrow",
        "parameters.safetensors",
        "manifest.json",
        "executor_output.json",
        "summary.json",
        "<terminal>",
    } <= names


@pytest.mark.parametrize(("party", "other"), [("alice", "bob"), ("bob", "alice")])
def test_nothing_of_a_party_is_found_outside_its_own_folder(
    findings: dict[str, set[str]], party: str, other: str
) -> None:
    elsewhere = {
        path: kinds for path, kinds in findings.items() if not path.startswith(f"{party}/")
    }
    leaks = {
        path: secrets
        for path, kinds in elsewhere.items()
        if (secrets := {kind for kind in kinds if party in kind})
    }
    assert leaks == {}
    # The ids of the intersection are the other party's too, in its table and nowhere else.
    both = {path for path, kinds in elsewhere.items() if "id of both" in kinds}
    assert {own_table(path) for path in both} == {other}


def test_a_partys_own_rows_stand_in_its_aligned_table_alone(
    findings: dict[str, set[str]],
) -> None:
    assert {own_table(path) for path in findings} == set(PARTIES)


@pytest.mark.parametrize("party", PARTIES)
def test_ids_that_do_not_match_are_left_behind_by_the_first_step(
    findings: dict[str, set[str]], party: str
) -> None:
    assert not any(f"id of {party}" in kinds for kinds in findings.values())
