"""Sorted runs against sorting in memory, spilled and not; nothing is left on the disk."""

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallystick.psi import runs
from tallystick.psi.runs import SortedRuns
from tallystick.runtime.errors import DataError

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
# Few bytes, so that keys often begin alike, or are the same.
KEYS = st.lists(st.lists(st.sampled_from([0, 1, 255]), min_size=16, max_size=16), max_size=40)


def oracle(keys: np.ndarray, rows: np.ndarray) -> list[tuple[bytes, int]]:
    return sorted((key.tobytes(), int(row)) for key, row in zip(keys, rows, strict=True))


def flat(parts: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[bytes, int]]:
    return [
        (key.tobytes(), int(row))
        for keys, rows in parts
        for key, row in zip(keys, rows, strict=True)
    ]


@QUICK
@given(
    values=KEYS,
    cuts=st.lists(st.integers(0, 40), max_size=4),
    ranges=st.sampled_from([1, 2, 64]),
    small=st.booleans(),
)
def test_records_come_back_in_the_order_of_their_keys(
    tmp_path: Path, values: list[list[int]], cuts: list[int], ranges: int, small: bool
) -> None:
    keys = np.array(values, dtype=np.uint8).reshape(-1, 16)
    rows = np.arange(len(keys), dtype=np.int64)[::-1].copy()
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(runs, "RUN_RECORDS", 5)
            patch.setattr(runs, "HELD_BYTES", 200)
        sorter = SortedRuns(16, tmp_path)
        edges = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
        for start, end in itertools.pairwise(edges):
            sorter.add(keys[start:end], rows[start:end])
        merged = list(sorter.merged(ranges))
        assert flat(merged) == oracle(keys, rows)
        assert sorter.counts(ranges) == [len(part) for _, part in merged]
        assert len(merged) == ranges
        width = (1 << 64) // ranges
        for number, (part, _) in enumerate(merged):
            heads = [int.from_bytes(key[:8].tobytes(), "big") // width for key in part]
            assert set(heads) <= {number}
        assert sorter.count == len(keys)
        sorter.close()


def test_what_is_spilled_has_no_name_and_goes_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "HELD_BYTES", 0)
    monkeypatch.setattr(runs, "RUN_RECORDS", 1000)
    rng = np.random.default_rng(0)
    sorter = SortedRuns(32, tmp_path)
    keys = rng.integers(0, 256, size=(5000, 32), dtype=np.uint8)
    for start in range(0, 5000, 500):
        sorter.add(keys[start : start + 500], np.arange(start, start + 500))
    assert sorter._file is not None
    assert os.fstat(sorter._file._file.fileno()).st_size == 5000 * 40
    assert list(tmp_path.iterdir()) == []
    assert all(run.keys is None for run in sorter._runs)
    assert flat(list(sorter.merged(8))) == oracle(keys, np.arange(5000))
    sorter.close()


def test_a_full_disk_is_said_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(runs.os, "pwrite", full)
    with pytest.raises(DataError, match="disk of the output's folder is full; make room"):
        runs.SpillFile(tmp_path).write(np.zeros(3))


def test_a_write_that_takes_a_part_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(runs.os, "pwrite", lambda fd, data, at: write(fd, data[:7], at))
    file = runs.SpillFile(tmp_path)
    first, second = np.arange(10), np.arange(100, 110)
    places = [file.write(first), file.write(second)]
    read = np.empty(10, dtype=np.int64)
    file.read(read, places[1])
    assert (read == second).all()
