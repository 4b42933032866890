"""Reading a party's file: ids as written, errors that name the column and show no value."""

import contextlib
import datetime
import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from tallystick.runtime.errors import DataError
from tallystick.tables import reading

PLANTED = "planted4711"


def write(folder: Path, content: str | bytes, name: str = "guest.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_parquet(folder: Path, name: str = "guest.parquet", **columns: pa.Array) -> Path:
    path = folder / name
    parquet.write_table(pa.table(columns), path)
    return path


def test_ids_in_a_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, "id,x\n007,1\n7,2\nNA,3\n1e3,4\ntrue,5\n")
    table = reading.read(path, ["id"])
    assert table.column("id").to_pylist() == ["007", "7", "NA", "1e3", "true"]
    assert table.column("x").to_pylist() == [1, 2, 3, 4, 5]


def test_a_number_that_turns_out_late_to_be_a_fraction_is_read_as_one(tmp_path: Path) -> None:
    path = write(tmp_path, "id,x\n" + "1,2\n" * 400_000 + "2,0.5\n")
    assert reading.read(path, ["id"]).column("x")[-1].as_py() == 0.5


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, prefix: bytes) -> None:
    assert reading.read(write(tmp_path, prefix + b"id\na\n"), ["id"]).column_names == ["id"]


def test_quoted_fields_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,x\n"a,1\nb",1\n')
    assert reading.read(path, ["id"]).column("id").to_pylist() == ["a,1\nb"]


def test_a_compressed_csv_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"id,x\n007,1\n"), "guest.csv.gz")
    assert reading.read(path, ["id"]).column("id").to_pylist() == ["007"]


def test_parquet_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "data", id=pa.array([7]), x=pa.array([0.5]))
    assert reading.read(path, ["id"]).to_pylist() == [{"id": "7", "x": 0.5}]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([7], pa.int8()), "7"),
        (pa.array(["007"]), "007"),
        (pa.array(["007"], pa.large_string()), "007"),
        (pa.array(["007"]).dictionary_encode(), "007"),
        (pa.array([datetime.date(2020, 1, 2)]), "2020-01-02"),
    ],
)
def test_parquet_ids_become_text(tmp_path: Path, values: pa.Array, text: str) -> None:
    column = reading.read(write_parquet(tmp_path, id=values), ["id"]).column("id")
    assert column.type == pa.string()
    assert column.to_pylist() == [text]


def test_parquet_ids_that_are_fractions_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, id=pa.array([4711.5]))
    with pytest.raises(
        DataError, match=r"id column 'id' of 'guest\.parquet' has the type"
    ) as error:
        reading.read(path, ["id"])
    assert "4711" not in str(error.value)


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "year=2020"
    folder.mkdir()
    assert reading.read(write_parquet(folder, id=pa.array([1])), ["id"]).column_names == ["id"]


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file 'guest.csv'.*check the data path") as error:
        reading.read(tmp_path / "guest.csv", ["id"])
    assert str(tmp_path) not in str(error.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        reading.read(tmp_path, ["id"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "'guest.csv' is empty"),
        ("\n\n", "cannot be read as CSV"),
        ("id,x\n", "column names but no rows"),
        (f"id,id,x\n{PLANTED},2,3\n", "more than one column 'id'"),
        (f"id,x,x\n{PLANTED},2,3\n", "more than one column 'x'"),
        (f",id\n1,{PLANTED}\n", "column 1 of 'guest.csv' has no name"),
        (f"key,x\n{PLANTED},1\n", "no column 'id'; its columns are key, x"),
        (f"id;x\n{PLANTED};1\n", "separated by commas"),
        (f"id,x\n{PLANTED},1,2\n", "row 2 of 'guest.csv' has 3 fields where .* has 2"),
        (f"id,x\na,1\n\n{PLANTED}\n", "row 3 of 'guest.csv' has 1 fields where .* has 2"),
        (f"id,x\n{PLANTED},1\n".encode("utf-16"), "'guest.csv'"),
        (f"id,x\n{PLANTED}\xff,1\n".encode("latin-1"), "in UTF-8"),
        (f"id,\xff\n{PLANTED},1\n".encode("latin-1"), "in UTF-8"),
        (f'id,x\n"{PLANTED},1\n2,3\n', "row 2"),
    ],
)
def test_a_malformed_csv_is_named_and_not_quoted(
    tmp_path: Path, content: str | bytes, what: str
) -> None:
    with pytest.raises(DataError, match=what) as error:
        reading.read(write(tmp_path, content), ["id"])
    assert PLANTED not in str(error.value)
    # Nor may a printed traceback show Arrow's own message.
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_a_file_without_a_header_does_not_show_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="first row must hold the column names") as error:
        reading.read(write(tmp_path, f"{PLANTED},4711.5\nb,2\n"), ["id"])
    assert "4711" not in str(error.value)


def test_a_long_list_of_columns_is_cut(tmp_path: Path) -> None:
    header = ",".join(f"x{i}" for i in range(100))
    with pytest.raises(DataError, match="x39 and 60 more"):
        reading.read(write(tmp_path, f"{header}\n"), ["id"])


@pytest.mark.parametrize(
    "content", [b"PAR1" + PLANTED.encode() * 10, b"PAR1", b"id,x\n1,2\n", PLANTED.encode()]
)
def test_a_damaged_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content, "guest.parquet")
    with pytest.raises(DataError, match=r"'guest.parquet' is .*Parquet file") as error:
        reading.read(path, ["id"])
    assert PLANTED not in str(error.value)


def test_a_flipped_byte_in_parquet_never_shows_an_error_of_arrow(
    tmp_path: Path,
) -> None:
    path = write_parquet(tmp_path, id=pa.array(["a", "b"]), x=pa.array([1, 2]))
    sound = path.read_bytes()
    for position in range(4, len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        # Parquet has no checksum over all of it, so the reading may also succeed.
        with contextlib.suppress(DataError):
            reading.read(path, ["id"])


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], ["id", "x", "x"])
    path = tmp_path / "guest.parquet"
    parquet.write_table(table, path)
    with pytest.raises(DataError, match="more than one column 'x'"):
        reading.read(path, ["id"])


def test_a_row_index_that_was_saved_along_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, id=pa.array([1]), __index_level_0__=pa.array([0]))
    with pytest.raises(DataError, match=r"column 2 .* has no name"):
        reading.read(path, ["id"])
