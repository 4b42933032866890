"""A corpus of malformed tables: each is refused by name, and nothing of it is quoted.

Every case stands for a table that somebody has brought. None gets as far as another party.
"""

import datetime
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tallystick.encode import intake
from tallystick.encode.config import Config
from tallystick.runtime.errors import ConfigError, DataError, TallystickError
from tallystick.tables.split import by_number

PLANTED = "cucumber4711"
GOOD = "id,y,x\n" + "".join(f"r{i},{i % 2},{i * 0.5}\n" for i in range(8))


@dataclass(frozen=True)
class Case:
    content: str | bytes | Callable[[Path], object]
    said: str
    name: str = "data.csv"
    error: type[TallystickError] = DataError
    settings: dict[str, Any] = field(default_factory=dict)


def changed(column: str, value: str, *, row: int = 3) -> str:
    """The good table with another value."""
    lines = [line.split(",") for line in GOOD.splitlines()]
    lines[row][lines[0].index(column)] = value
    return "".join(",".join(line) + "\n" for line in lines)


def of_parquet(**columns: pa.Array) -> Callable[[Path], object]:
    table = {"id": pa.array([f"r{i}" for i in range(8)]), "y": pa.array([0, 1] * 4), **columns}
    return lambda path: parquet.write_table(pa.table(table), path)


def prepared(**rules: Any) -> dict[str, Any]:
    return {"preparation": rules}


def columns(**rules: Any) -> dict[str, Any]:
    return prepared(columns={"x": rules})


def images(path: Path) -> None:
    path.mkdir()
    (path / "one.png").write_bytes(PLANTED.encode())


