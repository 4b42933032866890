"""The demonstration's two tables."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits
from tallystick import demo, demo_digits
from tallystick.job import Job
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


def test_each_side_of_the_digits_has_half_of_every_image() -> None:
    tables = demo_digits.tables()
    alice, bob = (tables[party].set_index(demo_digits.ID) for party in demo_digits.PARTIES)
    label = alice.pop(demo_digits.LABEL)
    assert set(label) == set(range(10))
    both = alice.index.intersection(bob.index)
    assert 1500 < len(both) < len(alice)
    whole = np.hstack([alice.loc[both].to_numpy(), bob.loc[both].to_numpy()])
    original = load_digits().data[[int(name.removeprefix("S-")) for name in both]]
    np.testing.assert_allclose(whole, original / 8 - 1, atol=6 * demo_digits.GRAIN)
    assert (whole.std(axis=0) > 0).all()


@pytest.mark.parametrize("model", [*demo.CLASSIFIERS, *demo.NETWORKS])
def test_every_demonstrations_job_is_valid(tmp_path: Path, model: str) -> None:
    text = demo_digits.job(model) if model in demo.NETWORKS else demo.JOB.format(model=model)
    (tmp_path / "job.yaml").write_text(text)
    assert Job.load(tmp_path / "job.yaml").params["model"] == model


def test_a_model_without_a_demonstration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not 'linear_regression'"):
        demo.run(tmp_path / "demo", Console(quiet=True), "linear_regression")
    assert not (tmp_path / "demo").exists()
