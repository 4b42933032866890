"""Reading a party's file: ids as written, errors that name the column and show no value."""

import contextlib
import datetime
import gzip
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import streaming as reading
from tallystick.tables.dialect import Dialect

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


def test_a_file_without_a_header_does_not_show_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="first row must hold the column names") as error:
        reading.read(write(tmp_path, f"{PLANTED},4711.5\nb,2\n"), ["id"])
    assert "4711" not in str(error.value)


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


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_the_delimiter_is_found_and_the_quote_declared(
    tmp_path: Path, delimiter: str, quote: str
) -> None:
    lines = [["id", "x", "text"], ["007", "1.5", f"{quote}a{delimiter}b, c; d{quote}"]]
    path = write(tmp_path, "".join(delimiter.join(line) + "\n" for line in lines))
    table = reading.read(path, ["id"], Dialect.parse({"quote": quote}))
    assert table.to_pylist() == [{"id": "007", "x": 1.5, "text": f"a{delimiter}b, c; d"}]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("latin-1", "latin-1"),
        ("cp1250", "cp1250"),
    ],
)
def test_the_encoding_is_found_by_its_mark_or_declared(
    tmp_path: Path, encoding: str, declared: str
) -> None:
    path = write(tmp_path, "id,städte\nß,Köln\n".encode(encoding))
    table = reading.read(path, ["id"], Dialect.parse({"encoding": declared}))
    assert table.to_pylist() == [{"id": "ß", "städte": "Köln"}]


def test_what_is_declared_of_a_table_holds(tmp_path: Path) -> None:
    content = "id;price;code;day;n\n1;1,5;007;31.12.2020;7\n2;?;010;01.02.2021;-\n"
    dialect = Dialect.parse(
        {
            "decimal": ",",
            "missing": ["?", "-"],
            "types": {"code": "category", "day": "date:%d.%m.%Y", "n": "number"},
        }
    )
    expected = [
        {"id": "1", "price": 1.5, "code": "007", "day": datetime.datetime(2020, 12, 31), "n": 7.0},
        {"id": "2", "price": None, "code": "010", "day": datetime.datetime(2021, 2, 1), "n": None},
    ]
    assert reading.read(write(tmp_path, content), ["id"], dialect).to_pylist() == expected
    texts = {"code": ["007", "010"], "day": ["31.12.2020", "01.02.2021"], "n": ["7", "-"]}
    parquet.write_table(
        pa.table({"id": ["1", "2"], "price": [1.5, None], **texts}), tmp_path / "same.parquet"
    )
    assert reading.read(tmp_path / "same.parquet", ["id"], dialect).to_pylist() == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"delimeter": ";"}, "no key 'delimeter'; it knows decimal, delimiter"),
        ({"delimiter": ";;"}, "delimiter must be text of at most 1 signs"),
        ({"encoding": "klingon"}, "encoding must be the name of an encoding"),
        ({"missing": "NA"}, "missing must be a list of texts"),
        ({"types": {"x": "float"}}, "types must be of number, category, date or a form"),
        ({"types": ["x"]}, "types must be a mapping"),
    ],
)
def test_a_poor_declaration_is_refused_by_key(given: dict[str, Any], said: str) -> None:
    with pytest.raises(
        ConfigError, match=re.escape(f"reading.{said}") if "no key" not in said else said
    ):
        Dialect.parse(given)
