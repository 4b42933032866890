"""From a file to ids and back to rows in order: small files in memory, large ones in pieces."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from tallystick.psi import aligned, intake, runs, store
from tallystick.psi.workers import Workers
from tallystick.runtime.errors import DataError
from tallystick.tables import ids, streaming
from tallystick.tables.streaming import Source


def take_in(path: Path, columns: tuple[str, ...] = ("id",), **changes: Any) -> intake.OwnIds:
    options = {"forms": ids.DEFAULT_FORMS, "keep_first": False, "folder": path.parent}
    with Workers(changes.pop("workers", 1)) as workers:
        return intake.take_in(Source(path, columns), workers=workers, **{**options, **changes})


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything small, so that a small file takes the way of a large one."""
    monkeypatch.setattr(streaming, "CSV_BLOCK_BYTES", 4096)
    monkeypatch.setattr(intake, "HELD_BYTES", 0)
    monkeypatch.setattr(runs, "HELD_BYTES", 0)
    monkeypatch.setattr(store, "HELD_BYTES", 3000)
    monkeypatch.setattr(runs, "RUN_RECORDS", 300)
    monkeypatch.setattr(aligned, "GROUP_ROWS", 100)
    monkeypatch.setattr(aligned, "PIECE_BYTES", 5000)


def by_row(own: intake.OwnIds) -> dict[int, bytes]:
    return {
        int(row): encoded
        for piece, rows in own.pieces()
        for encoded, row in zip(piece.to_pylist(), rows, strict=True)
    }


def expected(values: list[tuple[str, ...]]) -> dict[int, bytes]:
    return {row: ids.encode([ids.normalise(v) for v in value]) for row, value in enumerate(values)}


def table(rows: int = 1000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [f" P-{number:05} " for number in rng.permutation(rows)]
    return pd.DataFrame({"id": names, "x": rng.normal(size=rows), "note": ["ä, b\nc"] * rows})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("in_pieces")
def test_every_row_has_its_id_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("tallystick.psi.workers.WORTH_S", 0.0)
    table().to_csv(tmp_path / "a.csv", index=False)
    own = take_in(tmp_path / "a.csv", workers=workers)
    assert (own.rows, own.count, own.held) == (1000, 1000, None)
    assert by_row(own) == expected([(name,) for name in table()["id"]])
    assert own.profile.shapes == {"A-99999": 1000}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("matching", [0, 1, 100, 333, 1000])
def test_rows_are_written_in_the_order_that_is_asked_for(
    tmp_path: Path, request: pytest.FixtureRequest, large: bool, kind: str, matching: int
) -> None:
    if large:
        request.getfixturevalue("in_pieces")
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        table().to_csv(path, index=False)
    else:
        table().to_parquet(path, index=False)
    own = take_in(path)
    assert (own.held is None) == large
    positions = np.random.default_rng(1).permutation(1000)[:matching]
    aligned.write(tmp_path / "out.parquet", own, positions, tmp_path)
    found = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(
        found, table().iloc[positions].reset_index(drop=True), check_dtype=False
    )
    assert {path.name for path in tmp_path.iterdir()} == {path.name, "out.parquet"}


@pytest.mark.usefixtures("in_pieces")
def test_a_column_whose_type_shows_late_is_written_with_it(tmp_path: Path) -> None:
    frame = table()
    frame["x"] = 7
    frame["x"] = frame["x"].astype(object)
    frame.loc[999, "x"] = "late"
    frame.to_csv(tmp_path / "a.csv", index=False)
    own = take_in(tmp_path / "a.csv")
    assert own.rows == 1000
    aligned.write(tmp_path / "out.parquet", own, np.array([999, 0]), tmp_path)
    assert pd.read_parquet(tmp_path / "out.parquet")["x"].tolist() == ["late", "7"]


@pytest.mark.usefixtures("in_pieces")
def test_a_file_that_changed_before_its_rows_were_written_is_refused(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "a.csv", index=False)
    own = take_in(tmp_path / "a.csv")
    table(1001).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"'a\.csv' was changed while it was read"):
        aligned.write(tmp_path / "out.parquet", own, np.arange(10), tmp_path)


@pytest.mark.parametrize("large", [False, True])
def test_of_rows_that_repeat_an_id_the_first_can_be_kept(
    tmp_path: Path, request: pytest.FixtureRequest, large: bool
) -> None:
    if large:
        request.getfixturevalue("in_pieces")
    rng = np.random.default_rng(3)
    values = [f"a{number}" for number in rng.integers(0, 400, size=1000)]
    pd.DataFrame({"id": values}).to_csv(tmp_path / "a.csv", index=False)
    own = take_in(tmp_path / "a.csv", keep_first=True)
    first = {value: row for row, value in reversed(list(enumerate(values)))}
    assert own.count == len(first) == own.profile.distinct
    assert own.profile.duplicates == 1000 - len(first)
    assert sorted(by_row(own)) == sorted(first.values())


@pytest.mark.parametrize(
    ("rows", "columns", "what"),
    [
        ([("planted", "1"), ("b", ""), ("c", "  ")], ("key", "day"), "'day' is empty in 2 of 3"),
        ([("planted", "1"), ("planted ", "1"), ("planted", "1")], ("key", "day"), "2 of 3 rows"),
        ([("", "planted")], ("key", "day"), "'key' is empty in 1 of 1 rows"),
    ],
)
def test_bad_ids_are_counted_and_refused_and_the_owner_is_shown_the_counts(
    tmp_path: Path, rows: list[tuple[str, str]], columns: tuple[str, ...], what: str
) -> None:
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "a.csv", index=False)
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(DataError, match=what) as error:
        take_in(tmp_path / "a.csv", columns)
    assert "planted" not in str(error.value)
    assert "planted" not in said.getvalue()
    assert json.loads(said.getvalue())["event"] == "profile"


def test_the_same_key_on_other_days_is_no_repetition(tmp_path: Path) -> None:
    pd.DataFrame({"key": ["a", "a"], "day": ["1", "2"]}).to_csv(tmp_path / "a.csv", index=False)
    assert take_in(tmp_path / "a.csv", ("key", "day")).count == 2


def test_nulls_in_parquet_are_empty_ids(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": pa.array([1, None, 3])}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'id' is empty in 1 of 3 rows"):
        take_in(tmp_path / "a.parquet")


def test_numbers_dates_and_text_meet_across_kinds_of_files(tmp_path: Path) -> None:
    days = pd.to_datetime(["2020-01-02", "1999-12-31"])
    pd.DataFrame({"id": [7, 12], "day": days}).to_parquet(tmp_path / "a.parquet", index=False)
    (tmp_path / "b.csv").write_text("id,day\n007,2020-01-02\n12.0,1999-12-31\n")
    found = [
        sorted(by_row(take_in(tmp_path / name, ("id", "day"), forms=["integer"])).items())
        for name in ("a.parquet", "b.csv")
    ]
    assert found[0] == found[1]


def test_the_profile_counts_and_shows_shapes(tmp_path: Path) -> None:
    values = ["12345-AB"] * 2 + ["12346-AB", "ab"]
    pd.DataFrame({"id": values}).to_csv(tmp_path / "a.csv", index=False)
    profile = take_in(tmp_path / "a.csv", keep_first=True).profile
    assert profile.as_json() == {
        "rows": 4,
        "distinct": 3,
        "duplicates": 1,
        "empty": {"id": 0},
        "shapes": {"99999-AA": 0.75, "aa": 0.25},
        "shapes_from_rows": 4,
    }