CASES = {
    "no file": Case(lambda path: None, "there is no file 'data.csv'; check the data path"),
    "an empty file": Case("", "'data.csv' is empty"),
    "blank lines alone": Case("\n\n", "cannot be read as CSV"),
    "a header alone": Case("id,y,x\n", "has column names but no rows"),
    "a name twice": Case(f"id,y,x,x\n{PLANTED},1,2,3\n", "columns 3 and 4 of .* the same name"),
    "an id column twice": Case(f"id,id,y\n{PLANTED},2,3\n", "columns 1 and 2 of .* the same name"),
    "a column without a name": Case(f",id,y\n1,{PLANTED},1\n", "column 1 .* has no name"),
    "no id column": Case(f"key,y,x\n{PLANTED},1,2\n", "no column 'id'; `tallystick inspect` shows"),
    "an id column in capitals": Case(f"ID,y,x\n{PLANTED},1,2\n", "column 'id'; did you mean 'ID'?"),
    "no header": Case(f"{PLANTED},4711.5\nb,2\n", "first row must hold the column names"),
    "no header above words": Case(
        f"{PLANTED},Berlin\nx,y\n", "no column 'id'; `tallystick inspect`"
    ),
    "no header above equal words": Case(f"id,{PLANTED},{PLANTED}\n1,x,y\n", "columns 2 and 3 of"),
    "a row too long": Case(
        f"id,y,x\n{PLANTED},1,2,3\n", "row 2 of 'data.csv' has 4 fields where .* has 3"
    ),
    "a row too short": Case(
        GOOD + f"\n{PLANTED}\n", "row 10 of 'data.csv' has 1 fields where .* has 3"
    ),
    "a quote that never ends": Case(f'id,y,x\n"{PLANTED},1,2\n2,3,4\n', "'data.csv'"),
    "bytes that are no text": Case(
        f"id,y,x\n{PLANTED}\xff,1,2\n".encode("latin-1"), "UTF-8, or declare how it is written"
    ),
    "a name that is no text": Case(
        f"id,y,\xff\n{PLANTED},1,2\n".encode("latin-1"), "UTF-8, or declare how it is written"
    ),
    "another encoding than declared": Case(
        f"id,y,x\n{PLANTED}ö,1,2\n".encode("latin-1"),
        "cannot be read as CSV",
        settings={"reading": {"encoding": "utf-8"}},
    ),
    "another delimiter than declared": Case(
        GOOD, "no column 'id'", settings={"reading": {"delimiter": ";"}}
    ),
    "compressed by name alone": Case(GOOD, "compressed as its name says", name="data.csv.gz"),
    "a compressed file cut short": Case(
        gzip.compress(GOOD.encode() * 500)[:-40], "'data.csv.gz'", name="data.csv.gz"
    ),
    "parquet by name alone": Case(GOOD, "not a Parquet file", name="data.parquet"),
    "parquet cut short": Case(b"PAR1" + PLANTED.encode(), "damaged Parquet file", name="d.parquet"),
    "parquet with a row index": Case(
        of_parquet(__index_level_0__=pa.array(range(8))),
        "column 3 .* has no name",
        name="d.parquet",
    ),
    "ids that are fractions": Case(
        of_parquet(id=pa.array([4711.5] * 8)), "id column 'id' .* has the type", name="d.parquet"
    ),
    "a column of lists": Case(
        of_parquet(x=pa.array([[PLANTED]] * 8)),
        "column 'x' holds values of type .*, which are neither numbers, text nor dates",
        name="d.parquet",
    ),
    "a column of bytes": Case(
        of_parquet(x=pa.array([PLANTED.encode()] * 8)), "column 'x' holds values", name="d.parquet"
    ),
    "a column of durations": Case(
        of_parquet(x=pa.array([datetime.timedelta(1)] * 8)),
        "column 'x' holds values",
        name="d.parquet",
    ),
    "an empty folder": Case(lambda path: path.mkdir(), "the folder 'data.csv' holds no files"),
    "a folder of different tables": Case(
        lambda path: (
            path.mkdir(),
            (path / "a.csv").write_text(GOOD),
            (path / "b.csv").write_text(f"id,y,z\n{PLANTED},1,2\n"),
        ),
        r"'b\.csv' has not the columns of 'a\.csv'",
    ),
    "a folder of other types": Case(
        lambda path: (
            path.mkdir(),
            (path / "a.csv").write_text(GOOD),
            (path / "b.csv").write_text(f"id,y,x\nq,1,{PLANTED}\n"),
        ),
        r"column 'x' of 'b\.csv' has another type",
    ),
    "infinity": Case(changed("x", "inf"), "column 'x' is infinite in 1 of 8 rows"),
    "numbers too large to square": Case(changed("x", "1e300"), "column 'x' .* too large"),
    "numbers without room": Case(
        changed("x", "4711e10"), r"column 'x' .* 2\*\*20 or more", settings={"standardise": False}
    ),
    "a missing value where none may be": Case(
        changed("x", ""), "column 'x' is empty in 1 of 8 rows", settings=columns(fill="refuse")
    ),
    "text where numbers are declared": Case(
        changed("x", PLANTED),
        "column 'x' holds values that are no number, as reading.types declares",
        settings={"reading": {"types": {"x": "number"}}},
    ),
    "no dates where dates are declared": Case(
        changed("x", PLANTED),
        "column 'x' holds values that are no date",
        settings={"reading": {"types": {"x": "date"}}},
    ),
    "a number below -1 with log1p": Case(
        changed("x", "-4711"),
        "column 'x' holds numbers of -1 or less",
        settings=columns(log1p=True),
    ),
    "a value that is not in its order": Case(
        changed("x", PLANTED),
        "column 'x' holds values that are not in its order, in 8 of 8 rows",
        settings=columns(encode="ordinal", order=["low", "high"]),
    ),
    "a rule for another kind of column": Case(
        GOOD, "column 'x' is a number", error=ConfigError, settings=columns(encode="one_hot")
    ),
    "a rule for no column": Case(
        GOOD,
        "no column is called 'z' or matches it",
        error=ConfigError,
        settings=prepared(drop=["z"]),
    ),
    "a label that is empty somewhere": Case(
        changed("y", ""), "the label 'y' is empty in 1 of 8 rows"
    ),
    "a label of one value": Case(
        GOOD.replace(",1,", ",0,"), "the label 'y' has 1 different values"
    ),
    "a label of three values": Case(changed("y", PLANTED), "the label 'y' has 3 different values"),
    "a label that is no number": Case(
        changed("y", PLANTED), "column 'y' holds values of type", settings={"label_kind": "number"}
    ),
    "a class that is not listed": Case(
        changed("y", "1"),
        "label 'y' holds 1 values that label_classes does not list",
        error=ConfigError,
        settings={"label_classes": ("0", "2")},
    ),
    "a time that is empty somewhere": Case(
        changed("x", ""),
        "column 'x', by which rows are split, is empty in 1 of 8 rows",
        settings={"split_by": "time", "split_column": "x"},
    ),
    "one row": Case("id,y,x\nr,1,2\n", "has 1 different values"),
    "an image that is none": Case(images, "image 1 of 1 cannot be read", name="images"),
    "an array of text": Case(
        lambda path: np.save(path, np.full((3, 2, 2), PLANTED)), "holds no numbers", name="x.npy"
    ),
    "an array of objects": Case(
        lambda path: np.save(path, np.full((3, 2, 2), None), allow_pickle=True),
        "cannot be read as an array",
        name="x.npy",
    ),
    "an array of too many dimensions": Case(
        lambda path: np.save(path, np.zeros((2,) * 6)), "array of 6 dimensions", name="x.npy"
    ),
    "an archive without images": Case(
        lambda path: np.savez(path, z=np.zeros(3)), "no array 'images' or 'x'", name="x.npz"
    ),
    "labels that are too few": Case(
        lambda path: np.savez(path, x=np.zeros((3, 2, 2)), y=np.zeros(2)),
        "3 images have 2 labels",
        name="x.npz",
    ),
    "an IDX file cut short": Case(
        b"\0\0\x08\x03" + b"\0\0\0\x05" * 3 + PLANTED.encode(), "as an array", name="x-ubyte"
    ),
    "an IDX file that is none": Case(PLANTED, "cannot be read as an array", name="x-ubyte.gz"),
}


def _before_dialling(config: Config) -> None:
    rows = intake.take_in(config, None)
    # The split follows from the seed, so columns are fitted before anybody is dialled too.
    rows.features.fit(by_number(rows.rows, config.seed, config.test_fraction).train_rows)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_malformed_table_gets_its_named_error_before_anybody_is_dialled(
    tmp_path: Path, case: Case
) -> None:
    path = tmp_path / case.name
    if callable(case.content):
        case.content(path)
    else:
        path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    settings: dict[str, Any] = {
        "party": "alice",
        "session": "s",
        "consortium": tmp_path,
        "identity": tmp_path,
        "reveals": tmp_path,
        "data": str(path),
        "id_columns": ("id",),
        "label": "y",
        "model": "logistic_regression",
        "test_fraction": 0.25,
        "seed": 0,
        "standardise": True,
        "shares": tmp_path / "out" / "shares",
    }
    with pytest.raises(case.error, match=case.said) as caught:
        _before_dialling(Config(**{**settings, **case.settings}))
    assert PLANTED not in str(caught.value)
    assert "4711" not in str(caught.value)
    # Nor may a printed traceback show another library's message.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_good_table_is_good(tmp_path: Path) -> None:
    case = Case(GOOD, "DID NOT RAISE")
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        test_each_malformed_table_gets_its_named_error_before_anybody_is_dialled(tmp_path, case)
