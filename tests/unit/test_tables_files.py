"""Where a table lies: folders, and addresses of other file systems."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs, parquet
from tallystick.runtime.errors import DataError
from tallystick.tables import files, streaming

PIECES = ["id,x\na,1\nb,2\n", "id,x\nc,3\n", "x,id\n4.5,d\n"]
EXPECTED = [{"id": name, "x": x} for name, x in zip("abcd", [1, 2, 3, 4.5], strict=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "table"
    (folder / "within").mkdir(parents=True)
    (folder / "part-1.csv").write_text(PIECES[0])
    (folder / "part-2.csv.gz").write_bytes(gzip.compress(PIECES[1].encode()))
    (folder / "part-3.csv").write_text(PIECES[2])
    (folder / "_SUCCESS").touch()
    (folder / ".hidden").write_text("nothing of the table")
    return folder


def test_a_folder_is_read_file_by_file_in_name_order(folder: Path) -> None:
    (folder / "part-3.csv").write_text("x,id\n4,d\n")
    found = streaming.read(folder, ["id"]).to_pylist()
    assert found == [*EXPECTED[:3], {"id": "d", "x": 4}]


def test_csv_and_parquet_may_stand_in_one_folder(folder: Path) -> None:
    (folder / "part-3.csv").unlink()
    parquet.write_table(pa.table({"id": ["d"], "x": [4]}), folder / "part-3.parquet")
    assert [row["x"] for row in streaming.read(folder, ["id"]).to_pylist()] == [1, 2, 3, 4]


def test_an_address_is_read_by_the_file_system_that_it_names(folder: Path) -> None:
    (folder / "part-3.csv").unlink()
    for location in (folder, folder / "part-1.csv"):
        remote = streaming.read(f"file://{location}", ["id"])
        assert remote.to_pylist() == streaming.read(location, ["id"]).to_pylist()


def test_an_object_store_is_read_as_a_folder_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "part-3.csv").unlink()
    parquet.write_table(pa.table({"id": ["d"], "x": [4]}), folder / "part-3.parquet")
    # Stands in for a bucket: a file system that is not this machine's.
    bucket = fs.SubTreeFileSystem(str(folder.parent), fs.LocalFileSystem())
    monkeypatch.setattr(
        files.fs, "FileSystem", type("Any", (), {"from_uri": lambda uri: (bucket, uri[5:])})
    )
    assert [row["x"] for row in streaming.read("s3://table", ["id"]).to_pylist()] == [1, 2, 3, 4]
    source = streaming.Source("s3://table/part-1.csv", ["id"])
    (folder / "part-1.csv").write_text("id,x\nz,9\nz,9\nz,9\n")
    with pytest.raises(DataError, match=r"'part-1\.csv' was changed while it was read"):
        list(source.batches())
    with pytest.raises(DataError, match=r"no file 'part-9\.csv'"):
        streaming.read("s3://table/part-9.csv", ["id"])


@pytest.mark.parametrize("location", ["s9://bucket/table.csv", "s3:///", "file://relative"])
def test_an_address_that_leads_nowhere_is_named(location: str) -> None:
    with pytest.raises(DataError, match="check the address"):
        files.find(location)
