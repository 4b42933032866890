"""Reading piece by piece gives what reading whole gives, or says the same of a bad file."""

import datetime
import gzip
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from tallystick.runtime.errors import DataError
from tallystick.tables import reading, streaming
from tallystick.tables.streaming import Restart, Source

PLANTED = "planted4711"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CSV_BLOCK_BYTES", 64)
    monkeypatch.setattr(streaming, "PARQUET_BATCH_ROWS", 3)


def write(folder: Path, content: str | bytes, name: str = "guest.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def streamed(path: Path, ids: tuple[str, ...] = ("id",)) -> tuple[pa.Table, int]:
    """Return the table, and how often the reading began again."""
    source, restarts = Source(path, ids), 0
    while True:
        try:
            batches = list(source.batches())
            break
        except Restart:
            restarts += 1
    if not batches:
        raise reading.no_rows(source.name)
    assert source.done_bytes == source.total_bytes
    assert len(batches) > 1 or source.total_bytes < 200
    return pa.Table.from_batches(batches), restarts


def whole(path: Path) -> pa.Table:
    """Read a table in one piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "CSV_BLOCK_BYTES", 1 << 24)
        patch.setattr(streaming, "PARQUET_BATCH_ROWS", 1 << 20)
        return streaming.read(path, ["id"]).combine_chunks()


def rows(line: str, count: int = 30) -> str:
    return line * count


@pytest.mark.parametrize(
    ("content", "restarts"),
    [
        ("id,x\n" + rows("007,1\n"), 0),
        ("id,x\n" + rows("7,2\n") + "2,0.5\n", 1),
        ("id,x\n" + rows("7,2\n") + "2,0.5\n" + rows("7,2\n") + "2,abc\n", 1),
        ("id,x\n" + rows("7,\n") + "2,5\n", 1),
        ("id,x,y\n" + rows("7,2,\n") + "2,0.5,\n" + "2,2,true\n", 2),
        ("id,x\n" + rows("7,2020-01-02\n") + "2,late\n", 1),
        ("id,id_columns,malformed\n" + rows("7,2,3\n") + "2,0.5,x\n", 2),
        ("id,x\n" + rows('"a,1\nb",2\n'), 0),
        ("id,x\nö,1\n", 0),
    ],
)
def test_pieces_put_together_are_the_whole_table(
    tmp_path: Path, content: str, restarts: int
) -> None:
    path = write(tmp_path, content)
    assert streamed(path) == (whole(path), restarts)


@pytest.mark.parametrize("name", ["guest.csv.gz", "guest.gz"])
def test_a_compressed_file_is_read_in_pieces(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, gzip.compress(b"id,x\n" + b"007,1\n" * 100), name)
    assert streamed(path)[0] == whole(path)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([7] * 8, pa.int8()), "7"),
        (pa.array(["007"] * 8).dictionary_encode(), "007"),
        (pa.array([datetime.date(2020, 1, 2)] * 8), "2020-01-02"),
        (pa.array([datetime.date(2020, 1, 2)] * 8, pa.date64()), "2020-01-02"),
        (pa.array([datetime.datetime(2020, 1, 2)] * 8, pa.timestamp("ns")), "2020-01-02"),
        (pa.array([Decimal(7)] * 8, pa.decimal128(9, 0)), "7"),
    ],
)
def test_parquet_is_read_in_pieces_with_ids_as_text(
    tmp_path: Path, values: pa.Array, text: str
) -> None:
    path = tmp_path / "guest.parquet"
    parquet.write_table(
        pa.table({"id": values, "x": pa.array(["a"] * 8).dictionary_encode()}), path
    )
    table, _ = streamed(path)
    assert table == whole(path)
    assert table.column("id").to_pylist() == [text] * 8
    assert table.schema.types == [pa.string(), pa.string()]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([4711.5]),
        pa.array([True]),
        pa.array([datetime.datetime(2020, 1, 2, 3)], pa.timestamp("us")),
        pa.array([datetime.datetime(2020, 1, 2)], pa.timestamp("us", "UTC")),
        pa.array([Decimal("7.5")]),
        pa.array([b"x"]),
    ],
)
def test_ids_that_have_no_one_text_form_are_refused(tmp_path: Path, values: pa.Array) -> None:
    path = tmp_path / "guest.parquet"
    parquet.write_table(pa.table({"id": values}), path)
    for read in (lambda: streamed(path), lambda: whole(path)):
        with pytest.raises(DataError, match=r"id column 'id' .* has the type .*; store ids as"):
            read()


BAD: list[Any] = [
    "",
    "\n\n",
    "id,x\n",
    f"id,id,x\n{PLANTED},2,3\n",
    f"key,x\n{PLANTED},1\n",
    f"id,x\n{PLANTED},1,2\n",
    "id,x\n" + rows("a,1\n") + f"\n{PLANTED}\n",
    f"id,x\n{PLANTED}\xff,1\n".encode("latin-1"),
    f"id,x\n{rows('a,1')}\n{PLANTED}\xff,1\n".encode("latin-1"),
    ("id,x\n" + rows("a,1\n") + f"{PLANTED}\xff,1\n").encode("latin-1"),
    f"id,\xff\n{PLANTED},1\n".encode("latin-1"),
    f'id,x\n"{PLANTED},1\n2,3\n',
    b"PAR1" + PLANTED.encode() * 10,
]


@pytest.mark.parametrize("content", BAD)
def test_a_bad_file_is_said_to_be_what_it_is_said_to_be_when_read_whole(
    tmp_path: Path, content: str | bytes
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as at_once:
        whole(path)
    with pytest.raises(DataError) as pieces:
        streamed(path)
    assert str(pieces.value) == str(at_once.value)
    assert PLANTED not in str(pieces.value)
    assert pieces.value.__suppress_context__ or pieces.value.__context__ is None


def test_a_row_that_has_no_room_in_a_piece_is_an_error_and_not_quoted(tmp_path: Path) -> None:
    path = write(tmp_path, "id,x\n" + rows("a,1\n") + f"{PLANTED},{'y' * 500}\n")
    with pytest.raises(DataError, match="cannot be read as CSV") as error:
        streamed(path)
    assert PLANTED not in str(error.value)


@pytest.mark.parametrize("name", ["guest.csv", "guest.parquet"])
def test_a_file_that_changes_meanwhile_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = "id,x\n" + rows("007,1\n")
    if name.endswith("csv"):
        path.write_text(content)
    else:
        parquet.write_table(pa.table({"id": ["7"] * 9}), path)
    source = Source(path, ["id"])
    list(source.batches())
    os.utime(path, ns=(0, 0))
    with pytest.raises(DataError, match=r"'guest\.\w+' was changed while it was read; leave"):
        list(source.batches())
