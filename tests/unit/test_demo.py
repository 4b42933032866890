"""The demonstration's two tables."""

from pathlib import Path

import pytest
from rich.console import Console
from tallystick import demo
from tallystick.runtime.errors import ConfigError


def test_each_side_has_its_own_columns_and_patients() -> None:
    tables = demo.tables()
    alice, bob = tables["alice"], tables["bob"]
    assert set(alice.columns) & set(bob.columns) == {demo.ID}
    assert demo.LABEL in alice
    assert len(alice.columns) - 2 == 10
    assert len(bob.columns) - 1 == 20
    ours, theirs = set(alice[demo.ID]), set(bob[demo.ID])
    assert ours - theirs
    assert theirs - ours
    assert len(ours & theirs) > 300
    assert not alice[demo.ID].is_monotonic_increasing
    assert not bob[demo.ID].is_monotonic_increasing


def test_the_tables_are_the_same_each_time() -> None:
    first, second = demo.tables(), demo.tables()
    assert all(first[party].equals(second[party]) for party in demo.PARTIES)


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="holds files that no run has made"):
        demo.run(tmp_path, Console(quiet=True))
    assert (tmp_path / "job.yaml").read_text() == "mine"
