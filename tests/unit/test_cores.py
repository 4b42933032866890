from pathlib import Path

import pytest
import torch
from tallystick.runtime import cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "400000 100000"}, 4),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_limit_is_the_control_groups(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert cores.limit(tmp_path) == limit


def test_torch_keeps_to_it_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(cores, "limit", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    cores.keep_to_the_limit()
    assert told == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores.keep_to_the_limit()
    assert told == [4]
